"""Limits of the data contract.

Usual bounds are where the plant runs: a single reading outside is reported and stops nothing. A column with more than a
few readings outside is in another unit or is another column, and stops the pipeline, as does any reading outside the
possible bounds.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from batchyield.plant.batch import READING_NAMES, READINGS, YIELD_BOUNDS

Share = Annotated[float, Meta(ge=0, le=1)]
Bounds = tuple[float, float]

POSSIBLE: dict[str, Bounds] = {"kg": (0, 20_000), "°C": (-50, 20_000), "MPa": (0, 20_000), "pH": (0, 20_000)}
"""Bounds by unit, wide enough for a reading in a wrong column or with a digit too many."""

USUAL: dict[str, Bounds] = {
    "A1": (200, 300), "A2": (100, 150), "A3": (270, 405), "A4": (470, 980), "A6": (15, 100), "A8": (70, 85),
    "A10": (98, 105), "A12": (98, 108), "A13": (0.1, 0.3), "A15": (98, 110), "A17": (98, 110), "A18": (0.1, 0.3),
    "A19": (100, 350), "A21": (20, 90), "A22": (7, 11), "A23": (4, 10), "A25": (65, 90), "A27": (45, 80),
    "B1": (190, 400), "B2": (3, 4), "B3": (3, 4), "B6": (40, 80), "B8": (20, 60), "B12": (400, 1200),
    "B13": (0.03, 0.2), "B14": (250, 460),
}  # fmt: skip
"""Bounds of the readings of both known processes."""


class ContractParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the contract.

    Attributes:
        minimum_rows: batches needed for training.
        yield_bounds: bounds of a yield, as a fraction.
        missing_limit: share of a column that may be blank or unreadable.
        mostly_blank: columns that may be entirely blank.
        possible: unit -> bounds of every reading.
        usual: number column -> bounds; a reading outside is reported.
        unusual_limit: share of a column that may lie outside its usual bounds.
    """

    minimum_rows: Annotated[int, Meta(ge=1)] = 100
    yield_bounds: Bounds = YIELD_BOUNDS
    missing_limit: Share = 0.2
    mostly_blank: tuple[str, ...] = ("A2", "A7", "A8", "B10", "B11")
    possible: dict[str, Bounds] = msgspec.field(default_factory=POSSIBLE.copy)
    usual: dict[str, Bounds] = msgspec.field(default_factory=USUAL.copy)
    unusual_limit: Share = 0.1

    def __post_init__(self) -> None:
        numbers = {r.name: r.unit for r in READINGS if r.kind == "number"}
        given = (READING_NAMES, self.mostly_blank), (numbers, self.usual), (numbers.values(), self.possible)
        for known, names in given:
            if unknown := sorted(set(names) - set(known)):
                raise ValueError(f"{', '.join(unknown)}: no such column or unit")
        for name, (low, high) in [("yield", self.yield_bounds), *self.possible.items(), *self.usual.items()]:
            if not low <= high:
                raise ValueError(f"{name}: the bounds {low:g} and {high:g} are in the wrong order")
