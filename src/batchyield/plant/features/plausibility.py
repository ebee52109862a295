"""Repairs implausible numbers, by rules on the inputs alone.

No row is refused for a cell: a number is corrected if the other readings determine its value, and is missing
otherwise. A warning names the cell in both cases.
"""

import math

import numpy as np
import numpy.typing as npt

from batchyield.plant.features.catalogue import NUMBERS
from batchyield.plant.rows import CellWarning, Range, Warned
from batchyield.plant.table import MAX_RANGE_MINUTES, MAX_READING, MAX_STEP_MINUTES, READINGS, REPAIRS

WARNING_KINDS: dict[str, str] = {
    "implausible_number": "a number no batch can have; taken as missing",
    **{kind: about for rule in REPAIRS for kind, about in rule.kinds.items()},
    "long_step": f"a step of {MAX_STEP_MINUTES / 60:g} hours or more: one of two clocks is wrong; taken as missing",
    "impossible_range": f"a range of no length or over {MAX_RANGE_MINUTES / 60:g} hours; taken as missing",
}
"""Kinds of warnings of these repairs, in addition to `cells.WARNING_KINDS`."""

NAN = math.nan

PLAUSIBLE: dict[str, Range] = {r.name: r.plausible for r in READINGS if r.plausible is not None}
"""Outside these bounds a reading is a typing error or of another column: the plant never ran there."""

_LOW, _HIGH = (
    np.array([[PLAUSIBLE.get(name, (-MAX_READING, MAX_READING))[end]] for name in NUMBERS]) for end in (0, 1)
)
_repairs = tuple(rule.repair_of({name: i for i, name in enumerate(NUMBERS)}, PLAUSIBLE) for rule in REPAIRS)


def repair(numbers: npt.NDArray[np.float64], blank: npt.NDArray[np.bool_], warnings: Warned) -> None:
    """Correct implausible numbers [len(NUMBERS), n] in place; each repair adds a warning.

    Those that are `blank` [len(NUMBERS), n] are NaN and get no warning, unlike a NaN in the input.
    """
    plausible = (numbers >= _LOW) & (numbers <= _HIGH) | blank
    if np.count_nonzero(plausible) < plausible.size:
        for reading, row in zip(*(places.tolist() for places in (~plausible).nonzero()), strict=True):
            low, high = _LOW[reading, 0], _HIGH[reading, 0]
            message = f"{numbers[reading, row]:g} is not between {low:g} and {high:g}: taken as missing"
            warnings[row].append(CellWarning(NUMBERS[reading], "implausible_number", message))
            numbers[reading, row] = NAN
    for correct in _repairs:
        correct(numbers, warnings)
