"""The documentation site: `make docs` checks links and anchors; here, that every page can be found."""

import tomllib

from conftest import ROOT

DOCS = ROOT / "docs"


def pages(entry):
    """Return the paths of all pages below an entry of the navigation."""
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]


def test_every_page_is_in_the_navigation_once():
    navigation = tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["nav"]
    files = [path.relative_to(DOCS) for path in DOCS.rglob("*.md")]
    written = sorted(path.as_posix() for path in files if not path.parts[0].startswith("."))
    assert sorted(pages(navigation)) == written


def test_pages_render_on_github_and_on_the_site():
    """Folds are HTML, because GitHub shows the site generator's own `???` and `!!!` blocks as plain text."""
    for path in DOCS.rglob("*.md"):
        assert not [line for line in path.read_text().splitlines() if line.startswith(("???", "!!!"))], path.name
