"""Limits of the data contract.

Usual bounds are where the plant runs: a single reading outside is reported and stops nothing. A column with more than a
few readings outside is in another unit or is another column, and stops the pipeline, as does any reading outside the
possible bounds.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from batchyield.plant.batch import READING_NAMES, READINGS, TARGET
from batchyield.plant.table import POSSIBLE

Share = Annotated[float, Meta(ge=0, le=1)]
Bounds = tuple[float, float]

USUAL: dict[str, Bounds] = {r.name: r.usual for r in READINGS if r.usual is not None}
"""Where the plant runs, by reading."""

MOSTLY_BLANK: tuple[str, ...] = tuple(r.name for r in READINGS if r.may_be_blank)


def _possible() -> dict[str, Bounds]:
    """The bounds of the units that a number has."""
    units = {r.unit for r in READINGS if r.kind == "number"}
    return {unit: bounds for unit, bounds in POSSIBLE.items() if unit in units}


class ContractParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the contract.

    Attributes:
        minimum_rows: batches needed for training.
        yield_bounds: bounds of a value of the target.
        missing_limit: share of a column that may be blank or unreadable.
        mostly_blank: columns that may be entirely blank.
        possible: unit -> bounds of every reading.
        usual: number column -> bounds; a reading outside is reported.
        unusual_limit: share of a column that may lie outside its usual bounds.
    """

    minimum_rows: Annotated[int, Meta(ge=1)] = 100
    yield_bounds: Bounds = TARGET.bounds
    missing_limit: Share = 0.2
    mostly_blank: tuple[str, ...] = MOSTLY_BLANK
    possible: dict[str, Bounds] = msgspec.field(default_factory=_possible)
    usual: dict[str, Bounds] = msgspec.field(default_factory=USUAL.copy)
    unusual_limit: Share = 0.1

    def __post_init__(self) -> None:
        numbers = {r.name: r.unit for r in READINGS if r.kind == "number"}
        given = (READING_NAMES, self.mostly_blank), (numbers, self.usual), (numbers.values(), self.possible)
        for known, names in given:
            if unknown := sorted(set(names) - set(known)):
                raise ValueError(f"{', '.join(unknown)}: no such column or unit")
        for name, (low, high) in [(TARGET.word, self.yield_bounds), *self.possible.items(), *self.usual.items()]:
            if not low <= high:
                raise ValueError(f"{name}: the bounds {low:g} and {high:g} are in the wrong order")
