"""`batchyield deploy start`, `shadow` and `rollback`, and `model compare`, in a real checkout."""

import json
import re
import shutil

import pytest
from support.deployments import A, B, Load, model, pins_of, until
from support.scratch_repository import cache, commit
from support.service import Running, batches, pin

from batchyield.cli.__main__ import main
from batchyield.review.model_comparison import ModelIdentity, compare_models, format_comparison
from batchyield.serving.artifact import MODEL, open_artifact
from batchyield.serving.auth.api_keys import encode_keys, new_key
from batchyield.serving.deployment.model_store import ModelStore
from batchyield.serving.deployment.prediction_diff import summarize_diff
from batchyield.serving.deployment.rollout import deployment_lock
from batchyield.serving.deployment.worker_registry import live_workers
from batchyield.versioning.git import git
from batchyield.versioning.storage.content_store import cache_path


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a commit for each of three models, of which the workspace has the last; the third is refused."""
    root = tmp_path / "checkout"
    (root / ".dvc").mkdir(parents=True)
    (root / ".gitignore").write_text("data/\n.cache/\n.dvc/cache/\n.serving/\n")
    git("init", "-q", "-b", "main", cwd=root)
    for constant, golden in ((B, None), (0.53125, A), (A, None)):
        model(root / "data/model", constant, golden)
        pin(root)
        cache(root)
        commit(root, f"the model {constant}")
    git("tag", "line@v2.0.0", "HEAD~2", cwd=root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("BATCHYIELD_MODELS", raising=False)
    return root


def revision(name, root):
    return git("rev-parse", name, cwd=root).strip()


def test_deploy_and_rollback(checkout, capfd):
    """`deploy start` reports the changed predictions, and `deploy rollback` restores the previous model."""
    lock = pins_of(checkout / "data/model")[MODEL]
    with Running(checkout, "--workers", "2") as running, Load(running.url) as load:
        until(lambda: live_workers(checkout / ".serving/workers"), 2)
        (checkout / "data/model" / MODEL).write_bytes(b"the workspace has moved on")
        assert main(["deploy", "start", "line@v2.0.0"]) == 0
        output = capfd.readouterr().out
        assert "20 batches, 20 changed: mean +0.06250, 95 % within 0.06250, largest +0.06250, 20 outside" in output
        assert "on the candidate's golden rows" in output
        assert re.search(r"charge 300 kg +20 batches, mean \+0.06250", output)
        assert "batch 0: 0.9000 -> 0.9625, outside its interval" in output
        for status in live_workers(checkout / ".serving/workers"):
            expected = f"{status.serving.md5[:12]}, version 2.0.0, revision {revision('HEAD~2', checkout)[:12]}"
            assert f"worker {status.pid} serves {expected}" in output
        served = running.get("/v1/model").json()
        assert (served["version"], served["revision"]) == ("2.0.0", revision("HEAD~2", checkout))

        assert main(["deploy", "start", "HEAD~1"]) == 2, "a model that this code refuses reaches no worker"
        assert "golden rows are not predicted as recorded" in capfd.readouterr().err
        assert running.get("/v1/model").json() == served

        assert main(["deploy", "shadow", "HEAD", "--json"]) == 0
        assert json.loads(capfd.readouterr().out)["rollout"]["workers"][0]["shadow"]["pins"][MODEL] == lock
        until(lambda: [1] if running.get("/v1/monitoring").json()["shadow"]["mean"] == -0.0625 else [])
        assert main(["deploy", "shadow", "off"]) == 0
        assert "in the shadow" not in capfd.readouterr().out

        shutil.rmtree(checkout / ".cache")
        assert main(["deploy", "rollback"]) == 0
        assert f"serves {lock[:12]}, version unreleased, revision {'1' * 12}" in capfd.readouterr().out
        assert main(["deploy", "rollback"]) == 2
        assert "has no record of a previous model" in capfd.readouterr().err
        assert main(["deploy", "rollback", "2.0.0~0"]) == 2
        assert main(["deploy", "rollback", "HEAD~2"]) == 0
        assert running.get("/v1/model").json()["version"] == "2.0.0"
    trail = [json.loads(line) for line in (checkout / ".serving/audit.jsonl").read_text().splitlines()]
    actions = [line["action"] for line in trail]
    assert actions == ["deploy", "shadow", "shadow", "rollback", actions[4]]
    assert "version 2.0.0" in trail[0]["model"]
    assert (trail[2]["model"], trail[3]["before"]) == ("none", trail[0]["model"])
    assert all(line["user"] and line["host"] and line["time"] for line in trail)
    assert {reply.status for reply in load.replies} == {200}
    assert {reply.answer for reply in load.replies} <= {0.9, 0.9625}


def test_rollback_over_http(checkout, tmp_path):
    """`POST /v1/admin/rollback` restores the previous model; its line in the audit trail has the key's name."""
    key = "k" * 32
    (tmp_path / "keys").write_bytes(encode_keys([new_key("panel", ["admin"], key)]))
    with Running(checkout, BATCHYIELD_API_KEYS_FILE=str(tmp_path / "keys")) as running:
        until(lambda: live_workers(checkout / ".serving/workers"))
        before = live_workers(checkout / ".serving/workers")[0].serving.md5
        assert main(["deploy", "start", "HEAD~2"]) == 0
        reply = running.post("/v1/admin/rollback", headers={"authorization": f"Bearer {key}"})
        assert (reply.status_code, reply.json()["model"]["md5"]) == (200, before)
    trail = [json.loads(line) for line in (checkout / ".serving/audit.jsonl").read_text().splitlines()]
    assert [(line["action"], line.get("key")) for line in trail] == [("deploy", None), ("rollback", "panel")]
    log = [json.loads(line) for line in running.output.splitlines()]
    swaps = [line["level"] for line in log if "serves in place of" in line.get("message", "")]
    assert swaps == ["info", "info"], "what an administrator asked for is no warning"


def test_deploy_without_a_way_back(checkout, capfd):
    """The bytes that serve are kept from wherever they are; if they are nowhere, only `--force` deploys."""
    serving = pins_of(checkout / "data/model")[MODEL]
    with Running(checkout) as running:
        until(lambda: live_workers(checkout / ".serving/workers"))
        shutil.rmtree(checkout / ".serving/models")  # as a service leaves it that may not write there
        (checkout / "data/model" / MODEL).write_bytes(b"the workspace has moved on")
        cached = cache_path(checkout, serving)
        cached.rename(checkout / "cached")
        assert main(["deploy", "start", "HEAD~2"]) == 2
        refusal = capfd.readouterr().err
        assert f"the model that serves, {serving[:12]}, version unreleased" in refusal
        assert "cannot be kept for a rollback: the DVC cache lacks model.onnx" in refusal
        assert "`--force` deploys anyway" in refusal
        assert running.get("/v1/model").json()["md5"] == serving
        (checkout / "cached").rename(cached)
        assert main(["deploy", "start", "HEAD~2"]) == 0
        assert "mean +0.06250" in capfd.readouterr().out, "the comparison is with what served"
        assert main(["deploy", "rollback"]) == 0
        assert running.get("/v1/model").json()["md5"] == serving


def test_worker_refuses(checkout, capfd):
    """A deployment fails and is reverted if a worker refuses the model."""
    with Running(checkout) as running:
        [status] = until(lambda: live_workers(checkout / ".serving/workers"))
        models = ModelStore(checkout / ".serving")
        set_desired, spoiled = ModelStore.set_desired, []

        def spoiling(self, desired):
            if desired.serving and not spoiled:
                spoiled.append((self.path(desired.serving) / MODEL).write_bytes(b"spoiled on its way"))
            set_desired(self, desired)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ModelStore, "set_desired", spoiling)
            assert main(["deploy", "start", "HEAD~2"]) == 1
        output = capfd.readouterr().out
        assert "REFUSED, the desired state is as before" in output
        assert f"worker {status.pid}: " in output
        assert "model.onnx: is not the pinned file" in output
        assert running.get("/v1/model").json()["refused"] == []
        assert models.desired().serving is None
        refused = json.loads((checkout / ".serving/audit.jsonl").read_text().splitlines()[-1])
        assert (refused["action"], refused["model"]) == ("deploy refused", "none")
        assert "is not the pinned file" in refused["reason"]
        assert main(["deploy", "start", "HEAD~2"]) == 0, "the store is mended by the next deployment"


def test_deploy_without_worker(checkout, capfd):
    """A deployment without a running worker takes effect at the next start."""
    assert main(["deploy", "start", "HEAD~2", "--models", "elsewhere", "--wait", "0"]) == 0
    assert "no worker is running; the next one to start serves" in capfd.readouterr().out
    with Running(checkout, BATCHYIELD_MODELS=str(checkout / "elsewhere")) as running:
        assert running.get("/v1/model").json()["version"] == "2.0.0"


def test_compare(checkout, capfd):
    """`model compare` compares two revisions, or one with the serving model."""
    assert main(["model", "compare", "HEAD~2", "HEAD", "--json"]) == 0
    comparison = json.loads(capfd.readouterr().out)
    assert comparison["overall"]["mean"] == -0.0625
    assert comparison["files"] == ["model.onnx", "golden.json"]
    assert comparison["baseline"]["version"] == "2.0.0"
    assert main(["model", "compare", "HEAD~2"]) == 0
    assert "mean +0.06250" in capfd.readouterr().out
    assert main(["model", "compare", "HEAD", "HEAD"]) == 0
    assert "the same bytes in all four files" in capfd.readouterr().out


def test_compare_on_test_batches(tmp_path):
    """Two models are compared on the test batches, in total and by slice."""
    import pandas as pd

    from batchyield.modelling.parquet import write_table
    from batchyield.plant.batch import READING_NAMES

    rows = batches(30)
    frame = pd.DataFrame({name: [getattr(row, name) for row in rows] for name in ("id", *READING_NAMES)})
    write_table(tmp_path / "data/split/test.parquet", frame)
    sides = []
    for name, constant in (("a", A), ("b", B)):
        model(tmp_path / name, constant)
        artifact = open_artifact(tmp_path / name, pins_of(tmp_path / name))
        sides.append((artifact, ModelIdentity(artifact.md5, "v1", "1" * 40)))
    comparison = compare_models(*sides, tmp_path)
    assert comparison.overall == summarize_diff(*(artifact.predictor.predict(rows) for artifact, _ in sides))
    assert comparison.rows == "data/split/test.parquet"
    assert len(comparison.movers) == 10
    assert {one.by for one in comparison.slices} == {"period", "spins", "charge", "reagent", "cells"}
    assert "on data/split/test.parquet: 30 batches, 30 changed" in format_comparison(comparison)


def test_concurrent_deployments(checkout, capfd):
    """A second deployment at the same time is refused."""
    with deployment_lock(ModelStore(checkout / ".serving")):
        assert main(["deploy", "start", "HEAD~2"]) == 2
    assert "another deployment into .serving is running" in capfd.readouterr().err
