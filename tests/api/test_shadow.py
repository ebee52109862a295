"""A shadow model predicts the same rows off the request path; its predictions are compared, and never returned."""

import json
import threading
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deployments import A, B, Load, set_desired_model, store_model, until, wait_applied
from support.service import START_SECONDS, Running, client_of, make_checkout

from api.inference.shadow import MAX_QUEUED_ROWS, ShadowCandidate, ShadowRunner
from api.openapi.examples import BATCH, INPUTS, MISTYPED, sheet
from api.telemetry.metrics import Metrics
from batchyield.errors import ArtifactError
from batchyield.plant.batch import Batch
from batchyield.serving.deployment.model_store import Deployment, ModelStore
from batchyield.serving.deployment.prediction_diff import RunningDiff, running_diff, summarize_diff, yield_changes
from batchyield.serving.deployment.rollout import set_shadow
from batchyield.serving.deployment.worker_registry import live_workers
from batchyield.serving.predictor import Prediction

ANSWERS = st.lists(st.tuples(st.integers(5000000, 9999999), st.integers(-900000, 900000)), min_size=1, max_size=40)


def predictions(yields, half=300000):
    return [Prediction(None, y / 1e7, (y - half) / 1e7, (y + half) / 1e7) for y in yields]


@given(ANSWERS, st.data())
def test_running_diff(answers, data):
    """Running totals of parts add up to those of the whole and agree with `summarize_diff`."""
    before = predictions([y for y, _ in answers])
    after = predictions([y + move for y, move in answers], half=310000)
    whole, summary = running_diff(before, after), summarize_diff(before, after)
    cut = data.draw(st.integers(0, len(answers)))
    parts = [running_diff(before[part], after[part]) for part in (slice(cut), slice(cut, None)) if before[part]]
    assert sum(parts, RunningDiff()) == whole == sum(reversed(parts), RunningDiff())
    assert (whole.batches, whole.changed, whole.outside) == (summary.batches, summary.changed, summary.outside)
    assert abs(whole.largest) == abs(summary.largest)
    assert whole.moved / whole.batches == pytest.approx(summary.mean, abs=1e-7)
    assert whole.moved_absolute / whole.batches == pytest.approx(summary.mean_absolute, abs=1e-7)
    assert whole.widened / whole.batches == pytest.approx(summary.width, abs=1e-7)
    assert whole.moved == round(sum(move for _, move in answers) / 1e7, 7), "sums are exact"
    assert sum(whole.histogram) == whole.batches
    assert yield_changes(before, after) == [move / 1e7 for _, move in answers]


def report(client, batches, base=""):
    """Wait until the shadow has received `batches` and return its statistics."""

    def statistics():
        shadow = client.get(f"{base}/v1/monitoring").json()["shadow"]
        return [shadow] if shadow and shadow["batches"] + shadow["dropped"] + shadow["failed"] == batches else []

    return until(statistics)[0]


def test_shadow_receives_every_row(tmp_path):
    """The shadow receives every valid row of every route, and its difference is exact."""
    root = make_checkout(tmp_path)
    b = store_model(root, B)
    with client_of(root) as client:
        before = client.post("/v1/predictions", json=INPUTS).content
        assert client.get("/v1/monitoring").json()["shadow"] is None
        wait_applied(root, set_desired_model(root, shadow=b))
        assert client.post("/v1/predictions", json=INPUTS).content == before
        client.post("/v1/predictions?explain=true", json=INPUTS)
        client.post("/v1/predictions/csv", content=sheet([BATCH, MISTYPED]), headers={"content-type": "text/csv"})
        for count in (40, 700):
            client.post("/v1/predictions", json={"inputs": [BATCH] * count})
        client.post("/v1/predictions", json={"inputs": [{"A1": "wrong"}]})
        shadow = report(client, 746)
        histogram = {one["at_most"]: one["batches"] for one in shadow.pop("histogram")}
        assert shadow == {
            "model": {"version": b.version, "revision": b.revision, "md5": b.md5},
            "batches": 746,
            "dropped": 0,
            "failed": 0,
            "failure": "",
            "changed": 746,
            "mean": 0.0625,
            "mean_absolute": 0.0625,
            "largest": 0.0625,
            "outside": 1.0,
            "width": pytest.approx(0, abs=1e-9),
        }
        assert {end: count for end, count in histogram.items() if count} == {None: 746}
        assert client.get("/v1/model").json()["shadow"] == shadow["model"]
        metrics = client.get("/metrics").text
        pair = f'{{baseline="{json.loads(before)["model"]["md5"]}",candidate="{b.md5}"}}'
        for series, value in {
            "changed_total": 746.0,
            "outside_total": 746.0,
            "moved": 46.625,
            "moved_absolute_total": 46.625,
            "largest": 0.0625,
            "difference_count": 746.0,
        }.items():
            assert f"batchyield_shadow_{series}{pair} {value}" in metrics
        wait_applied(root, set_desired_model(root))
        assert client.get("/v1/monitoring").json()["shadow"] is None
        assert client.post("/v1/predictions", json=INPUTS).content == before


def test_statistics_of_workers(tmp_path):
    """Shadow statistics are the sum over workers and survive a restart."""
    root = make_checkout(tmp_path)
    models = ModelStore(root / ".serving")
    b = store_model(root, B)
    sent = 0
    for _ in range(2):
        with Running(root, "--workers", "2") as running:
            until(lambda: live_workers(models.workers), 2)
            if not sent:
                assert set_shadow(models, b, START_SECONDS).problem == ""
            with Load(running.url) as load:
                load.answered(40)
            assert {reply.status for reply in load.replies} == {200}
            assert {reply.answer for reply in load.replies} == {0.9}, "the shadow's answers are nobody's"
            sent += len(load.replies)
            for _ in range(3):
                shadow = report(httpx, sent, running.url)
                assert (shadow["batches"], shadow["mean"], shadow["outside"]) == (sent, 0.0625, 1.0)
            monitored = running.get("/v1/monitoring").json()
            assert [worker["shadow"] for worker in monitored["workers"]] == [b.md5, b.md5]


def test_bad_shadow(tmp_path):
    """A refused shadow is reported and does not change the responses."""
    root = make_checkout(tmp_path)
    bad = store_model(root, B, golden=A)
    with client_of(root) as client:
        before = client.post("/v1/predictions", json=INPUTS).content
        wait_applied(root, set_desired_model(root, shadow=bad))
        assert client.post("/v1/predictions", json=INPUTS).content == before
        [refusal] = client.get("/v1/model").json()["refused"]
        assert (refusal["role"], refusal["md5"]) == ("shadow", bad.md5)
        assert "golden rows are not predicted as recorded" in refusal["reason"]
        assert 'batchyield_model_refused{role="shadow"} 1.0' in client.get("/metrics").text
        assert client.get("/v1/monitoring").json()["shadow"] is None


def candidate(predict):
    deployment = Deployment("made-up", {"model.onnx": "c" * 32}, "1", "1")
    return ShadowCandidate(deployment, SimpleNamespace(predict=predict))


def answered(count):
    return [Batch(id=str(n)) for n in range(count)], predictions([9000000] * count)


def test_failing_shadow(caplog):
    """A shadow that raises is counted, logged once, and continues with the next rows."""

    def predict(batches):
        if len(batches) == 2:
            raise ArtifactError("model.onnx", "answered nan")
        return predictions([9100000] * len(batches))

    raising, seeing = candidate(predict), ShadowRunner(Metrics())
    seeing.set_candidate(raising)
    for count in (1, 2, 3, 2):
        seeing.offer("b" * 32, *answered(count))
    seeing.close()
    assert (raising.failed, raising.dropped) == (4, 0)
    assert "answered nan" in raising.failure
    assert raising.by_baseline["b" * 32].batches == 4
    assert caplog.text.count("cannot predict") == 1, "the log is not filled by a shadow that always fails"


def test_slow_shadow():
    """A slow shadow drops rows when its queue is full and delays no request."""
    go = threading.Event()

    def predict(batches):
        go.wait(20)
        return predictions([9000000] * len(batches))

    slow, seeing = candidate(predict), ShadowRunner(Metrics())
    seeing.set_candidate(slow)
    for _ in range(5):
        seeing.offer("b" * 32, *answered(MAX_QUEUED_ROWS // 4))  # returns while the shadow is stuck
    assert slow.dropped == MAX_QUEUED_ROWS // 4
    assert slow.by_baseline == {}
    go.set()
    until(lambda: [t for t in slow.by_baseline.values() if t.batches == MAX_QUEUED_ROWS])
    seeing.offer("b" * 32, *answered(1))
    seeing.close()
    assert slow.by_baseline["b" * 32].batches == MAX_QUEUED_ROWS + 1, "there is room again"
    assert slow.by_baseline["b" * 32].changed == 0


def test_shadow_after_swap(tmp_path):
    """After a swap the shadow is compared with the model that serves now."""
    root = make_checkout(tmp_path)
    a, b = store_model(root, A), store_model(root, B)
    with client_of(root) as client:
        wait_applied(root, set_desired_model(root, shadow=b))
        client.post("/v1/predictions", json=INPUTS)
        assert report(client, 2)["mean"] == 0.0625
        wait_applied(root, set_desired_model(root, serving=b, shadow=b))
        client.post("/v1/predictions", json={"inputs": [BATCH] * 3})
        shadow = report(client, 3)
        assert (shadow["changed"], shadow["mean"]) == (0, 0.0)
        wait_applied(root, set_desired_model(root, serving=a, shadow=b))
        assert report(client, 2)["mean"] == 0.0625, "the lock's model and `a` have the same bytes"
