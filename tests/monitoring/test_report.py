"""The drift report: one file that a process engineer can read, whatever the journal holds."""

import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from support.journal_database import opened
from support.monitored_plant import MINUTES, START, bias_state, coming, journal, make_plant, raised, tell

from batchyield.cli.__main__ import main
from batchyield.journal.migrate import ensure_schema
from batchyield.monitoring.bias_findings import BiasFindings
from batchyield.monitoring.drift_window import DriftVerdict
from batchyield.monitoring.live_error import EstimateWithLimits
from batchyield.monitoring.report import words
from batchyield.monitoring.report.chinese import TEXTS
from batchyield.monitoring.report.collect import collect_report
from batchyield.monitoring.report.html import render_page
from batchyield.monitoring.report.words import ENGLISH, Words
from batchyield.plant.batch import READING_NAMES, READINGS, TARGET
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
    assert [ENGLISH.points(x) for x in (-0.00001, -0.0123, 0.0)] == ["0.00 points", "-1.23 points", "0.00 points"]
    assert [ENGLISH.duration(x) for x in (0.4, 90, 5400)] == ["0.4 seconds", "1.5 minutes", "1.5 hours"]


def changed(data, **findings):
    """The data of a report with changed fields of its findings."""
    parts = {
        name: msgspec.structs.replace(getattr(data.findings, name), **change) if isinstance(change, dict) else change
        for name, change in findings.items()
    }
    return data._replace(findings=msgspec.structs.replace(data.findings, **parts))


def states(data):
    """The data of reports that use every text, made from those of `drifted`."""
    steady, few, worse = DriftVerdict.STEADY, DriftVerdict.TOO_FEW, DriftVerdict.DRIFTED
    found = data.findings
    prediction, points = found.window.prediction, list(found.chart.points)
    yield data
    unsure = msgspec.structs.replace(prediction, verdict=few)
    nothing = {"batches": 0, "drifted": (), "prediction": unsure}
    yield changed(data, window=nothing, arrival_rate=None)._replace(rows=[], readings=(), others=())
    yield changed(
        data,
        window={"batches": 60, "drifted": (), "prediction": unsure},
        live_error={"outcomes": 10, "verdict": few, "worse": (), "mae_promised": None},
        chart={"points": ()},
        arrival_rate={"per_day": None, "unit": "hour", "empty": 2, "longest_gap_seconds": 90},
    )._replace(truncated=True)
    same = msgspec.structs.replace(prediction, verdict=steady)
    within = [msgspec.structs.replace(point, out=n == 0) for n, point in enumerate(points)]
    calm = tuple(c._replace(drift=msgspec.structs.replace(c.drift, verdict=steady)) for c in data.readings)
    as_promised = {"verdict": steady, "worse": ()}
    yield changed(
        data,
        window={"drifted": (), "prediction": same},
        live_error=as_promised | {"mae_promised": None},
        chart={"points": tuple(within)},
        arrival_rate={"longest_gap_seconds": 5},
    )._replace(readings=calm)
    yield changed(data, window={"drifted": ("B14",), "prediction": same}, live_error=as_promised, chart=None)
    # All readings moved, with medians that moved, stayed with another spread, and no values.
    moved = msgspec.structs.replace(data.readings[0].drift, verdict=worse, psi=1.0, blank=0.5, new=0.5)
    all_moved = []
    for n, c in enumerate(data.readings):
        middle, mean = c.median_trained, c.profile.mean
        values = ([middle + 7], [middle, middle, 3 * mean - 2 * middle], [])[n % 3]
        drift = msgspec.structs.replace(moved, reading=c.reading.name, feature=c.feature.name)
        all_moved.append(c._replace(values=np.array(values), drift=drift))
    alone = EstimateWithLimits(0.02, 0.01, 0.03)
    yield changed(
        data,
        window={"drifted": READING_NAMES},
        live_error={"worse": ("mae", "bias", "coverage"), "mae_alone": alone, "bias_alone": alone},
        bias=BiasFindings(100, 1.0, 0.9, 0.02, (), 100, 1.0, 300.0),
    )._replace(readings=tuple(all_moved))


@pytest.fixture
def data(model, tmp_path):
    """The data of the report of `drifted`."""
    artifact = open_candidate(model)
    with opened(tmp_path / "data.sqlite") as store:
        ensure_schema(store)
        drifted(store, artifact.md5)
        return collect_report(store, artifact, None, None)


def written(text):
    """The texts of a page and its labels, in lines, without what is marked as code."""
    text = re.sub(r"<style>.*?</style>|<code>.*?</code>", "", text, flags=re.DOTALL)
    page = Page(re.sub(r"(?=</(?:span|p|t[dh]|dt|dd|text)>)", "\n", text))
    return page.text + "".join(f"{attributes.get('aria-label', '')}\n" for _, attributes in page.attributes)


NOT_WORDS = {"PSI", "p", "md5", "UTC", "Holm", "Bonferroni", "kg", "min", "MPa", "pH", "C", "line", *READING_NAMES}


def test_chinese(data, monkeypatch):
    """In Chinese, no English word is left in any state of the plant, and each text of the table is used."""

    used = set()

    class Watched(dict):
        def __getitem__(self, english):
            used.add(english)
            return super().__getitem__(english)

    monkeypatch.setattr(words, "TEXTS", Watched(TEXTS))
    for state in states(data):
        text = render_page(state, "zh")
        assert '<html lang="zh-CN">' in text
        assert set(re.findall(r"[A-Za-z][A-Za-z0-9]*", written(text))) <= NOT_WORDS
    assert used == TEXTS.keys()


def test_every_text_has_a_translation():
    """Each text in the code and in the page is in the table of the Chinese ones."""
    folder = Path(words.__file__).parent
    sources = "".join(path.read_text() for path in folder.iterdir() if path.suffix in (".py", ".html"))
    calls = re.findall(r'\b(?:say|self)\(\s*((?:"[^"]*"\s*)+)', sources)
    texts = {"".join(re.findall(r'"([^"]*)"', call)) for call in calls}
    assert len(texts) > 100
    assert texts <= TEXTS.keys()


def test_english_as_before(data):
    """The English page reads as it did: figures and readings' rows aside, which other tests check."""
    text = re.sub(r"<svg.*?</svg>|<tbody>.*?</tbody>", "", render_page(data), flags=re.DOTALL)
    lines = [line.strip() for line in written(text).splitlines() if line.strip()]
    assert lines == Path(__file__).with_name("drift_report.txt").read_text().splitlines()


def test_language_of_the_command(report, capsys):
    """`--language zh` gives page and summary in Chinese."""
    _, text = report(lambda store, md5: journal(store, coming(60), md5), "--language", "zh")
    assert "<h1>只有 60 个批次，不足以判断漂移，需要 100 个。</h1>" in text
    assert "只有 60 个批次" in capsys.readouterr().err


def test_words_of_another_plant(monkeypatch):
    """The target has the table's words and unit; without Chinese words, the English ones."""
    monkeypatch.setattr(words, "TARGET", TARGET._replace(word="strength", word_zh="强度", unit="MPa", factor=1.0))
    assert [Words("zh").stored_target, ENGLISH.stored_target] == ["强度 [MPa]", "yield [MPa]"]
    assert [say.points(1.5) for say in (Words("zh"), ENGLISH)] == ["1.50 MPa"] * 2
    monkeypatch.setattr(words, "TARGET", TARGET._replace(word_zh=""))
    assert Words("zh").target == "yield"
    assert Words("zh").reading(READINGS[0]._replace(meaning_zh="")) == READINGS[0].description
