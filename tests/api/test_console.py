"""The console in a real browser: each flow in English or Chinese, at 1280 or 375 pixels, and in all four by --nightly.

A page fails its test by an error of a script or of the content policy, and by what `check_page` finds at the end.
"""

import csv
import io
import itertools
import os
import re
import shutil

import pytest
from openpyxl import Workbook, load_workbook
from support.console_screens import CONSOLE, SCREENS, WORDS, check_page
from support.deployments import A, B, set_desired_model, store_model, wait_applied
from support.service import EVALUATION, Running, add_evaluation, make_checkout, openapi_document

from api.problems import KINDS
from batchyield.plant import cells, csv_reader, other_schemas
from batchyield.plant.batch import ENCODING, ID_COLUMN, READING_NAMES, READINGS, TARGET, Batch, CellWarning
from batchyield.plant.features import WARNING_KINDS, featurize
from batchyield.serving.auth import api_keys
from batchyield.serving.auth.api_keys import new_key

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

expect = playwright.expect
PATIENCE = 120_000  # milliseconds, on a machine that is busy with other tests
expect.set_options(timeout=PATIENCE)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true", reason="no Chromium is installed: apt-get install chromium"
)

ENGINEER, OPERATOR = "e" * 32, "p" * 32
EXAMPLE = {reading.name: reading.example for reading in READINGS}


def sheet(count, measured=True, **changes):
    """Rows of the plant's file as dictionaries, batch 0 to count - 1."""
    rows = [{ID_COLUMN: f"batch {n}", **EXAMPLE, "B14": 400 + n / 10, **changes} for n in range(count)]
    return [row | {TARGET.column: round(0.9 + n / 1000, 4)} if measured else row for n, row in enumerate(rows)]


def text(rows, separator=",", header=True):
    made = io.StringIO()
    writer = csv.DictWriter(made, list(rows[0]), delimiter=separator, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return made.getvalue()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return add_evaluation(make_checkout(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def service(checkout, tmp_path_factory):
    """A service without keys, with batches `kept 0` to `kept 129` in its journal."""
    journal = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    with Running(checkout, BATCHYIELD_JOURNAL=str(journal)) as running:
        running.post(
            "/v1/predictions/csv",
            content=text(sheet(130)).replace("batch", "kept"),
            headers={"content-type": "text/csv"},
        )
        yield running


@pytest.fixture(scope="module")
def guarded(checkout, tmp_path_factory):
    """A service with a key for the engineer, and one that may only predict."""
    root = tmp_path_factory.mktemp("keys")
    keys = [new_key("engineer", ["predict", "read"], ENGINEER), new_key("operator", ["predict"], OPERATOR)]
    (root / "keys").write_bytes(api_keys.encode_keys(keys))
    journal = str(root / "journal.sqlite")
    with Running(checkout, BATCHYIELD_API_KEYS_FILE=str(root / "keys"), BATCHYIELD_JOURNAL=journal) as running:
        yield running


FLOWS = itertools.count()


def pytest_generate_tests(metafunc):
    """Each flow runs on one screen, the next one in turn; every page, and with --nightly every flow, on all."""
    if "screen" in metafunc.fixturenames:
        everywhere = metafunc.function is test_every_page or metafunc.config.getoption("nightly")
        metafunc.parametrize("screen", SCREENS if everywhere else [SCREENS[next(FLOWS) % len(SCREENS)]], ids=str)


@pytest.fixture
def open_page(browser, screen):
    """Returns a function that opens a page on the screen; the test fails by what is wrong with the page at its end."""
    pages, problems = [], []

    def opened(running, name="sheet", prepare=None, **more):
        """`prepare` gets the page before it is visited."""
        chinese = {"locale": "zh-CN", "timezone_id": "Asia/Shanghai"}
        more = (chinese if screen.language == "zh" else {"locale": "en-US"}) | more
        context = browser.new_context(viewport={"width": screen.width, "height": 900}, **more)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: problems.append(error.stack))
        page.on("console", lambda message: problems.append(message.text) if is_fault(message) else None)
        page.on("requestfailed", lambda request: print(f"{request.method} {request.url}: {request.failure}"))
        if prepare:
            prepare(page)
        visit(page, f"{running.url}/#{name}")
        return page

    yield opened
    for page in pages:
        if page.url.startswith("http"):
            check(page, "the end of the test")
        page.context.close()
    assert problems == []


def visit(page, address):
    """Go to an address, a second time if the machine's networks change meanwhile: Docker's do, in another test."""
    try:
        page.goto(address)
    except playwright.Error as error:
        if "ERR_NETWORK_CHANGED" not in str(error):
            raise
        page.goto(address)


def is_fault(message):
    """The browser also logs refusals of the service, which the console shows, and lost requests, which it repeats."""
    shown = ("the server responded with a status of", "ERR_NETWORK_CHANGED", "ERR_INTERNET_DISCONNECTED")
    return message.type in ("error", "warning") and not any(one in message.text for one in shown)


def check(page, where):
    check_page(page, axe, where)


def give(page, content, name="sheet.csv"):
    content = content if isinstance(content, bytes) else content.encode()
    page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": content})


def results(page):
    """Wait for the table of results; return its rows as lists of texts."""
    page.wait_for_selector("#results-title")
    return [row.locator("td").all_inner_texts() for row in page.locator("table.predictions tbody tr").all()]


def sign_in(page, key):
    page.fill("#key", key)
    page.click("#key-form button")


def section(page, heading):
    """The section of a heading."""
    return page.locator("section", has=page.get_by_role("heading", name=heading, exact=True))


def test_every_page(service, open_page, screen):
    """Every page shows what it is for, in its language, and is accessible in every state."""
    page = open_page(service)
    give(page, text(sheet(40, B9="17；00-18:30")))
    rows = results(page)
    assert len(rows) == 40
    check(page, "sheet")
    page.click("table.predictions tbody tr:nth-child(3) button")
    page.wait_for_selector("#result-title")
    assert page.input_value("#reading-B14") == "400.2"
    page.locator("section.sticky button").first.click()
    page.wait_for_selector(".effects")
    check(page, "predict")
    for name, there in (
        ("outcomes", "#one-id"),
        ("batches", "table tbody tr"),
        ("monitor", ".stack .card"),
        ("suggest", "#suggest-id"),
        ("model", ".stack .card + .card"),
    ):
        page.goto(f"{service.url}/#{name}")
        page.wait_for_selector(there)
        expect(page.locator("nav [aria-current]")).to_have_text(screen.word(name))
        check(page, name)
    assert page.locator("html").get_attribute("lang") == ("zh-CN" if screen.language == "zh" else "en")


def test_dark(service, open_page):
    """The dark colours have enough contrast."""
    page = open_page(service, color_scheme="dark")
    give(page, text(sheet(3, B9="17；00-18:30")))
    results(page)
    check(page, "dark")


def test_high_contrast(service, open_page):
    """In high contrast, intervals and bars keep a colour that differs from the ground."""
    page = open_page(service, forced_colors="active")
    give(page, text(sheet(3)))
    results(page)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for mark in (".range .interval", ".range .value", ".chart .line"):
        assert page.locator(mark).first.evaluate("mark => getComputedStyle(mark).stroke") != ground, mark
    page.click("table.predictions tbody button >> nth=0")
    page.wait_for_selector("#result-title")
    page.locator("section.sticky button").first.click()
    assert page.locator(".effect").first.evaluate("bar => getComputedStyle(bar).backgroundColor") != ground


def test_long_names(service, open_page):
    """The name of a batch stays on one line, and a long file name does not widen the page."""
    page = open_page(service)
    give(page, text(sheet(3)).replace("batch ", "sample_0123456789_"), f"{'long_' * 12}name.csv")
    results(page)
    for link in page.locator("table.predictions tbody button").all():
        assert link.evaluate("link => link.getClientRects().length") == 1
        assert link.bounding_box()["height"] < 30


def test_pin_of_each_answer(tmp_path, open_page):
    """After a deployment, the header names the model of the newest answer without a reload."""
    root = make_checkout(tmp_path)
    first, second = (store_model(root, constant) for constant in (A, B))
    with Running(root) as running:
        page = open_page(running)
        for deployment in (first, second):
            wait_applied(root, set_desired_model(root, serving=deployment))
            give(page, text(sheet(2)), f"{deployment.version}.csv")
            expect(page.locator("#results-title")).to_contain_text(deployment.version)
            expect(page.locator("#pin")).to_contain_text(deployment.md5)


def test_language_is_remembered(service, open_page, screen):
    """The switch changes every word and outlives a reload."""
    page = open_page(service)
    expect(page.locator("h1")).to_have_text(screen.word("sheetTitle"))
    page.click("#language")
    other = WORDS["sheetTitle"]["en" if screen.language == "zh" else "zh"]
    expect(page.locator("h1")).to_have_text(other)
    page.reload()
    expect(page.locator("h1")).to_have_text(other)


class TestLostRequests:
    """A network that changes, as by a VPN or Docker, ends all requests under way."""

    @pytest.mark.parametrize("name", ["app.js", "words.js", "console.css"])
    def test_file(self, service, open_page, name):
        """Where a file of the console is lost, the page loads once more."""
        lost = []

        def lose(route):
            lost.append(route.request.url)
            route.abort("internetdisconnected")

        page = open_page(service, prepare=lambda page: page.route(f"**/{name}", lose, times=1))
        page.wait_for_function("name => performance.getEntriesByName(name)[0]?.responseStatus === 200", arg=lost[0])
        give(page, text(sheet(2)))
        assert len(results(page)) == 2

    def test_answer(self, service, open_page, screen):
        """Lost requests are sent again; a sheet whose answer is lost is recorded once."""

        def lose(route):
            route.fetch()
            route.abort("internetdisconnected")

        def prepare(page):
            for path in ("session", "readings", "predictions/csv"):
                page.route(f"**/v1/{path}", lose, times=1)

        page = open_page(service, prepare=prepare)
        give(page, text(sheet(1)).replace("batch", str(screen)))
        assert len(results(page)) == 1
        assert len(service.get(f"/v1/predictions?id={screen} 0").json()["predictions"]) == 1


class TestKey:
    """Signing in."""

    def test_sign_in(self, guarded, open_page, screen):
        """A wrong key is named as such; a right one is shown by name, outlives a reload, and can be signed out."""
        page = open_page(guarded)
        for language in ("zh", "en") if screen.language == "en" else ("en", "zh"):
            page.click("#language")
            expect(page.locator("#key-title")).to_have_text(WORDS["keyTitle"][language])
        sign_in(page, "w" * 32)
        expect(page.locator("#key-form [role=alert]")).to_have_text(screen.word("keyWrong"))
        check(page, "a wrong key")
        sign_in(page, ENGINEER)
        page.wait_for_selector("#file")
        assert "engineer" in page.inner_text("#who")
        page.reload()
        page.wait_for_selector("#file")
        assert "engineer" in page.inner_text("#who")
        assert ENGINEER not in page.evaluate("document.cookie + JSON.stringify(localStorage)")
        page.click("#sign-out")
        page.wait_for_selector("#key")

    def test_predict_only(self, guarded, open_page, screen):
        """With a key that may only predict, predictions work, and other pages say which scope they need."""
        page = open_page(guarded)
        sign_in(page, OPERATOR)
        page.wait_for_selector("#file")
        give(page, text(sheet(2)))
        assert len(results(page)) == 2
        assert page.locator("#pin code").last.inner_text(), "the pin comes from the answer"
        page.goto(f"{guarded.url}/#model")
        expect(page.locator(".refusal")).to_contain_text(screen.word("keyLacks", scope="read"))

    def test_key_ends_meanwhile(self, guarded, open_page):
        """A sheet sent without a valid key is kept: it is predicted once a key is given."""
        page = open_page(guarded)
        sign_in(page, ENGINEER)
        page.wait_for_selector("#file")
        page.context.clear_cookies()
        give(page, text(sheet(2)))
        page.wait_for_selector("#key")
        sign_in(page, ENGINEER)
        assert len(results(page)) == 2


class TestSheet:
    """Files and pasted rows as people have them."""

    def test_as_it_comes(self, service, open_page):
        """What a spreadsheet makes of a file is read without a question."""
        page = open_page(service)
        for name, content in {
            "blank lines first": "\n\n" + text(sheet(3)),
            "empty column at the end": text([row | {"": ""} for row in sheet(3)]),
            "semicolons": text(sheet(3), ";"),
            "thousands": text(sheet(3, B12="1,200")),
            "line break in a cell": text(sheet(3, B9="17:00-\n18:30")),
            "the plant's encoding": text(sheet(3)).encode(ENCODING),
            "byte order mark": "\ufeff" + text(sheet(3)),
        }.items():
            give(page, content, f"{name.replace(' ', '-')}.csv")
            expect(page.locator("#results-title")).to_contain_text(name.replace(" ", "-"))
            assert len(results(page)) == 3, name

    def test_workbook(self, service, open_page):
        """An Excel workbook is read, clocks and numbers as the plant writes them."""
        book = Workbook()
        rows = sheet(3)
        book.active.append(list(rows[0]))
        for row in rows:
            book.active.append(list(row.values()))
        made = io.BytesIO()
        book.save(made)
        page = open_page(service)
        give(page, made.getvalue(), "sheet.xlsx")
        assert len(results(page)) == 3

    def test_order(self, service, open_page):
        """The optional columns of the plant's order are sent with the readings, and journalled."""
        rows = [row | {"sequence": 7 + n, "started_at": "2026-11-29T08:00:00Z"} for n, row in enumerate(sheet(2))]
        page = open_page(service)
        give(page, text(rows))
        assert len(results(page)) == 2
        kept = [one["batch"] for one in service.get("/v1/predictions?limit=2").json()["predictions"]]
        assert [batch["sequence"] for batch in reversed(kept)] == [7, 8]
        assert kept[0]["started_at"] == "2026-11-29T08:00:00Z"

    def test_pasted(self, service, open_page):
        """Rows from the clipboard are separated by tabs."""
        page = open_page(service)
        page.fill("#pasted", text(sheet(2), "\t"))
        page.click("form button.primary")
        assert len(results(page)) == 2

    def test_unknown_columns(self, service, open_page):
        """Unknown columns are offered to be ignored, and other spellings to be read as the plant's."""
        rows = [{"批号" if name == ID_COLUMN else name.lower() if name == "A1" else name: value
                 for name, value in row.items()} | {"备注": "x"} for row in sheet(2)]  # fmt: skip
        page = open_page(service)
        give(page, text(rows))
        page.wait_for_selector(".notice select")
        chosen = [one.input_value() for one in page.locator(".notice select").all()]
        assert chosen == [ID_COLUMN, "A1", ""]
        check(page, "columns")
        page.click(".notice button.primary")
        assert [row[0] for row in results(page)] == ["batch 0", "batch 1"]

    def test_absent_columns(self, service, open_page):
        """A sheet without a column is predicted with the reading missing, after saying so."""
        page = open_page(service)
        give(page, text([{key: value for key, value in row.items() if key != "B12"} for row in sheet(2)]))
        page.wait_for_selector(".notice button.primary")
        assert "B12" in page.inner_text(".notice")
        page.click(".notice button.primary")
        assert len(results(page)) == 2

    def test_no_header(self, service, open_page):
        """Without a header the console warns, and reads the rows in the order of the plant once that is confirmed."""
        page = open_page(service)
        give(page, text(sheet(2), header=False))
        page.wait_for_selector(".notice button")
        page.click(".notice button")
        assert len(results(page)) == 2

    def test_same_file_again(self, service, open_page, tmp_path):
        """A corrected file can be chosen again under the same name."""
        path, page = tmp_path / "same.csv", open_page(service)
        path.write_text(text(sheet(2)))
        page.set_input_files("#file", path)
        assert len(results(page)) == 2
        path.write_text(text(sheet(4)))
        page.set_input_files("#file", path)
        expect(page.locator("table.predictions tbody tr")).to_have_count(4)
        assert "same.csv" in page.inner_text("#results-title")

    def test_refused(self, service, open_page):
        """A file that is no sheet is refused with a reason, and the next one is read."""
        page = open_page(service)
        give(page, b"PK\x03\x04 no workbook", "broken.xlsx")
        page.wait_for_selector(".refusal")
        assert "workbook" in page.inner_text(".refusal")
        check(page, "refusal")
        give(page, text(sheet(2)))
        assert len(results(page)) == 2

    def test_newest_answer_stays(self, service, open_page):
        """An older slow answer does not overwrite a newer one."""
        page, held = open_page(service), []
        page.wait_for_selector("#file")
        page.route("**/v1/predictions/csv", lambda route: held.append(route))
        with page.expect_request("**/v1/predictions/csv"):
            give(page, text(sheet(5)), "old.csv")
        page.unroute("**/v1/predictions/csv")
        give(page, text(sheet(2)), "new.csv")
        assert len(results(page)) == 2
        assert "new.csv" in page.inner_text("#results-title")

    def test_drop(self, service, open_page, screen):
        """A file dropped anywhere on the page is predicted; of several files the first, with a message."""
        page = open_page(service)
        page.wait_for_selector("#file")
        page.evaluate(
            """text => {
              const data = new DataTransfer();
              for (const name of ["one.csv", "two.csv"]) data.items.add(new File([text], name));
              const how = { dataTransfer: data, bubbles: true, cancelable: true };
              document.body.dispatchEvent(new DragEvent("drop", how));
            }""",
            text(sheet(2)),
        )
        assert len(results(page)) == 2
        assert "one.csv" in page.inner_text("#results-title")
        expect(page.locator("form .status")).to_have_text(screen.word("secondFile", name="one.csv"))
        with page.expect_response("**/v1/predictions/csv"):
            page.click("form button.primary")  # predicts it again, and asks for no file
        assert len(results(page)) == 2

    def test_table(self, service, open_page):
        """Results are sorted, searched, paged, kept while other pages are open, and compared with measured values."""
        page = open_page(service)
        give(page, text(sheet(120)))
        assert len(results(page)) == 100
        assert "120" in page.inner_text(".figures")
        page.click("[data-control=yield]")
        page.keyboard.press("Enter")  # the focus stays, though the table is replaced
        assert results(page)[0][0] == "batch 119"
        page.click("[data-control=next]")
        expect(page.locator("table.predictions tbody tr")).to_have_count(20)
        expect(page.locator(".scroll:has(.predictions)")).to_be_focused()  # the button cannot be: there is no next page
        page.fill("#search", "batch 11")
        assert len(results(page)) == 11
        page.goto(f"{service.url}/#model")
        page.wait_for_selector(".stack .card + .card")
        page.goto(f"{service.url}/#sheet")
        assert len(results(page)) == 100

    def test_downloads(self, service, open_page):
        """CSV has a byte order mark, the warnings and the pin; no cell of CSV or workbook is a formula."""
        page = open_page(service)
        rows = sheet(2, B9="17；00-18:30")
        rows[0][ID_COLUMN] = "=1+1"
        give(page, text(rows))
        results(page)
        with page.expect_download() as saved:
            page.click("section[aria-labelledby=results-title] .spread button >> nth=0")
        content = saved.value.path().read_bytes()
        assert content.startswith(b"\xef\xbb\xbf")
        first, second = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
        assert first["id"] == "'=1+1"
        assert "B9" in second["warnings"]
        assert re.fullmatch(r"[0-9a-f]{32}", second["model_md5"])
        with page.expect_download() as saved:
            page.click("section[aria-labelledby=results-title] .spread button >> nth=1")
        cells = list(load_workbook(io.BytesIO(saved.value.path().read_bytes())).active.values)
        assert cells[1][0].startswith("'")
        assert cells[2][1] == pytest.approx(float(second["yield"]))

    def test_print(self, service, open_page):
        """All rows are printed, with their intervals."""
        page = open_page(service)
        give(page, text(sheet(120)))
        results(page)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator(".print-only tbody tr").count() == 120
        assert page.locator(".print-only tbody tr").last.is_visible()
        assert not page.locator("nav").is_visible()
        page.emulate_media(media="screen")  # whose width the fixture checks; paper is wider

    def test_names_are_printed(self, service, open_page):
        """The readings of a table are printed, though they are buttons on the screen; other buttons are not."""
        page = open_page(service, "monitor")
        page.wait_for_selector("tbody button.link")
        page.emulate_media(media="print")
        assert page.locator("tbody button.link").first.is_visible()
        assert page.locator("button:not(.link):visible").count() == 0


class TestPages:
    """What the other pages do."""

    def test_what_if(self, service, open_page, screen):
        """Changing a reading moves the prediction, journals nothing, and flags values unlike the training."""
        page = open_page(service, "predict")
        page.wait_for_selector("#result-title")
        before = page.inner_text("#result-title")
        journalled = service.get("/v1/predictions?limit=1").json()["predictions"][0]["key"]
        page.fill("#reading-B14", "460")
        expect(page.locator("#result-title")).not_to_have_text(before)
        expect(page.locator("#reading-B14-notes")).to_contain_text(WORDS["outside"][screen.language].split("{")[0])
        page.fill("#reading-B9", "17；00-18:30")
        page.wait_for_selector("#reading-B9-notes .warning")
        assert service.get("/v1/predictions?limit=1").json()["predictions"][0]["key"] == journalled
        page.click("section.sticky button.primary")
        page.wait_for_selector("section.sticky .done")
        assert service.get("/v1/predictions?limit=1").json()["predictions"][0]["key"] != journalled

    def test_from_journal(self, service, open_page, screen):
        """A batch of the journal is where what-if starts."""
        page = open_page(service, "predict")
        page.wait_for_selector("#result-title")
        page.fill("#from-id", "kept 7")
        page.click("form.row button")
        expect(page.locator("#reading-B14")).not_to_have_value("400")
        page.fill("#from-id", "absent-1")
        page.click("form.row button")
        expect(page.locator("form .status")).to_have_text(screen.word("notFound", id="absent-1"))

    def test_outcomes(self, service, open_page, screen):
        """Measured values are entered in per cent or as fractions, from one field or a file; one is withdrawn."""
        page = open_page(service, "outcomes")
        done = page.locator(".done")
        page.fill("#one-id", f"{screen}-3")
        page.fill("#one-value", "91.5")
        page.click("form button.primary")
        page.wait_for_selector("fieldset")
        check(page, "unit")
        page.click(".notice button.primary")
        expect(done).to_contain_text(screen.word("recordedOf", recorded=1, corrected=0, unchanged=0))
        expect(page.locator("#one-id")).to_be_focused()  # for the next one
        expect(page.locator("#one-value")).to_have_value("")
        [stored] = service.get(f"/v1/outcomes?id={screen}-3").json()["outcomes"]
        assert stored["yield"] == pytest.approx(0.915)
        lab = f"id,yield,measured_at\n{screen}-4,0.92,2026-11-29 08:00Z\n{screen}-5,oops\n{screen}-6,0.92,soon\n"
        lab += f"{screen}-never,0.09\n"
        page.set_input_files("#lab", {"name": "lab.csv", "mimeType": "text/csv", "buffer": lab.encode()})
        page.wait_for_selector(".notice .flag")
        bad = screen.word("badRows", count=2, names=f"{screen}-5,oops, {screen}-6,0.92,soon")
        assert page.inner_text(".notice .flag") == bad
        page.click(".notice button.primary")
        expect(done).to_contain_text(screen.word("recordedOf", recorded=2, corrected=0, unchanged=0))
        expect(done).to_contain_text(screen.word("unusualValues", names=f"{screen}-never"))
        check(page, "recorded")
        [stored] = service.get(f"/v1/outcomes?id={screen}-4").json()["outcomes"]
        assert stored["measured_at"] == "2026-11-29T08:00:00.000Z"
        page.on("dialog", lambda dialog: dialog.accept())
        withdraw = screen.word("withdraw")
        page.get_by_role("button", name=f"{withdraw} {screen}-never", exact=True).click()
        expect(done).to_have_text(screen.word("withdrawn", id=f"{screen}-never"))
        expect(page.get_by_role("button", name=f"{withdraw} {screen}-never", exact=True)).to_have_count(0)

    def test_batches(self, service, open_page, screen):
        """A batch is found by its id and shown as a record; two are compared by what each difference is worth."""
        page = open_page(service, "batches")
        page.wait_for_selector("table tbody tr")
        page.fill("#find-id", "kept 12")
        today = page.evaluate("new Date().toLocaleDateString('sv')")  # 2026-11-29, where the browser is
        for end in ("since", "until"):
            page.fill(f"#find-{end}", today)
        page.click("form button.primary")
        expect(page.locator("tbody tr")).to_have_count(11)
        page.click("tbody button.link >> nth=0")
        page.wait_for_selector("#record-title")
        assert page.locator("section.record tbody tr").count() == len(READING_NAMES)
        check(page, "record")
        page.locator("tbody input[type=checkbox]").nth(0).check()
        page.locator("tbody input[type=checkbox]").nth(1).check()
        page.get_by_role("button", name=screen.word("compare"), exact=True).click()
        page.wait_for_selector("#compare-title")
        assert "B14" in page.locator("section[aria-labelledby=compare-title] tbody").inner_text()
        check(page, "compare")

    def test_drift_report(self, service, open_page, screen, tmp_path):
        """The drift report of a period is downloaded as one file in the language of the page, which a browser shows."""
        page = open_page(service, "monitor")
        page.wait_for_selector("#report-days")
        page.select_option("#report-days", "7")
        with page.expect_request("**/v1/monitoring/report?*") as asked, page.expect_download() as saved:
            page.click("#report-days + button")
        assert re.search(r"since=20\d\d-\d\d-\d\dT", asked.value.url)
        assert saved.value.suggested_filename == "drift-report.html"
        saved.value.save_as(tmp_path / "report.html")
        page.goto(f"file://{tmp_path}/report.html")
        assert screen.word("driftReport") in page.title()
        assert page.locator("svg").count() > 0

    def test_suggest(self, service, open_page, screen):
        """Suggestions stay inside the trained range of settable readings, and say what they are."""
        page = open_page(service, "suggest")
        page.wait_for_selector("#suggest-id")
        assert page.inner_text(".flag") == screen.word("suggestHint")
        page.click("summary")
        page.get_by_label("B14").check()
        page.fill("#suggest-id", "kept 3")
        page.click("form button.primary")
        page.wait_for_selector("section[aria-live] tbody tr")
        assert "B14" in page.locator("section[aria-live] tbody").inner_text()
        check(page, "suggest")

    def test_unreachable(self, service, open_page, screen):
        """A service that cannot be reached is named as such, with a way to try again."""
        page = open_page(service)
        page.wait_for_selector("#file")
        page.context.set_offline(True)
        give(page, text(sheet(2)))
        expect(page.locator(".refusal h2")).to_have_text(screen.word("unreachable"))
        check(page, "unreachable")
        page.context.set_offline(False)
        page.get_by_role("button", name=screen.word("retry"), exact=True).click()
        assert len(results(page)) == 2

    def test_model(self, service, open_page, screen):
        """Metrics are in the plant's unit; the versions are those that this service knows, which it says."""
        page = open_page(service, "model")
        versions = section(page, screen.word("versions"))
        expect(versions.locator("tbody")).to_contain_text(screen.word("role_serving"))
        expect(versions).to_contain_text("batchyield release list")

    def test_evaluation(self, tmp_path, open_page, screen):
        """Metrics with intervals and plots; without a file, which one; with another file than the pinned one, why."""
        plot = add_evaluation(make_checkout(tmp_path)) / "data/plots/predicted.csv"
        with Running(tmp_path) as running:
            page = open_page(running, "model")
            expect(page.locator("svg.chart")).to_have_count(3)
            expect(page.locator("td", has_text=screen.word("range", low="1.30", high="2.45"))).to_have_count(1)
            assert page.locator("svg.chart").first.get_attribute("aria-label")
            check(page, "evaluation")
            plot.unlink()
            page.reload()
            expect(page.locator("svg.chart")).to_have_count(2)
            absent = screen.word("evaluationAbsent", names=screen.word("evaluation_predicted"))
            expect(page.locator("main")).to_contain_text(absent)
            plot.write_bytes(EVALUATION["data/plots/predicted.csv"] + b"\n")
            page.reload()
            expect(page.locator("main")).to_contain_text(screen.word("evaluationOther"))
            expect(page.locator("main")).to_contain_text("is not the pinned file")
            assert page.locator("svg.chart").count() == 0


@pytest.mark.real_data
def test_real_plant(real_data, service, open_page):
    """The plant's own test file goes through every page without a question, a refusal or a fault."""
    page = open_page(service)
    page.set_input_files("#file", real_data / "jinnan_round1_testA_20181227.csv")
    assert len(results(page)) == 100
    assert "150" in page.inner_text(".figures")
    assert page.locator("table.predictions .cells li").count() > 10, "the plant's typing errors are listed"
    check(page, "sheet")
    with page.expect_download() as saved:
        page.click("section[aria-labelledby=results-title] .spread button >> nth=0")
    downloaded = csv.DictReader(io.StringIO(saved.value.path().read_bytes().decode("utf-8-sig")))
    ids = [row["id"] for row in downloaded]
    assert len(ids) == 150
    page.click("table.predictions tbody button >> nth=0")
    page.wait_for_selector("#result-title")
    assert page.input_value("#batch-id") == ids[0]
    page.locator("section.sticky button").first.click()
    page.wait_for_selector(".effects")
    page.goto(f"{service.url}/#batches")
    page.fill("#find-id", ids[-1])
    page.click("form button.primary")
    page.click("tbody button.link >> nth=0")
    page.wait_for_selector("#record-title")
    check(page, "record")
    page.goto(f"{service.url}/#outcomes")
    page.fill("#one-id", ids[-1])
    page.fill("#one-value", "0.92")
    page.click("form button.primary")
    page.click(".notice button.primary")
    expect(page.locator(".done")).to_be_visible()
    page.goto(f"{service.url}/#suggest")
    page.fill("#suggest-id", ids[0])
    page.click("form button.primary")
    page.wait_for_selector("section[aria-live] :is(tbody tr, p)")
    for name, there in (("monitor", "tbody tr"), ("model", ".stack .card + .card")):
        page.goto(f"{service.url}/#{name}")
        page.wait_for_selector(there)
        check(page, name)
    assert page.locator(".refusal").count() == 0


def test_size():
    """The console's own files stay below 150 kB."""
    files = [path for path in CONSOLE.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 150_000


def test_words():
    """Each word that a page shows is in both languages with the same {names}, and each in the table is shown."""
    scripts = "\n".join(path.read_text() for path in CONSOLE.glob("*.js"))
    for key, words in WORDS.items():
        english, chinese = ({*re.findall(r"\{\w+\}", words[language])} for language in ("en", "zh"))
        assert english == chinese, key
        assert all(words.values()), key
    asked = {*re.findall(r"""\bt\("(\w+)\"""", scripts)}
    assert asked <= WORDS.keys()
    made = tuple(re.findall(r"`(\w+_)\$", scripts))  # as in t(`role_${role}`)
    named = {*re.findall(r'"(\w+)"', scripts.replace('t("', ""))}  # as in t(condition ? "one" : "other")
    pages = {"sheet", "predict", "outcomes", "batches", "monitor", "suggest", "model"}
    assert {key for key in WORDS.keys() - asked - named - pages if not key.startswith(made)} == set()


def every_warning():
    """Warnings of each kind that the plant has, in each form of message."""
    examples = [one for rule in cells.RULES for one in rule.examples] + [("number", "a lot", ""), ("number", "NaN", "")]
    made = [getattr(cells, f"parse_{column}")(cell).warning for column, cell, _ in examples]
    found = [CellWarning("B9", *warning) for warning in made if warning]
    changes = [
        {"A19": 700.0}, {"A9": "5:50"}, {"B9": "1:00-1:00"}, {"A1": 200.0}, {"A1": None}, {"B14": 40.0}, {"B14": 785.0},
        {"A1": 200.0, "A3": 270.0, "A4": 470.0, "B14": 420.0},
    ]  # fmt: skip
    sheets = csv_reader.read_sheet(text(sheet(1, A6="9" * 300) + sheet(1, A6="1e9")).encode())
    for warnings in (*featurize([Batch(**EXAMPLE | change) for change in changes]).warnings, *sheets.warnings):
        found += warnings
    assert {one.kind for one in found} == {*cells.WARNING_KINDS, *csv_reader.WARNING_KINDS, *WARNING_KINDS}
    removed = CellWarning("A0", "removed_reading", "ignored: version 2 removed this reading")
    return [*found, other_schemas.absent_warning(READINGS[0]), removed]


def test_warnings_in_chinese(service, open_page):
    """Every warning of the plant is shown in Chinese."""
    page = open_page(service)
    script = """async all => {
      const { chineseWarning } = await import("/console/chinese.js");
      return all.map(chineseWarning);
    }"""
    shown = page.evaluate(script, [{"kind": one.kind, "message": one.message} for one in every_warning()])
    own = [re.sub("“.*”|Excel", "", one) for one in shown]  # without the cell as it was typed
    assert [one for one in own if re.search("[a-z]{2}", one)] == []


def test_titles_in_chinese():
    """Every kind of refusal of the service has a title in Chinese."""
    titles = (CONSOLE / "chinese.js").read_text().split("const TITLES = {")[1].split("};")[0]
    assert set(re.findall(r'([\w-]+)"?: "', titles)) == {kind.name for kind in KINDS}


def test_reference(service, open_page):
    """The API reference names every route, is accessible, and sends a request."""
    page = open_page(service)
    visit(page, f"{service.url}/schema")
    page.wait_for_selector("#predict")
    paths = openapi_document()["paths"]
    assert page.locator("main section h2 .method").count() == sum(map(len, paths.values()))
    page.click("#predict summary >> text=Try")
    page.click("#predict form button")
    expect(page.locator("#predict pre[aria-label=Response]")).to_contain_text("200 in")
    page.goto(f"{service.url}/schema#schema-Batch")
    expect(page.locator("#schema-Batch table")).to_be_visible()
