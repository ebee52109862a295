"""Scoring in this process with measured yields, as the service corrects predictions."""

import time

import pytest
from support.service import START_SECONDS, add_bias, client_of, make_checkout

from api.openapi.examples import BATCH, sheet
from batchyield.cli.__main__ import main

CSV = {"content-type": "text/csv"}
LINES = "".join(f"s_{n},0.92,2026-11-29T08:00:00Z\n" for n in range(10))


@pytest.fixture
def root(tmp_path):
    add_bias(make_checkout(tmp_path))
    (tmp_path / "batches.csv").write_text(sheet([BATCH | {"id": f"s_{n}", "B14": 400.0 + n} for n in range(12)]))
    return tmp_path


def score(root, outcomes, *options):
    """Score with these lines of outcomes: the exit code, and the CSV."""
    file, out = root / "lab.csv", root / "scored.csv"
    file.write_text(outcomes)
    lock = ("--lock", str(root / "dvc.lock"))
    code = main(["model", "score", *options, "--outcomes", str(file), *lock, "--out", str(out), "--quiet"])
    return code, out.read_bytes() if out.exists() else None


def test_outcomes(root):
    """The bytes are those of the service that knows the same yields."""
    code, scored = score(root, f"id,yield,measured_at\n{LINES}", str(root / "batches.csv"), "--local")
    assert code == 0
    content = (root / "batches.csv").read_bytes()
    with client_of(root) as client:
        alone = client.post("/v1/predictions/csv", content=content, headers=CSV).content
        client.post("/v1/outcomes", json={"outcomes": [{"id": f"s_{n}", "yield": 0.92} for n in range(10)]})
        deadline = time.monotonic() + START_SECONDS
        while (corrected := client.post("/v1/predictions/csv", content=content, headers=CSV).content) == alone:
            assert time.monotonic() < deadline, "the outcomes correct nothing"
    assert scored == corrected


@pytest.mark.parametrize(
    ("outcomes", "problem"),
    [
        ("id,yield\ns_1,9\n", "lab.csv, line 2: Expected `float` <= 1.2"),
        ("id,yield\ns_1,0.9\ns_2\n", "lab.csv, line 3: Expected `float`, got `null`"),
        ("batch,value\ns_1,0.9\n", "unknown field `batch`; expected id,yield[,measured_at]"),
        ("id,yield,measured_at\ns_1,0.9,soon\n", "line 2: Invalid RFC3339 encoded datetime"),
        ("id,yield\nother,0.9\n", "none of the outcomes is of a batch in the files"),
    ],
)
def test_bad_outcomes(root, capsys, outcomes, problem):
    """A file that is none of outcomes, or of other batches, is refused with its line; nothing is written."""
    assert score(root, outcomes, str(root / "batches.csv"), "--local") == (2, None)
    assert problem in capsys.readouterr().err


def test_service(root, capsys):
    """A service has its own outcomes."""
    assert score(root, "id,yield\n", str(root / "batches.csv")) == (2, None)
    assert "give --local" in capsys.readouterr().err
