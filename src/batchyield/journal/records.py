"""An answered request, and what the journal keeps of it."""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec

from batchyield.plant.batch import Batch
from batchyield.serving.responses import Prediction

Name = TypeVar("Name", str, str | None)

SLICE = 1_000
"""Batches of a part: a large request is written in several, so that the others need not wait for all of it."""

ROOMY = 2_000
"""Bytes for each batch up to which a body is kept as it came: twice what all readings take."""

# A batch's fields, of which those that are null are not written: a third shorter, and the quickest way to get there.
_Given = msgspec.defstruct(
    "_Given", [(field.name, field.type, None) for field in msgspec.structs.fields(Batch)], omit_defaults=True
)
_id_of = attrgetter("id")
_encode = msgspec.json.Encoder().encode


class Pin(NamedTuple):
    """Which model answered."""

    version: str
    revision: str
    md5: str


class Part(NamedTuple):
    """Up to `SLICE` batches of a request, and what was said of them.

    Attributes:
        first: position of the first of them in the request.
        names: id of each.
        inputs: `{"inputs": [...]}`, JSON in UTF-8.
        predictions: `[...]`, as the caller got them.
    """

    first: int
    names: Sequence[str | None]
    inputs: bytes
    predictions: bytes


class Entry(NamedTuple):
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
    pin: Pin
    part: Part


def parts(batches: Sequence[Batch], predictions: Sequence[Prediction], body: bytes | None = None) -> list[Part]:
    """What there is to keep of a request.

    Args:
        batches: its inputs.
        predictions: the answer to each.
        body: the JSON that the inputs were decoded from. It is kept as it came where it is one part and not mostly
            blanks, which spares encoding what was just decoded; anything else is encoded without what is null.
    """
    if body is not None and len(batches) <= SLICE and len(body) <= ROOMY * len(batches):
        return [_part(0, batches, predictions, body)]
    made = []
    for first in range(0, len(batches), SLICE):
        some, said = batches[first : first + SLICE], predictions[first : first + SLICE]
        made.append(_part(first, some, said, encoded(some)))
    return made


def _part(first: int, batches: Sequence[Batch], predictions: Sequence[Prediction], inputs: bytes) -> Part:
    return Part(first, list(map(_id_of, batches)), inputs, _encode(predictions))


def encoded(batches: Sequence[Batch]) -> bytes:
    """Batches as a request would send them, without what is null."""
    return _encode({"inputs": [_Given(*msgspec.structs.astuple(batch)) for batch in batches]})


def named(part: Part) -> list[tuple[str, int]]:
    """The id and the position in the request of each batch that has one, as outcomes are joined by it."""
    return [(key(name), at) for at, name in enumerate(part.names, part.first) if name is not None]


def key(name: Name) -> Name:
    """A batch's id as predictions and outcomes are joined by it: PostgreSQL's texts cannot hold a NUL."""
    return name.replace("\0", "\N{SYMBOL FOR NULL}") if name and "\0" in name else name
