"""The features: name, unit, group and description of each column of the matrix, in order."""

from itertools import pairwise
from typing import NamedTuple

from batchyield.plant.batch import READINGS


class Feature(NamedTuple):
    """A column of the feature matrix: a stable name, the unit ('' for pure numbers) and the key of `GROUPS`."""

    name: str
    unit: str
    group: str
    description: str


GROUPS: dict[str, str] = {
    "readings": "the numbers as the plant writes them, after the repairs",
    "ratios": "doses relative to the charge and to each other",
    "steps": "time from the end of one process step to the start of the next, across midnight",
    "lengths": "how long a range lasts, and sums of them",
    "temperatures": "differences between consecutive temperatures",
    "missing": "1 where a reading that tells recipes apart is blank, else 0",
    "clocks": "the time of day at which a step starts",
    "order": "the batch number inside the id: the time order of the batches",
}

NUMBERS: tuple[str, ...] = tuple(r.name for r in READINGS if r.kind == "number")

RATIOS: tuple[tuple[str, str], ...] = (
    *((name, "A1") for name in ("B14", "A3", "A4", "A19", "A21", "B1", "B12")),
    *(("B14", name) for name in ("A4", "A19", "B1", "B12")),
    ("B1", "A19"),
)

PROCESS: tuple[str, ...] = (
    *("A5", "A9", "A11", "A14", "A16", "A20", "A24", "A26"),
    *("A28", "B4", "B5", "B7", "B9", "B10", "B11"),
)
"""The timed steps of every recipe, in process order; the optional A7 has steps of its own."""

STEPS: tuple[tuple[str, str], ...] = (*pairwise(PROCESS), ("A5", "A7"), ("A7", "A9"))

RANGES: tuple[str, ...] = tuple(r.name for r in READINGS if r.kind == "range")

TEMPERATURE_DIFFERENCES: tuple[tuple[str, str], ...] = (
    *(("A10", "A6"), ("A12", "A10"), ("A15", "A12"), ("A17", "A15")),
    *(("A17", "A10"), ("A25", "A27"), ("B6", "A27"), ("B6", "B8")),
)
"""Pairs of temperatures: the first minus the second."""

FLAGS: tuple[str, ...] = ("A2", "A3", "A7", "B1", "B10", "B11")

CLOCKS: tuple[str, ...] = ("A5", "A9", "A20", "A24", "A28", "B4", "B5", "B7", "B9", "B10", "B11")


def _catalogue() -> tuple[Feature, ...]:
    readings = {r.name: r for r in READINGS}

    def about(name: str) -> str:
        return readings[name].description.removesuffix(f" [{readings[name].unit}]")

    return (
        *(Feature(n, readings[n].unit, "readings", about(n)) for n in NUMBERS),
        *(Feature(f"{a}_per_{b}", "", "ratios", f"{about(a)}, per {about(b)}") for a, b in RATIOS),
        Feature("B14_per_water", "", "ratios", "wet product per all water: A4, A19, B1 and B12"),
        *(Feature(f"{a}_to_{b}", "min", "steps", f"from {about(a)} to {about(b)}") for a, b in STEPS),
        *(Feature(f"{n}_length", "min", "lengths", f"{about(n)}: how long") for n in RANGES),
        Feature("spin_length", "min", "lengths", "all spins together: B9, B10 and B11 as far as they are given"),
        Feature("reaction_length", "min", "lengths", "from A9 to A16"),
        Feature("batch_length", "min", "lengths", "from A5 to the end of the first spin"),
        *(
            Feature(f"{a}_minus_{b}", "°C", "temperatures", f"{about(a)} less {about(b)}")
            for a, b in TEMPERATURE_DIFFERENCES
        ),
        *(Feature(f"{n}_missing", "", "missing", f"{about(n)}: blank") for n in FLAGS),
        *(Feature(f"{n}_clock", "min", "clocks", f"{about(n)}: time of day") for n in CLOCKS),
        Feature("A5_in_shift", "min", "clocks", "A5 since the last change of shift at 6:00, 14:00 or 22:00"),
        Feature("id_number", "", "order", "the number at the end of the id"),
    )


FEATURES: tuple[Feature, ...] = _catalogue()
INDEX: dict[str, int] = {feature.name: i for i, feature in enumerate(FEATURES)}
