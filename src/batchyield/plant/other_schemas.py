"""Batches of another schema: written before a reading was added, after one was removed, or by later code."""

from collections.abc import Mapping
from typing import Any

import msgspec

from batchyield.plant.batch import Batch


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
