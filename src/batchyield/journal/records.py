"""Records that the service hands to the journal: an answered request, in parts of bounded size."""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec

from batchyield.plant.batch import Batch
from batchyield.serving.prediction import Prediction

BatchId = TypeVar("BatchId", str, str | None)

MAX_PART_BATCHES = 1_000
"""A larger request is written in several parts, so that other requests do not wait for all of it."""

MAX_VERBATIM_BYTES_PER_BATCH = 2_000
"""A request body up to this size is stored unchanged: twice the size of a batch with all readings."""

# Batch with defaults, so that nulls are omitted: a third shorter, and the fastest way to encode.
_SparseBatch = msgspec.defstruct(
    "_SparseBatch", [(field.name, field.type, None) for field in msgspec.structs.fields(Batch)], omit_defaults=True
)
_id_of = attrgetter("id")
_encode = msgspec.json.Encoder().encode


class AnsweringModel(NamedTuple):
    """The model that made a prediction."""

    version: str
    revision: str
    md5: str


class RequestPart(NamedTuple):
    """Up to `MAX_PART_BATCHES` batches of a request and their predictions, both as UTF-8 JSON.

    Attributes:
        first: position of the first batch in the request, from 0.
        inputs: `{"inputs": [...]}`.
        predictions: `[...]`, as in the response.
    """

    first: int
    ids: Sequence[str | None]
    inputs: bytes
    predictions: bytes


class JournalEntry(NamedTuple):
    """A part of an answered request.

    Attributes:
        at: time of the response, microseconds since 1970, UTC.
        caller: name of the API key; empty without keys.
        form: `json` or `csv`.
        key: digest of caller, target and `Idempotency-Key`, under which nothing is recorded twice; None without one.
    """

    at: int
    request: str
    caller: str
    form: str
    pin: AnsweringModel
    part: RequestPart
    key: str | None = None


def split_request(
    batches: Sequence[Batch], predictions: Sequence[Prediction], body: bytes | None = None
) -> list[RequestPart]:
    """Split an answered request into the parts that the journal stores.

    Args:
        batches, predictions: inputs of the request, and one prediction per input.
        body: the JSON from which the inputs were decoded. It is stored unchanged if it fits one part and is not
            mostly nulls, which saves encoding the inputs again; otherwise they are encoded without nulls.
    """
    if len(batches) > MAX_PART_BATCHES or len(body or b"") > MAX_VERBATIM_BYTES_PER_BATCH * len(batches):
        body = None
    parts = []
    for first in range(0, len(batches), MAX_PART_BATCHES):
        some = batches[first : first + MAX_PART_BATCHES]
        predicted = _encode(predictions[first : first + MAX_PART_BATCHES])
        parts.append(RequestPart(first, list(map(_id_of, some)), body or encode_inputs(some), predicted))
    return parts


def encode_inputs(batches: Sequence[Batch]) -> bytes:
    """Return batches as the JSON body of a request, without nulls."""
    return _encode({"inputs": [_SparseBatch(*msgspec.structs.astuple(batch)) for batch in batches]})


def list_ids(part: RequestPart) -> list[tuple[str, int]]:
    """Return the normalized id and the position in the request of each batch that has an id."""
    return [(normalize_id(id_), at) for at, id_ in enumerate(part.ids, part.first) if id_ is not None]


def normalize_id(id_: BatchId) -> BatchId:
    """Return a batch id as the tables hold it, with NULs replaced, which PostgreSQL's text type cannot store."""
    return id_.replace("\0", "\N{SYMBOL FOR NULL}") if id_ and "\0" in id_ else id_
