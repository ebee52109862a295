"""An answered request, and what the journal keeps of it."""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec

from batchyield.plant.batch import Batch
from batchyield.serving.responses import Prediction

BatchId = TypeVar("BatchId", str, str | None)

MAX_PART_BATCHES = 1_000
"""Batches of a part: a large request is written in several, so that the others need not wait for all of it."""

MAX_VERBATIM_BYTES_PER_BATCH = 2_000
"""Bytes for each batch up to which a body is kept as it came: twice what all readings take."""

# A batch's fields, of which those that are null are not written: a third shorter, and the quickest way to get there.
_Given = msgspec.defstruct(
    "_Given", [(field.name, field.type, None) for field in msgspec.structs.fields(Batch)], omit_defaults=True
)
_id_of = attrgetter("id")
_encode = msgspec.json.Encoder().encode


class AnsweringModel(NamedTuple):
    """Which model answered."""

    version: str
    revision: str
    md5: str


class RequestPart(NamedTuple):
    """Up to `SLICE` batches of a request, and what was said of them.

    Attributes:
        first: position of the first of them in the request.
        ids: id of each.
        inputs: `{"inputs": [...]}`, JSON in UTF-8.
        predictions: `[...]`, as the caller got them.
    """

    first: int
    ids: Sequence[str | None]
    inputs: bytes
    predictions: bytes


class JournalEntry(NamedTuple):
    """A part of a request that was answered.

    Attributes:
        at: when, in microseconds since 1970, UTC.
        request: its id.
        caller: name of the key it came with; empty where there are none.
        form: `json` or `csv`, as sent.
        pin: of the model that answered.
        part: its inputs, and the answer to each.
    """

    at: int
    request: str
    caller: str
    form: str
    pin: AnsweringModel
    part: RequestPart


def split_request(
    batches: Sequence[Batch], predictions: Sequence[Prediction], body: bytes | None = None
) -> list[RequestPart]:
    """What there is to keep of a request.

    Args:
        batches: its inputs.
        predictions: the answer to each.
        body: the JSON that the inputs were decoded from. It is kept as it came where it is one part and not mostly
            blanks, which spares encoding what was just decoded; anything else is encoded without what is null.
    """
    if (
        body is not None
        and len(batches) <= MAX_PART_BATCHES
        and len(body) <= MAX_VERBATIM_BYTES_PER_BATCH * len(batches)
    ):
        return [_part(0, batches, predictions, body)]
    made = []
    for first in range(0, len(batches), MAX_PART_BATCHES):
        some, said = batches[first : first + MAX_PART_BATCHES], predictions[first : first + MAX_PART_BATCHES]
        made.append(_part(first, some, said, encode_inputs(some)))
    return made


def _part(first: int, batches: Sequence[Batch], predictions: Sequence[Prediction], inputs: bytes) -> RequestPart:
    return RequestPart(first, list(map(_id_of, batches)), inputs, _encode(predictions))


def encode_inputs(batches: Sequence[Batch]) -> bytes:
    """Batches as a request would send them, without what is null."""
    return _encode({"inputs": [_Given(*msgspec.structs.astuple(batch)) for batch in batches]})


def list_ids(part: RequestPart) -> list[tuple[str, int]]:
    """The id and the position in the request of each batch that has one, as outcomes are joined by it."""
    return [(normalize_id(name), at) for at, name in enumerate(part.ids, part.first) if name is not None]


def normalize_id(name: BatchId) -> BatchId:
    """A batch's id as predictions and outcomes are joined by it: PostgreSQL's texts cannot hold a NUL."""
    return name.replace("\0", "\N{SYMBOL FOR NULL}") if name and "\0" in name else name
