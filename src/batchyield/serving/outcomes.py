"""Measured yields, as they are told to the service and as it answers; needs neither the journal nor the model."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from batchyield.plant.batch import YIELD_BOUNDS

LOWEST, HIGHEST = YIELD_BOUNDS
RECORDED, UNCHANGED, CORRECTED = RESULTS = ("recorded", "unchanged", "corrected")

MAX_OUTCOMES = 10_000
"""Of one request."""


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"yield_": "yield"}):
    """The measured yield of a batch."""

    id: Annotated[str, Meta(description="name of the batch, as it was predicted", min_length=1, max_length=128)]
    yield_: Annotated[float, Meta(description="measured yield, as a fraction", ge=LOWEST, le=HIGHEST)]


class OutcomeKept(msgspec.Struct, frozen=True):
    """What became of one outcome."""

    id: Annotated[str, Meta(description="name of the batch as it was sent")]
    result: Annotated[
        str,
        Meta(
            description="`recorded`: new; `unchanged`: known already; `corrected`: in place of another yield",
            extra_json_schema={"enum": list(RESULTS)},
        ),
    ]
    matched: Annotated[int, Meta(description="journalled predictions of the batch")]
    models: Annotated[tuple[str, ...], Meta(description="md5 of each model that made one")]


class OutcomesKept(msgspec.Struct, frozen=True):
    """What became of each outcome, in order, and in sum."""

    outcomes: list[OutcomeKept]
    matched: Annotated[int, Meta(description="batches of which there are predictions")]
    unmatched: Annotated[int, Meta(description="batches of which there are none yet; their outcomes are kept")]


def summarize_outcomes(outcomes: Iterable[OutcomeKept]) -> OutcomesKept:
    """The same, with the batches counted: one that is told twice is one."""
    kept = list(outcomes)
    found = {one.id: bool(one.matched) for one in kept}
    return OutcomesKept(kept, sum(found.values()), len(found) - sum(found.values()))
