"""Hot swaps of the model: under load, in every worker, or not at all."""

import gc
import json
import os
import re
import resource
import shutil
import signal
import time
import weakref
from itertools import pairwise

import httpx
import pytest
from support.deployments import A, B, Load, pins_of, set_desired_model, store_model, until, wait_applied
from support.service import START_SECONDS, Running, client_of, linear_onnx, make_checkout, refused

from api.inference.hot_swap import ModelHotSwapper, open_desired
from api.inference.service import Service
from api.openapi.examples import BATCH, INPUTS, sheet
from api.settings import Settings
from batchyield.plant.batch import Batch
from batchyield.serving.artifact import MODEL, canonical_json
from batchyield.serving.deployment.model_store import Deployment, DesiredState, ModelStore
from batchyield.serving.deployment.rollout import deploy, rollback
from batchyield.serving.deployment.worker_registry import live_workers


def answers(client, base=""):
    response = client.post(f"{base}/v1/predictions", json=INPUTS).json()
    return response["model"]["md5"], response["predictions"][0]["yield"]


@pytest.mark.parametrize("workers", [1, 2])
def test_swap_under_load(tmp_path, workers):
    """No request fails during swaps, and every response comes from the model that it names."""
    root = make_checkout(tmp_path)
    models = ModelStore(root / ".serving")
    a, b = store_model(root, A), store_model(root, B)
    yields = {a.md5: 0.9, b.md5: 0.9625}
    for one in (a, b):
        shutil.copytree(models.path(one), tmp_path / one.directory)
    settled = []
    with Running(root, "--workers", str(workers)) as running:
        until(lambda: live_workers(models.workers), workers)
        with Load(running.url) as load:
            load.answered(20)
            for deployment in (b, a, b, a, b):
                rollout = deploy(models, models.add(tmp_path / deployment.directory, deployment), START_SECONDS)
                assert rollout.problem == ""
                assert [status.serving for status in rollout.workers] == [deployment] * workers
                begun = time.monotonic()
                assert running.get("/health/ready").json() == {"status": "ready", "md5": deployment.md5}
                load.answered(20)
                settled.append((begun, len(load.replies), deployment.md5))
    assert {reply.status for reply in load.replies} == {200}
    assert all(reply.answer == yields[reply.md5] for reply in load.replies)
    for begun, arrived, md5 in settled:  # what arrived later may be the next model's, even if it began before
        during = [reply.md5 for reply in load.replies[:arrived] if begun <= reply.began]
        assert len(during) >= 10
        assert set(during) == {md5}, "after a deployment has ended, every worker answers with the new model"
    held = [reply.md5 for reply in load.replies if reply.caller == 0]
    changes = sum(before != after for before, after in pairwise(held))
    assert changes == 5, "on one connection each swap is seen once and never goes back"
    assert "Traceback" not in running.errors


def test_swap_is_visible(tmp_path):
    """Headers, /v1/model and the metrics name the new model after a swap."""
    root = make_checkout(tmp_path)
    b = store_model(root, B, name="b", metrics={"mse": 0.5})
    with client_of(root) as client:
        before = answers(client)
        wait_applied(root, set_desired_model(root, serving=b))
        assert answers(client) == (b.md5, 0.9625) != before
        model = client.get("/v1/model").json()
        assert (model["md5"], model["revision"], model["version"]) == (b.md5, b.revision, b.version)
        assert model["card"]["metrics"] == {"mse": 0.5}
        answer = client.post("/v1/predictions/csv", content=sheet([BATCH]), headers={"content-type": "text/csv"})
        assert answer.headers["x-model-md5"] == b.md5
        metrics = client.get("/metrics").text
        assert f'md5="{b.md5}",name="line",revision="{b.revision}",version="{b.version}"}} 1.0' in metrics
        assert f'md5="{before[0]}",name="line",revision="{"1" * 40}",version="unreleased"}} 0.0' in metrics
        assert 'batchyield_model_changes_total{outcome="taken",role="serving"} 1.0' in metrics


def test_old_model_is_freed(tmp_path):
    """After a swap, nothing refers to the old predictor."""
    root = make_checkout(tmp_path)
    b = store_model(root, B)
    settings = Settings(lock=str(root / "dvc.lock"), revision="1" * 40)
    service = Service(settings, open_desired(settings))
    swap = ModelHotSwapper(service)
    old = weakref.ref(service.model.artifact.predictor)
    service.predict([Batch(B14=400.0)], "json")
    wait_applied(root, set_desired_model(root, serving=b))
    assert service.model.pin.md5 == b.md5
    gc.collect()
    assert old() is None
    swap.close()


def flipped(root):
    bad = store_model(root, B, name="bad")
    file = root / ".serving/models/bad/model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return bad, r"model\.onnx: is not the pinned file: expected md5 \w+, found \w+"


def golden_mismatch(root):
    return store_model(
        root, B, name="bad", golden=A
    ), r"golden\.json: golden rows are not predicted as recorded: row \d+ \(batch \d+\) differs"


def missing(root):
    bad = store_model(root, B, name="bad")
    (root / ".serving/models/bad/card.json").unlink()
    return bad, r"card\.json: cannot be read: No such file"


def other_features(root):
    return store_model(root, B, name="bad", features=("A1", "A2")), r"reads yield, lower, upper"


def no_model(root):
    bad = store_model(root, B, name="bad")
    (root / ".serving/models/bad/model.onnx").write_bytes(b"no model")
    pins = pins_of(root / ".serving/models/bad")
    return Deployment("bad", pins, bad.revision, bad.version), "is not a model that onnxruntime can open"


def no_pins(root):
    store_model(root, B, name="bad")
    return Deployment("bad", {}, "r", "v"), "has no pin"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    root = make_checkout(tmp_path_factory.mktemp("model"))
    with client_of(root) as client:
        yield root, client


@pytest.mark.parametrize("spoil", [flipped, golden_mismatch, missing, other_features, no_model, no_pins])
def test_bad_artifact(service, spoil, caplog):
    """A bad artifact is refused with its reason, and the old model continues to serve."""
    root, client = service
    before = answers(client)
    bad, reason = spoil(root)
    wait_applied(root, set_desired_model(root, serving=bad))
    assert answers(client) == before
    assert client.get("/health/ready").status_code == 200
    [refusal] = client.get("/v1/model").json()["refused"]
    assert (refusal["role"], refusal["md5"], refusal["revision"]) == ("serving", bad.md5, bad.revision)
    assert re.search(reason, refusal["reason"])
    assert client.get("/v1/monitoring").json()["workers"][0]["refused"] == [refusal]
    assert 'batchyield_model_refused{role="serving"} 1.0' in client.get("/metrics").text
    assert f"stays as serving; the desired model is refused: {refusal['reason']}" in caplog.text

    good = store_model(root, A)
    wait_applied(root, set_desired_model(root, serving=good))
    assert answers(client) == (good.md5, 0.9)
    assert client.get("/v1/model").json()["refused"] == []
    assert 'batchyield_model_refused{role="serving"} 0.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"[]", b'{"revision": "x"}', b'{"serving": {"directory": 1}}', b"\xff\xfe"]
)
def test_malformed_desired_state(service, garbage):
    """A desired state that cannot be decoded is refused, and the old model continues to serve."""
    root, client = service
    before = answers(client)
    (root / ".serving/desired.json").write_bytes(garbage)
    refused_models = until(lambda: client.get("/v1/model").json()["refused"])
    assert "desired.json: cannot be read" in refused_models[0]["reason"]
    assert answers(client) == before
    wait_applied(root, set_desired_model(root, serving=store_model(root, A)))
    assert client.get("/v1/model").json()["refused"] == []


def test_header_injection(service):
    """A version with a line break is refused, so that it cannot add a response header."""
    root, client = service
    good = json.loads(canonical_json(DesiredState(99, serving=store_model(root, A))))
    good["serving"]["version"] = "v1\r\nx-evil: 1"
    (root / ".serving/desired.json").write_text(json.dumps(good))
    assert until(lambda: client.get("/v1/model").json()["refused"])
    wait_applied(root, set_desired_model(root, serving=store_model(root, A)))


def test_refusal_restores_desired_state(tmp_path):
    """A deployment that one worker refuses restores the previous desired state."""
    root = make_checkout(tmp_path)
    models = ModelStore(root / ".serving")
    a = store_model(root, A)
    with Running(root, "--workers", "2") as running:
        until(lambda: live_workers(models.workers), 2)
        first = models.keep(live_workers(models.workers)[0].serving)
        assert deploy(models, a, START_SECONDS, first).problem == ""
        b, (bad, _) = store_model(root, B), golden_mismatch(root)
        rollout = deploy(models, bad, START_SECONDS)
        assert "golden rows are not predicted as recorded" in rollout.problem
        assert rollout.problem.count("worker ") >= 1
        assert [status.serving for status in rollout.workers] == [a, a]
        assert models.desired().serving == a
        assert all(status.refused == () for status in rollout.workers)

        assert deploy(models, b, START_SECONDS, a).problem == ""
        assert [status.serving for status in rollback(models, START_SECONDS).workers] == [a, a]
        assert answers(httpx, running.url) == (a.md5, 0.9)
        rollout = rollback(models, START_SECONDS)
        assert rollout.problem == ""
        assert {status.serving.revision for status in rollout.workers} == {"1" * 40}, (
            "what the lock pinned served first"
        )


def test_worker_killed_during_swap(tmp_path):
    """The replacement of a worker killed during a swap serves the desired model."""
    root = make_checkout(tmp_path)
    models = ModelStore(root / ".serving")
    b = store_model(root, B)
    with Running(root, "--workers", "2") as running:
        first, _ = until(lambda: live_workers(models.workers), 2)
        revision = set_desired_model(root, serving=b)
        os.kill(first.pid, signal.SIGKILL)
        after = wait_applied(root, revision, 2)
        until(lambda: [one for one in live_workers(models.workers) if one.pid != first.pid], 2)
        assert [one.serving for one in live_workers(models.workers)] == [b, b]
        assert after
        for _ in range(10):
            assert answers(httpx, running.url) == (b.md5, 0.9625)


def test_worker_starts_with_last_known_good(tmp_path):
    """A worker that starts while the desired model is bad serves the last known good model."""
    root = make_checkout(tmp_path)
    models = ModelStore(root / ".serving")
    b = store_model(root, B)
    bad, _ = flipped(root)
    with Running(root, "--workers", "2") as running:
        first, _ = until(lambda: live_workers(models.workers), 2)
        wait_applied(root, set_desired_model(root, serving=b), 2)
        wait_applied(root, set_desired_model(root, serving=bad), 2)
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: [one for one in live_workers(models.workers) if one.pid != first.pid], 2)
        for one in live_workers(models.workers):
            assert one.serving == b
            assert [refusal.md5 for refusal in one.refused] == [bad.md5]
        assert answers(httpx, running.url) == (b.md5, 0.9625)
        assert running.get("/health/ready").status_code == 200


def test_start_with_desired_model(tmp_path):
    """A service starts with the desired model, even if dvc.lock pins another."""
    root = make_checkout(tmp_path)
    b = store_model(root, B)
    set_desired_model(root, serving=b)
    with client_of(root) as client:
        assert answers(client) == (b.md5, 0.9625)
    (root / "data/model" / MODEL).write_bytes(linear_onnx(0.4))
    with client_of(root) as client:
        assert answers(client) == (b.md5, 0.9625)
    (root / ".serving/desired.json").unlink()
    code, errors = refused(root)
    assert code == 2
    assert "is not the pinned file" in errors


def test_unwritable_model_store(tmp_path, caplog):
    """Without a writable model store the pinned model is served, and a warning is logged."""
    root = make_checkout(tmp_path)
    (tmp_path / "file").write_text("")
    with client_of(root, models=str(tmp_path / "file")) as client:
        assert answers(client)[1] == 0.9
        [refusal] = client.get("/v1/monitoring").json()["workers"][0]["refused"]
        assert "desired.json: cannot be read" in refusal["reason"]
    assert "not writable, so deployments have no effect" in caplog.text


def test_full_disk_under_the_model_store(tmp_path):
    """A worker that cannot write its status still swaps the model and answers, and writes what it could not later."""
    root = make_checkout(tmp_path)
    a, b = store_model(root, A), store_model(root, B)
    with Running(root, BATCHYIELD_JOURNAL="off") as running:
        until(lambda: live_workers(root / ".serving/workers"))
        no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        revision = set_desired_model(root, serving=b)
        with running.client() as client:
            until(lambda: [None] if answers(client)[0] == b.md5 else [])
        assert running.get("/health/ready").status_code == 200
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, no_limit)
        [status] = wait_applied(root, revision)
        assert status.serving == b
        until(lambda: [None] if ModelStore(root / ".serving").last_known_good() == b else [])
        [status] = wait_applied(root, set_desired_model(root, serving=a))
        assert status.serving == a
    assert (running.errors + running.output).count("cannot be written") == 2, "the status and the model, once each"
