"""The drift report: one file that a process engineer can read, whatever the journal holds."""

import os
import re
import shutil
import sys
from html.parser import HTMLParser

import pytest
from playwright.sync_api import sync_playwright
from support.journal_database import opened
from support.monitored_plant import MINUTES, START, bias_state, coming, journal, make_plant, raised, tell

from batchyield.cli.__main__ import main
from batchyield.journal.migrate import ensure_schema
from batchyield.monitoring.report import narrative
from batchyield.plant.batch import READING_NAMES
from batchyield.review.journal_replay import open_candidate

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_plant(tmp_path_factory.mktemp("plant")) / "data" / "model"


@pytest.fixture
def report(model, tmp_path):
    """Fill a journal and write the report: (exit code, the page)."""

    def made(fill, *options):
        journalled, out = tmp_path / "journal.sqlite", tmp_path / "report.html"
        with opened(journalled) as store:
            ensure_schema(store)
            fill(store, open_candidate(model).md5)
        of = ("--since", "2026-01-01", "--journal", str(journalled), "--model", str(model), "--out", str(out))
        return main(["drift", "report", *of, *options]), out.read_text()

    return made


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that are not closed in order."""

    VOID = frozenset({"meta", "br", "link", "img", "hr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, _):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def drifted(store, md5):
    tell(store, journal(store, coming(200), md5)[:150])
    rows = coming(200, 200, B14=raised(-30))
    for row in rows[::3]:
        row.B8 = None
    tell(store, journal(store, rows, md5, START + 300 * 36 * MINUTES), error=-0.02)
    journal(store, coming(5), "b" * 32)


def test_drifted_readings(report, capsys):
    """Drifted readings and a worse error are summarized, charted and followed by advice."""
    code, text = report(drifted)
    page = Page(text)
    summary = capsys.readouterr().err
    assert code == 0
    assert "B14" in summary
    assert "B8" in summary
    assert "median" in page.text
    assert "came blank so often" in page.text
    assert "worse than its card promises" in page.text
    assert "worse: mean error and bias" in page.text
    assert "5 predictions of another model" in page.text
    assert all(f">{name}</th>" in text for name in READING_NAMES)
    figures = [attributes for tag, attributes in page.attributes if tag == "figure"]
    assert len(figures) == page.tags.count("svg") >= 5
    assert all(figure["role"] == "img" and figure["aria-label"] for figure in figures)


def test_bias_update(report):
    """The page has the error with and without bias update, and advises to train again at its limit."""

    def corrected(store, md5):
        bias = bias_state(md5, error=0.05, limit=0.001)
        predictions = journal(store, coming(60, 110), md5, bias=bias)
        tell(store, [one.alone() for one in predictions], error=0.05)

    page = Page(report(corrected)[1])
    assert "without bias update" in page.text
    assert re.search(r"Without bias update: [45]\.\d", page.text)
    assert "is at its limit for 100.0" in page.text


def test_median_that_stays(report):
    """Where only some batches moved and the median stayed, the mean is reported."""

    def some(store, md5):
        rows = coming(400)
        for row in rows:
            row.B14 = min(row.B14 or 400.0, 400.0)
        journal(store, rows, md5)

    assert re.search(r"median still 400 kg, mean 411\.4 → 39\d\.?\d* kg", report(some)[1])


def test_self_contained_and_reproducible(report):
    """The page has no scripts or external resources, and the same journal gives the same bytes."""
    _, text = report(drifted)
    assert "<script" not in text
    assert "<link" not in text
    assert "src=" not in text
    assert not [part for part in text.split("http")[1:] if not part.startswith("://www.w3.org/")]  # names of SVG's own
    assert report(lambda *_: None)[1] == text


@pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1280, 375])
def test_width(report, tmp_path, width):
    """The page fits a screen and a phone: its wide tables scroll by themselves."""
    report(drifted)
    with sync_playwright() as started:
        page = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page(
            viewport={"width": width, "height": 800}
        )
        page.goto((tmp_path / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator("table").count() > 1


def test_steady_plant(report, capsys):
    """A steady plant is reported as steady, with exit code 0."""
    code, text = report(lambda store, md5: tell(store, journal(store, coming(400), md5)), "--fail-on-drift")
    assert code == 0
    assert "All 42 readings" in capsys.readouterr().err
    assert "What moved" not in Page(text).text


@pytest.mark.parametrize(("count", "expected"), [(0, "no batch"), (1, "too few"), (60, "too few")])
def test_too_few_batches(report, count, expected):
    """Without enough batches there is no verdict."""
    _, text = report(lambda store, md5: journal(store, coming(count), md5) if count else None)
    assert expected in Page(text).text


def test_fail_on_drift(report):
    """With `--fail-on-drift`, drift gives exit code 1."""
    assert report(drifted, "--fail-on-drift")[0] == 1


def test_reading_without_values(report):
    """A reading without values has no chart."""
    _, text = report(lambda store, md5: journal(store, coming(150, B14=None), md5))
    assert "no value came" in Page(text).text


def test_without_the_extra(report, model, monkeypatch, capsys):
    """Without the extra, the command names it."""
    report(lambda *_: None)
    monkeypatch.setitem(sys.modules, "altair", None)
    for name in ("html", "charts"):
        monkeypatch.delattr(f"batchyield.monitoring.report.{name}")
        monkeypatch.delitem(sys.modules, f"batchyield.monitoring.report.{name}")
    assert report(lambda *_: None)[0] != 0
    assert "batchyield[report]" in capsys.readouterr().err


def test_small_figures():
    """A difference that rounds to nothing has no sign, and a short time has a unit in which it is not zero."""
    assert [narrative.points(x) for x in (-0.00001, -0.0123, 0.0)] == ["0.00 points", "-1.23 points", "0.00 points"]
    assert [narrative.duration(x) for x in (0.4, 90, 5400)] == ["0.4 seconds", "1.5 minutes", "1.5 hours"]
