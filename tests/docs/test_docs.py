"""The documentation names only what exists; `make docs` checks the links between its pages once more."""

import re
import tomllib

import pytest
from support.commands import ROOT

from batchyield.cli.__main__ import build_parser

DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(DOCS.glob("*.md")),
    *sorted((DOCS / "decisions").glob("*.md")),
]
PLACEHOLDERS = ("NAME", "STAGE", "ENVIRONMENT", "docs/.site")
"""Parts of a path that the reader fills in, or that a command creates."""


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request):
    return request.param.read_text()


def code(page):
    """Return the code of a page: each block, and each quoted piece of a line."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return blocks + re.findall(r"`([^`\n]+)`", page)


def pages_below(entry):
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages_below(part)]


def test_every_page_is_in_the_navigation_once():
    navigation = tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["nav"]
    assert sorted(pages_below(navigation)) == sorted(
        str(page.relative_to(DOCS)) for page in PAGES if DOCS in page.parents
    )


def test_folds_are_shown_on_github_too(page):
    """GitHub shows the site generator's own `???` and `!!!` blocks as plain text; HTML works in both places."""
    assert not re.findall(r"^(\?\?\?|!!!)", page, re.MULTILINE)


def test_paths_exist(page):
    """A path is relative to the checkout or, as in architecture.md, to `src/batchyield/`."""
    library = ROOT / "src" / "batchyield"
    rooms = {path.name for path in library.iterdir() if path.is_dir()}
    top = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"data"}  # data/ is made by the pipeline
    quoted = "\n".join(re.findall(r"`([^`\n]+)`", page))
    for path in re.findall(r"(?<![\w./:-])((?:[a-z]\w*|\.github)/[\w./-]*)", quoted):
        if path.split("/")[0] in rooms | top and not any(part in path for part in PLACEHOLDERS):
            assert (ROOT / path).exists() or (library / path).exists(), path


def test_modules_exist(page):
    for name in re.findall(r"`([\w]+\.py)`", page):
        assert (ROOT / name).is_file() or any(
            list((ROOT / room).rglob(name)) for room in ("src", "api", "benchmarks")
        ), name
    for name in re.findall(r"`(?:python -m )?((?:batchyield|api|benchmarks)(?:\.\w+)+)`", page):
        parts = name.split(".")
        places = [root / "/".join(part) for root in (ROOT, ROOT / "src") for part in (parts, parts[:-1])]
        assert any(place.is_dir() or place.with_suffix(".py").is_file() for place in places), name


def test_tests_exist(page):
    """A test that a page names by file and function is there."""
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page):
        assert re.search(rf"^ *def {name}\(", (ROOT / path).read_text(), re.MULTILINE), (path, name)


def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"^make ([a-z0-9-]+)", "\n".join(code(page)), re.MULTILINE)
    assert set(named) <= targets


def test_commands_exist(page):
    """Every command line names a noun and its verb."""
    for line in re.findall(r"(?:^|[ $])batchyield ([a-z][^`\n…]*)", "\n".join(code(page)), re.MULTILINE):
        parser, words = build_parser(), line.split()
        while parser.commands and words and not words[0].startswith("-"):
            assert words[0] in parser.commands.choices, line
            parser = parser.commands.choices[words.pop(0)]


def test_links_stay_below_the_folder(page, request):
    """A relative link leads to a file, and one in docs/ does not leave docs/, where the site ends."""
    path = request.node.callspec.params["page"]
    root = ROOT if path.parent == ROOT else DOCS
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page):
        target = (path.parent / link).resolve()
        assert target.is_relative_to(root), link
        assert target.exists(), link


def headings(page):
    """Return the anchors of a page's headings, as GitHub and the site generator make them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_anchors_exist(page, request):
    path = request.node.callspec.params["page"]
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page):
        assert anchor in headings(((path.parent / file) if file else path).read_text()), f"{file}#{anchor}"
