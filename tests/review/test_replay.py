"""Journalled inputs through a candidate: what it would have changed, and the gate on it."""

import hashlib
import json
import re
import subprocess

import pytest
from support.journal_database import opened
from support.service import REFERENCE, batches, card, client_of, linear_onnx, pin

from batchyield.cli.__main__ import main
from batchyield.journal.queries import read_predictions
from batchyield.review.journal_replay import REPLAY_METRICS, open_candidate, replay_journal
from batchyield.serving.artifact import FILES, golden_rows, write_artifact

ASKED = [{"id": f"batch {n}", "A1": 300, "A2": 1.0 if n % 2 else None, "B14": 400 + n} for n in range(60)]


def model(root, constant=0.5, per_kilogram=0.001):
    """A checkout with a pinned model that answers `constant + per_kilogram * B14`."""
    onnx = linear_onnx(constant, per_kilogram)
    write_artifact(root / "data/model", onnx, card(), golden_rows(onnx, batches(20)), REFERENCE)
    return pin(root) or root


def commit(root, message):
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run([*git, "add", "dvc.lock"], cwd=root, check=True)
    subprocess.run([*git, "commit", "-q", "-m", message], cwd=root, check=True)
    for name in FILES:  # as `dvc repro` leaves them
        data = (root / "data/model" / name).read_bytes()
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        cached = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(data)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A repository with two revisions of a model, of which the earlier answered 60 batches; outcomes of half."""
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    commit(model(root), "One")
    with client_of(root) as client:
        client.post("/v1/predictions", json={"inputs": ASKED})
        outcomes = [{"id": one["id"], "yield": 0.51 + 0.001 * one["B14"]} for one in ASKED[:30]]
        client.post("/v1/outcomes", json={"outcomes": outcomes})
    commit(model(root, 0.52), "Two")
    return root


@pytest.fixture
def here(asked, monkeypatch):
    monkeypatch.chdir(asked)
    monkeypatch.delenv("BATCHYIELD_JOURNAL", raising=False)
    return asked


def run_replay(capsys, *options, code=0):
    assert main(["model", "replay", "--since", "1d", "--json", *options]) == code
    return json.loads(capsys.readouterr().out)


def test_same_model(here, capsys):
    made = run_replay(capsys, "--model", "HEAD~1", "--fail-over", "0")
    assert made["overall"]["batches"] == 60
    assert made["overall"]["changed"] == 0
    assert made["movers"] == []
    assert made["bounds"] == [{"figure": "p95", "most": 0.0, "found": 0.0, "passed": True}]


def test_candidate(here, capsys):
    made = run_replay(capsys, "--model", "HEAD")
    assert made["baseline"] == "journal"
    fetched = here / ".cache/models" / made["candidate"]
    assert json.loads((fetched / "pins.json").read_text())["model.onnx"] == made["candidate"]
    assert made["overall"]["changed"] == 60
    assert made["overall"]["mean"] == pytest.approx(0.02, abs=1e-6)
    reagents = {one["label"]: one["differences"]["batches"] for one in made["slices"] if one["by"] == "reagent"}
    assert reagents == {"A2": 30, "A3": 30}
    assert made["measured"] == 30
    assert made["live"]["baseline"]["bias"] == pytest.approx(-0.01, abs=1e-6)
    assert made["live"]["candidate"]["bias"] == pytest.approx(0.01, abs=1e-6)
    assert len(made["movers"]) == 10


def test_baseline_and_folder(here, capsys):
    made = run_replay(capsys, "--model", "data/model", "--baseline", "HEAD~1")
    assert made["baseline"] == made["pins"][0][2]
    assert made["overall"] == run_replay(capsys, "--model", "HEAD")["overall"]


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (["0.03"], 0),
        (["0.01"], 1),
        (["mean=0.03", "largest=0.03", "changed=1", "outside=0", "slice=0.03", "live_rmse=0.001"], 0),
        (["slice=0.01"], 1),
        (["largest=0.03", "changed=0.5"], 1),
        (["nan"], 1),
    ],
)
def test_limits(here, capsys, limits, code):
    options = [word for limit in limits for word in ("--fail-over", limit)]
    made = run_replay(capsys, "--model", "HEAD", *options, code=code)
    assert [bound["passed"] for bound in made["bounds"]].count(False) == code


def test_text(here, capsys):
    assert main(["model", "replay", "--since", "1d", "--model", "HEAD", "--limit", "40", "--fail-over", "0.001"]) == 1
    message = capsys.readouterr().out
    assert "40 batches, 40 changed" in message
    assert "reagent A2: 0.02000 of 20 batches" in message
    assert re.search(r"^  batch \d+: 0\.\d{4} -> 0\.\d{4}$", message, re.MULTILINE)
    assert "FAILED  p95 0.02000, at most 0.001" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "nowhere"], "'nowhere' is not a revision"),
        (["--model", "HEAD", "--until", "1h"], "holds no prediction of that time"),
        (["--model", "HEAD", "--fail-over", "p95=a"], "'a' is not a number"),
        (["--model", "HEAD", "--fail-over", "p96=1"], "there is no figure p96"),
        (["--model", "HEAD", "--journal", "none.sqlite"], "there is no journal at"),
    ],
)
def test_invalid_options(here, capsys, options, message):
    assert main(["model", "replay", "--since", "1d", *options]) == 2
    assert message in capsys.readouterr().err


def test_live_error_without_outcomes(asked):
    with opened(asked / ".journal/journal.sqlite") as store:
        rows = [row for row in read_predictions(store) if row.measured is None]
    made = replay_journal(rows, open_candidate(asked / "data/model"))
    assert made.live == {}
    assert REPLAY_METRICS["live_rmse"](made) is None
