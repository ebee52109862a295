"""Schemas of measured yields: the request and the response of `/v1/outcomes`."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from batchyield.plant.table import TARGET

LOWEST, HIGHEST = TARGET.bounds
RECORDED, UNCHANGED, CORRECTED = RESULTS = ("recorded", "unchanged", "corrected")

MAX_OUTCOMES = 10_000
"""Limit of one request."""


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"yield_": "yield"}):
    """The outcome of a batch: what was measured."""

    id: Annotated[str, Meta(description="name of the batch, as sent for prediction", min_length=1, max_length=128)]
    yield_: Annotated[float, Meta(description=f"measured {TARGET.stored}", ge=LOWEST, le=HIGHEST)]
    measured_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | UnsetType | None, Meta(description="time of the measurement")
    ] = UNSET


class OutcomeKept(msgspec.Struct, frozen=True):
    """Result of one outcome."""

    id: Annotated[str, Meta(description="name of the batch as it was sent")]
    result: Annotated[
        str,
        Meta(
            description="`recorded`: new; `unchanged`: known already; `corrected`: replaces another value",
            extra_json_schema={"enum": list(RESULTS)},
        ),
    ]
    matched: Annotated[int, Meta(description="number of journalled predictions of the batch")]
    models: Annotated[tuple[str, ...], Meta(description="md5 of each model that made one of them")]
    unusual: Annotated[
        bool | UnsetType,
        Meta(description="true if the value is outside the usual range: correct or withdraw it if it is wrong"),
    ] = UNSET


class OutcomesKept(msgspec.Struct, frozen=True):
    """Result of each outcome, in order, with totals."""

    outcomes: list[OutcomeKept]
    matched: Annotated[int, Meta(description="batches with journalled predictions")]
    unmatched: Annotated[int, Meta(description="batches without; their outcomes are stored")]


class OutcomeWithdrawn(msgspec.Struct, frozen=True, rename={"yield_": "yield"}):
    """Result of a withdrawal."""

    id: Annotated[str, Meta(description="name of the batch as it was sent")]
    yield_: Annotated[float | None, Meta(description="the value that was withdrawn; null if none was known")]


def is_unusual(yield_: float) -> bool:
    """Return whether a measured yield is outside the range of most, such as 0.09 typed for 0.9."""
    low, high = TARGET.usual
    return not low <= yield_ <= high


def summarize_outcomes(outcomes: Iterable[OutcomeKept]) -> OutcomesKept:
    """Return the results with totals; a batch with two outcomes counts once."""
    results = list(outcomes)
    matched = {result.id: bool(result.matched) for result in results}
    return OutcomesKept(results, sum(matched.values()), len(matched) - sum(matched.values()))
