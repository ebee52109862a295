"""Take the pictures of docs/console.md: `make screenshots`, while the service runs on the sample plant.

The service should have predicted `data/raw/batches.csv`, which this script does first, and know its measured yields.
"""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
SIZES = {"": (1280, 860), "-phone": (375, 780)}


def take(page: Page, url: str, suffix: str) -> None:
    """Visit the pages of the console and write a picture of each."""

    def shot(name: str) -> None:
        page.wait_for_timeout(400)  # for fonts and charts
        page.screenshot(path=ROOT / f"docs/images/console-{name}{suffix}.png")

    page.goto(f"{url}/#sheet")
    page.set_input_files("#file", ROOT / "data/raw/batches.csv")
    page.wait_for_selector("#results-title")
    page.evaluate("document.querySelector('#results-title').closest('section').scrollIntoView()")
    shot("sheet")
    page.click("table.predictions tbody tr:nth-child(2) button")
    page.wait_for_selector("#result-title")
    page.fill("#reading-B14", "385")
    page.wait_for_timeout(1000)
    page.locator("section.sticky button").first.click()
    page.wait_for_selector(".effects")
    shot("predict")
    if suffix:
        return
    for name in ("batches", "monitor", "suggest"):
        page.goto(f"{url}/#{name}")
        page.wait_for_selector("table tbody tr, #suggest-id")
        if name == "suggest":
            page.click("form button.primary")
            page.wait_for_selector("table tbody tr")
        shot(name)


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for suffix, (width, height) in SIZES.items():
            page = browser.new_context(viewport={"width": width, "height": height}, locale="en-US").new_page()
            take(page, url, suffix)
        browser.close()


if __name__ == "__main__":
    main()
