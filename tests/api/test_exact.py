"""The service reproduces the predictions of `dvc repro`, for every format and grouping of the batches."""

import random

import pandas as pd
import pytest
from support.service import Running

from batchyield.cli.__main__ import main
from batchyield.client import Client
from batchyield.modelling.parquet import read_table, to_batches
from batchyield.plant.batch import ENCODING

pytestmark = pytest.mark.slow

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def repro(rebuilt):
    """The pipeline's predictions of the test batches: id -> (yield, lower, upper)."""
    table = pd.read_csv(rebuilt / "data/plots/predicted.csv", dtype={"id": str})
    return {row.id: (row.yields, row.lower, row.upper) for row in table.itertuples()}


@pytest.fixture(scope="module")
def rows(rebuilt):
    return to_batches(read_table(rebuilt / "data/split/test.parquet"))


@pytest.fixture(scope="module")
def sheet(rebuilt, repro):
    """The header and the lines of the test batches as the plant wrote them."""
    header, *lines = (rebuilt / "data/raw/batches.csv").read_bytes().decode(ENCODING).splitlines(keepends=True)
    return header, [line for line in lines if line.partition(",")[0].strip() in repro]


@pytest.fixture(scope="module")
def client(rebuilt):
    with Running(rebuilt) as running, Client(running.url) as client:
        yield client


def same(predictions, repro):
    for one in predictions:
        assert (one.yield_, one.lower, one.upper) == pytest.approx(repro[one.id], abs=TOLERANCE, rel=0), one.id
    return len(predictions)


def test_single_batches(client, rows, repro):
    """Single batches get the pipeline's predictions."""
    assert len(rows) == len(repro) > 100
    assert sum(same([client.predict_one(row)], repro) for row in rows) == len(repro)


def test_one_request(client, rows, repro):
    """All batches in one request get the pipeline's predictions."""
    assert same(client.predict(rows).predictions, repro) == len(repro)


@pytest.mark.parametrize("seed", range(10))
def test_random_requests(client, rows, repro, seed):
    """Random selections get the pipeline's predictions in order."""
    dice = random.Random(seed)  # noqa: S311
    chosen = dice.choices(rows, k=dice.randint(2, 200))
    answered = client.predict(chosen).predictions
    assert [one.id for one in answered] == [row.id for row in chosen]
    same(answered, repro)


@pytest.mark.parametrize("encoding", [ENCODING, "UTF-8", "UTF-8-SIG"])
def test_csv(client, sheet, repro, encoding):
    """Lines of the plant's CSV get the pipeline's predictions in every encoding."""
    header, lines = sheet
    shuffled = random.Random(1).sample(lines, len(lines))  # noqa: S311
    for chosen in (lines, shuffled, lines[:1]):
        content = (header + "".join(chosen)).encode(encoding)
        assert same(client.predict_csv(content).predictions, repro) == len(chosen)
        scored = b"".join(client.score_csv(content)).decode().splitlines()[1:]
        for line in scored:
            name, *numbers = line.split(",")
            assert [float(number) for number in numbers] == pytest.approx(repro[name], abs=TOLERANCE, rel=0)


def test_local_command(rebuilt, client, sheet, tmp_path):
    """`batchyield score --local` writes the same bytes as the service."""
    header, lines = sheet
    (tmp_path / "batches.csv").write_text(header + "".join(lines), encoding=ENCODING)
    out = tmp_path / "scored.csv"
    options = ["--local", "--lock", str(rebuilt / "dvc.lock"), "--quiet", "--out", str(out)]
    assert main(["model", "score", str(tmp_path / "batches.csv"), *options]) == 0
    assert out.read_bytes() == b"".join(client.score_csv(tmp_path / "batches.csv"))
