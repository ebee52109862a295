"""Batches of another schema: written before a reading was added or removed, or by later code."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from batchyield.plant.batch import REMOVED, Batch, CellWarning, Reading

WARNING_KINDS: dict[str, str] = {
    "absent_column": "the file is older than the reading",
    "removed_reading": "this version does not know the reading any more",
}
"""Kinds of warnings of whole columns, in addition to `cells.WARNING_KINDS`."""

BatchWithRemoved = msgspec.defstruct(
    "BatchWithRemoved",
    [(name, Any, UNSET) for name in REMOVED],
    bases=(Batch,),
    kw_only=True,
    forbid_unknown_fields=True,
)
"""A batch of a client that may still send the readings that were removed."""


def absent_warning(reading: Reading) -> CellWarning:
    """Return the warning for a file without the column of a reading."""
    since = f"; version {reading.since} added it" if reading.since else ""
    return CellWarning(reading.name, "absent_column", f"the file has no such column{since}")


def removed_warning(name: str) -> CellWarning:
    """Return the warning for a reading that was removed but is still sent."""
    return CellWarning(name, "removed_reading", f"ignored: version {REMOVED[name]} removed this reading")


def drop_removed(given: msgspec.Struct) -> tuple[Batch, tuple[CellWarning, ...]]:
    """Return a `BatchWithRemoved` as a batch, with a warning for each reading that was removed."""
    batch = Batch(**{name: getattr(given, name) for name in Batch.__struct_fields__})
    return batch, tuple(removed_warning(name) for name in REMOVED if getattr(given, name) is not UNSET)


def fit_schema(given: Mapping[str, Any]) -> tuple[Batch, dict[str, Any]]:
    """Return a batch of any schema as one of this schema, and its fields that this schema cannot hold.

    A reading whose kind or bounds have changed since is None in the batch, and among those fields.

    Args:
        given: the batch, decoded from JSON: field -> value.
    """
    known = {name: given[name] for name in Batch.__struct_fields__ if name in given}
    try:
        batch = msgspec.convert(known, Batch)
    except msgspec.ValidationError:
        known = {name: value for name, value in known.items() if _fits(name, value)}
        batch = msgspec.convert(known, Batch)
    return batch, {name: value for name, value in given.items() if name not in known}


def _fits(name: str, value: object) -> bool:
    try:
        msgspec.convert({name: value}, Batch)
    except msgspec.ValidationError:
        return False
    return True
