"""Repairs implausible numbers, by rules on the inputs alone.

No row is refused for a cell: a number is corrected if the other readings determine its value, and is missing
otherwise. A warning names the cell in both cases.
"""

import math
from collections.abc import MutableMapping

import numpy as np
import numpy.typing as npt

from batchyield.plant.batch import MAX_READING, CellWarning
from batchyield.plant.features.catalogue import NUMBERS

WARNING_KINDS: dict[str, str] = {
    "implausible_number": "a number no batch can have; taken as missing",
    "charge_from_reagents": "A1 contradicts A3 and A4, which agree; taken from them",
    "charge_from_product": "B14 is more than A1 can give; A1 taken as the next usual charge that can",
    "product_tenfold": "B14 lost its last digit; taken ten times",
    "product_impossible": "B14 fits no usual charge; taken as missing",
    "long_step": "a step of 20 hours or more: one of two clocks is wrong; taken as missing",
    "impossible_range": "a range of no length or over 6 hours; taken as missing",
}
"""Kinds of warnings of these repairs, in addition to `cells.WARNING_KINDS`."""

NAN = math.nan
_A1, _A3, _A4, _B14 = map(NUMBERS.index, ("A1", "A3", "A4", "B14"))

PLAUSIBLE: dict[str, tuple[float, float]] = {
    "A1": (50, 2000), "A10": (90, 120), "A12": (90, 120), "A15": (90, 120), "A17": (90, 120), "A19": (50, 600),
    "A22": (5, 14), "A25": (60, 95), "A27": (40, 95), "B1": (100, 600), "B2": (1, 14), "B3": (1, 14), "B8": (10, 60),
    "B13": (0.01, 1),
}  # fmt: skip
"""Outside these bounds a reading is a typing error or of another column: the plant never ran there."""

_LOW, _HIGH = (
    np.array([[PLAUSIBLE.get(name, (-MAX_READING, MAX_READING))[end]] for name in NUMBERS]) for end in (0, 1)
)

USUAL_CHARGES = (200.0, 250.0, 300.0)
A3_PER_A1, MIN_REAGENT_RATIO, MAX_REAGENT_RATIO = 1.35, 1.2, 1.5
A4_PER_A3 = (1.6, 1.9)
MIN_PRODUCT_RATIO, MAX_PRODUCT_RATIO = 0.8, 1.55
"""Bounds of B14/A1 in a real batch: less was never weighed, more is chemically impossible."""

_CHECKED = np.array([[_A1], [_A3], [_A4], [_B14]])
_RELATED = np.array([_A3, _B14])
_BOUNDS = np.array([[MIN_REAGENT_RATIO], [MIN_PRODUCT_RATIO], [MAX_REAGENT_RATIO], [MAX_PRODUCT_RATIO]])
"""Bounds of `_RELATED` per kg of A1: the lower, then the upper."""

Warned = MutableMapping[int, list[CellWarning]]
"""Row -> its warnings so far; a default dict of lists."""


def repair(numbers: npt.NDArray[np.float64], readings: list[float | None], warnings: Warned) -> None:
    """Correct implausible numbers [len(NUMBERS), n] in place; each repair adds a warning.

    `readings` are the same values flat, None where blank; `numbers` are NaN there.
    """
    plausible = (numbers >= _LOW) & (numbers <= _HIGH)
    for at in (~plausible).ravel().nonzero()[0].tolist():
        if readings[at] is not None:  # most are blank; a NaN in the input is not
            reading, row = divmod(at, numbers.shape[1])
            low, high = _LOW[reading, 0], _HIGH[reading, 0]
            message = f"{numbers[reading, row]:g} is not between {low:g} and {high:g}: taken as missing"
            warnings[row].append(CellWarning(NUMBERS[reading], "implausible_number", message))
            numbers[reading, row] = NAN
    related, bounds = numbers.take(_RELATED, 0), _BOUNDS * numbers[_A1]
    fits = (related >= bounds[:2]) & (related <= bounds[2:])
    if np.count_nonzero(fits) == fits.size:
        return
    unfit = (~(fits[0] & fits[1])).nonzero()[0]
    for row, (a1, a3, a4, b14) in zip(unfit.tolist(), numbers[_CHECKED, unfit].T.tolist(), strict=True):
        if not MIN_REAGENT_RATIO * a1 <= a3 <= MAX_REAGENT_RATIO * a1:
            a1 = numbers[_A1, row] = _charge(a1, a3, a4, warnings, row)
        if b14 < MIN_PRODUCT_RATIO * a1 or b14 > MAX_PRODUCT_RATIO * a1:
            numbers[_A1, row], numbers[_B14, row] = _product(a1, b14, warnings[row])


def _charge(a1: float, a3: float, a4: float, warnings: Warned, row: int) -> float:
    """A1 [kg], corrected if A3 and A4 agree on another charge."""
    if not A4_PER_A3[0] <= (a4 / a3 if a3 >= 1 else NAN) <= A4_PER_A3[1]:
        return a1
    expected = round(a3 / A3_PER_A1 / 10) * 10.0
    if abs(a1 - expected) <= 0.1 * expected or not PLAUSIBLE["A1"][0] <= expected <= PLAUSIBLE["A1"][1]:
        return a1
    charge = "blank" if a1 != a1 else f"{a1:g}"
    message = f"{charge}, but A3 {a3:g} and A4 {a4:g} belong to {expected:g}: taken as {expected:g}"
    warnings[row].append(CellWarning("A1", "charge_from_reagents", message))
    return expected


def _product(a1: float, b14: float, warnings: list[CellWarning]) -> tuple[float, float]:
    """A1 and B14 [kg] with a ratio within its bounds, or B14 missing."""
    if b14 < 100 and MIN_PRODUCT_RATIO <= b14 * 10 / a1 <= MAX_PRODUCT_RATIO:
        warnings.append(CellWarning("B14", "product_tenfold", f"{b14:g} for {a1:g} of A1: taken as {b14 * 10:g}"))
        return a1, b14 * 10
    if b14 > a1:
        for usual in USUAL_CHARGES:
            if usual > a1 and MIN_PRODUCT_RATIO <= b14 / usual <= MAX_PRODUCT_RATIO:
                message = f"{a1:g} cannot give {b14:g} of B14: taken as {usual:g}"
                warnings.append(CellWarning("A1", "charge_from_product", message))
                return usual, b14
    warnings.append(CellWarning("B14", "product_impossible", f"{b14:g} for {a1:g} of A1: taken as missing"))
    return a1, NAN
