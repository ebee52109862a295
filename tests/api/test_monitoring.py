"""Monitoring of the serving model in `GET /v1/monitoring` and in the metrics."""

import contextlib
import os
import re
import signal
import sys
import time
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.monitored_plant import coming, make_plant, raised
from support.service import ROOT, START_SECONDS, Running, client_of, refusal

from api.inference.group_commit import prepare_journal
from api.monitoring.routes import Monitoring
from api.openapi.examples import BATCH, MISTYPED
from api.settings import Settings
from batchyield.monitoring.drift_window import DriftVerdict
from batchyield.plant.batch import READING_NAMES


@pytest.fixture
def root(tmp_path):
    return make_plant(tmp_path)


def ask(client, rows):
    return client.post("/v1/predictions", json={"inputs": msgspec.to_builtins(rows)}).json()["predictions"]


def seen(client):
    """The decoded response of `GET /v1/monitoring`."""
    answer = client.get("/v1/monitoring")
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Monitoring)


def series(text):
    """The value of each series of an exposition."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def looked_at(client, batches):
    """Wait until the drift watcher has checked that many batches and return the series."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        metrics = series(client.get("/metrics").text)
        if metrics.get(("batchyield_drift_window_batches",)) == batches:
            return metrics
        time.sleep(0.02)
    raise AssertionError(f"the watch has not seen {batches} batches")


class TestDriftReport:
    """`GET /v1/monitoring/report`."""

    def test_page(self, root):
        """The page is the drift report of the period, without scripts, and says so if it holds no batches."""
        with client_of(root, watch_seconds=0) as client:
            assert "This model answered no batch" in client.get("/v1/monitoring/report").text
            ask(client, coming(150))
            ask(client, coming(350, 150, B14=raised(-40), B8=None))
            answer = client.get("/v1/monitoring/report?since=2026-01-01")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "B14" in answer.text
            assert "<script" not in answer.text
            assert "This model answered no batch" in client.get("/v1/monitoring/report?until=2026-01-01").text
            chinese = client.get("/v1/monitoring/report?until=2026-01-01&language=zh").text
            assert "此时段内该模型没有预测任何批次" in chinese
            for wrong in ("since=yesterday", "language=fr", "language="):
                refusal(client.get(f"/v1/monitoring/report?{wrong}"), 422, "invalid-input")

    def test_unavailable(self, root, monkeypatch):
        """Without a journal, or without the packages that draw it, the report is refused with the reason."""
        with client_of(root, journal="off") as client:
            refusal(client.get("/v1/monitoring/report"), 409, "journal-off")
        monkeypatch.setitem(sys.modules, "batchyield.monitoring.report.html", None)
        with client_of(root) as client:
            problem = refusal(client.get("/v1/monitoring/report"), 409, "report-off")
        assert "batchyield[report]" in problem["detail"]


def test_report(root):
    """The report has drift, live error and frequencies of the predicted batches."""
    with client_of(root, watch_seconds=0) as client:
        ask(client, coming(150))
        steady = seen(client)
        assert steady.window.batches == 150
        assert steady.window.drifted == ()
        assert {one.verdict for one in steady.window.readings} == {DriftVerdict.STEADY}
        assert steady.live.verdict is DriftVerdict.TOO_FEW
        answers = ask(client, coming(350, 150, B14=raised(-40), B8=None))
        measured = [{"id": one["id"], "yield": round(one["yield"] - 0.03, 6)} for one in answers[:60]]
        assert client.post("/v1/outcomes", json={"outcomes": measured}).status_code == 200
        moved = seen(client)
    assert moved.window.batches == 500
    assert {"B14", "B8"} <= set(moved.window.drifted)
    assert moved.window.prediction.verdict is DriftVerdict.DRIFTED
    assert not moved.chart.in_control
    assert moved.live.outcomes == 60
    assert moved.live.verdict is DriftVerdict.DRIFTED
    assert moved.live.bias.value == pytest.approx(0.03, abs=1e-6)
    assert moved.frequency.since <= moved.frequency.until
    assert moved.model.md5 == client_md5(root)


def client_md5(root):
    return re.findall(r"model.onnx\n\s+hash: md5\n\s+md5: (\w+)", (root / "dvc.lock").read_text())[0]


def test_repeated_batch(root):
    """A batch that is predicted again counts once, with its last readings."""
    with client_of(root, watch_seconds=0) as client:
        for _ in range(3):
            ask(client, coming(110, B14=raised(-60)))
        ask(client, coming(110))
        report = seen(client)
    assert report.window.batches == 110
    assert report.window.drifted == ()


def test_without_journal(root):
    """Without a journal the report names the setting and has no window."""
    with client_of(root, journal="off") as client:
        ask(client, coming(3))
        report = seen(client)
        metrics = series(client.get("/metrics").text)
    assert "BATCHYIELD_JOURNAL" in report.off
    assert report.window is None
    assert metrics["batchyield_watch_enabled",] == 0
    assert ("batchyield_drift_window_batches",) not in metrics


def test_unreadable_journal(root):
    """An unreadable journal gives 503 and is counted."""
    folder = root / "no file"
    folder.mkdir()
    with client_of(root, journal=str(folder), watch_seconds=0.01) as client:
        refusal(client.get("/v1/monitoring"), 503, "journal-away")
        deadline = time.monotonic() + START_SECONDS
        while not series(client.get("/metrics").text)["batchyield_watch_failures_total",]:
            assert time.monotonic() < deadline


def test_empty_journal(root):
    """An empty journal gives an empty window."""
    prepare_journal(Settings(lock=str(root / "dvc.lock")))
    with client_of(root) as client:
        metrics = looked_at(client, 0)
        assert seen(client).window.batches == 0
    assert ("batchyield_drift_readings",) not in metrics
    assert ("batchyield_drift_verdict", ("reading", "A1")) not in metrics


def test_gauges(root):
    """The metrics have the values of /v1/monitoring."""
    with client_of(root, watch_seconds=0.01) as client:
        ask(client, coming(200, A6=raised(8)))
        metrics = looked_at(client, 200)
        report = seen(client)
    for one in report.window.readings:
        of_reading = ("reading", one.reading)
        assert metrics["batchyield_drift_psi", of_reading] == one.psi
        assert metrics["batchyield_drift_blank_share", of_reading] == one.blank
        assert metrics["batchyield_drift_verdict", of_reading] == (one.verdict is DriftVerdict.DRIFTED)
    assert metrics["batchyield_drift_readings",] == len(report.window.drifted) >= 1
    assert metrics["batchyield_prediction_z",] == report.window.prediction.z
    assert metrics["batchyield_chart_mean",] == report.chart.points[-1].mean
    assert metrics["batchyield_live_mae_reference",] == 0.01
    assert metrics["batchyield_ready",] == 1


def test_documented_metrics(root):
    """The documentation lists every metric."""
    with client_of(root, watch_seconds=0.01) as client:
        ask(client, coming(100))
        looked_at(client, 100)
        named = set(re.findall(r"^# TYPE (batchyield_\S+)", client.get("/metrics").text, re.MULTILINE))
    guide = "".join((ROOT / "docs" / page).read_text() for page in ("api.md", "monitoring.md"))
    rows = [line.split("|")[1] for line in guide.splitlines() if line.startswith("| `batchyield_")]
    assert named == {name for row in rows for name in re.findall(r"`(batchyield_\w+)`", row)}


def test_counters(root):
    """Missing, repaired and out-of-range cells, yields and widths are counted."""
    dirty = BATCH | {"id": "dirty", "A10": 500.0, "A23": None}
    with client_of(root) as client:
        client.post("/v1/predictions", json={"inputs": [MISTYPED, dirty]})
        metrics = series(client.get("/metrics").text)
    missing = {name: (BATCH[name] is None) * 2 for name in READING_NAMES}
    missing |= {"A17": missing["A17"] + 1, "A23": missing["A23"] + 1}
    assert {name: metrics["batchyield_cells_missing_total", ("reading", name)] for name in READING_NAMES} == missing
    assert metrics["batchyield_cells_repaired_total", ("reading", "B9")] == 1
    assert metrics["batchyield_cells_out_of_range_total", ("reading", "B9")] == 0
    assert metrics["batchyield_cells_out_of_range_total", ("reading", "A10")] == 1
    assert metrics["batchyield_predicted_yield_count",] == metrics["batchyield_interval_width_count",] == 2
    assert metrics["batchyield_predicted_yield_bucket", ("le", "+Inf")] == 2
    assert metrics["batchyield_interval_width_bucket", ("le", "0.07")] == 2
    assert metrics["batchyield_interval_width_bucket", ("le", "0.06")] == 0
    assert metrics["batchyield_interval_width_sum",] == pytest.approx(4 * 0.03125, abs=1e-6)


def test_counters_without_checks(root):
    """`/metrics` of one worker has the predictions of all, though no drift check is configured."""
    with Running(root, "--workers", "2", BATCHYIELD_WATCH_SECONDS="0") as running, running.client() as client:
        for _ in range(40):  # each on a connection of its own, so that both workers get some
            assert running.post("/v1/predictions", json={"inputs": [BATCH]}).status_code == 200
        deadline = time.monotonic() + START_SECONDS
        while (metrics := series(client.get("/metrics").text))["batchyield_predicted_yield_count",] < 40:
            assert time.monotonic() < deadline, "the predictions of one worker are not counted"
    assert metrics["batchyield_watch_enabled",] == 0
    assert not [name for name, *_ in metrics if name.startswith("batchyield_drift_")]


def test_leader(root):
    """One worker computes drift; another takes over after it dies."""
    folder = root / "metrics"
    more = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "BATCHYIELD_WATCH_SECONDS": "0.05"}
    with Running(root, "--workers", "2", **more) as running, running.client() as client:
        attempts = ask_again(client, coming(100))
        metrics = looked_at(client, 100)
        assert metrics["batchyield_predicted_yield_count",] == 100 * attempts
        assert metrics["batchyield_ready",] == 1
        (leader,) = holders(folder / "watch.lock")
        os.kill(leader, signal.SIGKILL)
        ask_again(client, coming(101))
        assert looked_at(client, 101)["batchyield_drift_psi", ("reading", "B14")] >= 0
        assert holders(folder / "watch.lock") != {leader}


def holders(file):
    """The processes that hold a lock on a file."""
    inode = f":{file.stat().st_ino} "
    locks = Path("/proc/locks").read_text().splitlines()
    return {int(line.split()[4]) for line in locks if inode in line and "->" not in line}


def ask_again(client, rows):
    """Repeat the request until a worker answers it, and return the number of attempts."""
    deadline, attempts = time.monotonic() + START_SECONDS, 0
    while time.monotonic() < deadline:
        attempts += 1
        with contextlib.suppress(httpx.TransportError):  # the connection was to the killed worker
            if client.post("/v1/predictions", json={"inputs": msgspec.to_builtins(rows)}).status_code == 200:
                return attempts
    raise AssertionError("no worker answers")


@pytest.mark.parametrize("required", [True, False])
def test_unavailable_journal(root, tmp_path, required):
    """An unavailable journal does not make the service unready."""
    folder, elsewhere = tmp_path / "journal", tmp_path / "elsewhere"
    rows = {"inputs": msgspec.to_builtins(coming(1))}
    with client_of(root, journal=str(folder / "journal.sqlite"), journal_required=required, watch_seconds=0) as client:
        ask(client, coming(1))
        folder.rename(elsewhere)
        folder.touch()  # a missing folder would be created again
        answer = client.post("/v1/predictions", json=rows)
        if required:
            refusal(answer, 503, "not-journalled")
            assert answer.headers["retry-after"] == "2"
        else:
            assert answer.status_code == 200
        for path in ("/health/ready", "/health/live", "/v1/model", "/metrics", "/"):
            assert client.get(path).status_code == 200
        folder.unlink()
        elsewhere.rename(folder)
        deadline = time.monotonic() + START_SECONDS
        while client.post("/v1/predictions", json=rows).status_code != 200:
            assert time.monotonic() < deadline
        assert seen(client).window.batches == 1
