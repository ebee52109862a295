"""Micro-batching: concurrent requests are predicted together, with the same results as alone."""

import asyncio

import onnx
import pytest
from support.journal_database import rows_of
from support.service import NAMES, REVISION, batches, linear_onnx, make_checkout

from api.inference.hot_swap import open_pinned
from api.inference.micro_batching import MAX_GROUP_ROWS, MicroBatcher
from api.inference.service import Service
from api.routes.predictions import predict_json
from api.settings import Settings
from batchyield.errors import ArtifactError
from batchyield.journal.records import encode_inputs
from batchyield.plant.batch import Batch

SENT = [batches(20)[start : start + size] for start, size in ((0, 1), (3, 4), (7, 1), (9, 11), (2, 1))]


def answering(root, journal):
    settings = Settings(lock=str(root / "dvc.lock"), revision=REVISION, journal=journal)
    return Service(settings, open_pinned(settings))


def answered_together(service, sent, bodies=None):
    bodies = bodies or [encode_inputs(one) for one in sent]

    async def all_at_once():
        batcher = MicroBatcher(service)
        calls = (
            batcher.predict(one, body, {"state": {"request_id": f"r{n}"}})
            for n, (one, body) in enumerate(zip(sent, bodies, strict=True))
        )
        return await asyncio.gather(*calls, return_exceptions=True)

    try:
        return asyncio.run(all_at_once())
    finally:
        service.journal.close()


def alone(service, sent):
    return [predict_json(service, encode_inputs(one)).predictions for one in sent]


def test_group(tmp_path):
    """A group's requests are predicted as if alone and committed together."""
    service = answering(make_checkout(tmp_path), str(tmp_path / "journal.sqlite"))
    together = answered_together(service, SENT)
    assert [one.predictions for one in together] == alone(service, SENT)
    assert [one.batches for one in together] == SENT
    text = service.metrics.exposition().decode()
    assert "batchyield_journal_commit_seconds_count 1.0" in text
    rows = rows_of(tmp_path / "journal.sqlite")
    expected = [(f"r{n}", at, batch.id) for n, one in enumerate(SENT) for at, batch in enumerate(one)]
    assert [(row.request, row.position, row.batch.id) for row in rows] == expected


def test_group_size(tmp_path):
    """A group closes at its maximum number of rows."""
    service = answering(make_checkout(tmp_path), str(tmp_path / "journal.sqlite"))
    sent = [[Batch(id=f"{request} {n}", B14=350.0 + n / 10) for n in range(600)] for request in range(5)]
    together = answered_together(service, sent)
    assert [one.predictions for one in together] == alone(service, sent)
    rows = rows_of(tmp_path / "journal.sqlite")
    assert [row.batch.id for row in rows] == [batch.id for one in sent for batch in one]
    assert len(sent[0]) + len(sent[1]) > MAX_GROUP_ROWS


def test_failing_prediction(tmp_path):
    """A request whose prediction fails does not fail the others of its group."""
    model = onnx.load_from_string(linear_onnx())
    # In float32 the weight times any temperature is infinite.
    weights = next(constant for constant in model.graph.initializer if constant.name == "weights")
    values = onnx.numpy_helper.to_array(weights).copy()
    values[NAMES.index("A6"), 0] = 3e38
    weights.CopyFrom(onnx.numpy_helper.from_array(values, "weights"))
    service = answering(make_checkout(tmp_path, model.SerializeToString()), "off")
    first, second, third = answered_together(service, [batches(1), [Batch(id="hot", A6=1000.0)], batches(1)])
    assert first.predictions == third.predictions
    assert isinstance(second, ArtifactError)


def test_failing_journal_entry(tmp_path):
    """An id that cannot be encoded as UTF-8 fails after the group's prediction, when the journal's text is made."""
    service = answering(make_checkout(tmp_path), str(tmp_path / "journal.sqlite"))
    sent = [batches(1), [Batch(id="\ud800")], batches(2)]
    bodies = [encode_inputs(batches(1)), b"x" * 2**20, encode_inputs(batches(2))]  # so long a body is encoded again
    first, second, third = answered_together(service, sent, bodies)
    assert isinstance(second, UnicodeError)
    assert [first.predictions, third.predictions] == alone(service, [sent[0], sent[2]])
    assert len(rows_of(tmp_path / "journal.sqlite")) == 3


@pytest.mark.parametrize("required", [True, False])
def test_full_journal_queue(tmp_path, required):
    """With a full journal queue, requests fail only if the journal is required."""
    settings = Settings(
        lock=str(make_checkout(tmp_path) / "dvc.lock"),
        journal=str(tmp_path / "journal.sqlite"),
        journal_queue=1,
        journal_required=required,
    )
    service = Service(settings, open_pinned(settings))
    answers = answered_together(service, [batches(1), batches(2)])
    assert [len(one.predictions) for one in answers] == [1, 2]
    # Where it must be journalled a request is refused before its body is read, and not once it is answered.
    assert len(rows_of(tmp_path / "journal.sqlite")) == (3 if required else 1)
