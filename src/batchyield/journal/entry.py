"""An answered request, and the rows that the journal makes of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from batchyield.batch import Batch
from batchyield.replies import Prediction

COLUMNS = (
    "at", "request", "position", "caller", "format", "pin", "batch", "inputs", "yield", "lower", "upper", "warnings",
)  # fmt: skip

Row = tuple[Any, ...]

# The same fields, of which those that are null are not written: a third shorter, and the quickest way to get there.
_Given = msgspec.defstruct(
    "_Given", [(field.name, field.type, None) for field in msgspec.structs.fields(Batch)], omit_defaults=True
)
_encode = msgspec.json.Encoder().encode


class Pin(NamedTuple):
    """Which model answered."""

    version: str
    revision: str
    md5: str


class Entry(NamedTuple):
    """A request that was answered.

    Attributes:
        at: when, in microseconds since 1970, UTC.
        request: its id.
        caller: name of the key it came with; empty where there are none.
        form: `json` or `csv`, as sent.
        pin: of the model that answered.
        batches: its inputs.
        predictions: the answer to each.
        first: position of the first of them in the request.
    """

    at: int
    request: str
    caller: str
    form: str
    pin: Pin
    batches: Sequence[Batch]
    predictions: Sequence[Prediction]
    first: int = 0


def rows(entry: Entry, pin: int) -> list[Row]:
    """One row for each prediction, its values in the order of `COLUMNS`; `pin` is the row of the entry's pin."""
    at, request, caller, form = entry.at, entry.request, entry.caller, entry.form
    made = []
    for position, (batch, p) in enumerate(zip(entry.batches, entry.predictions, strict=True), entry.first):
        warnings = _encode(p.warnings).decode() if p.warnings else None
        name, given = key(batch.id), inputs(batch)
        made.append((at, request, position, caller, form, pin, name, given, p.yield_, p.lower, p.upper, warnings))
    return made


def inputs(batch: Batch) -> str:
    """A batch as JSON, without what is null."""
    return _encode(_Given(*msgspec.structs.astuple(batch))).decode()


def key(name: str | None) -> str | None:
    """A batch's id as predictions and outcomes are joined by it: PostgreSQL's texts cannot hold a NUL."""
    return name.replace("\0", "\N{SYMBOL FOR NULL}") if name and "\0" in name else name
