"""Numbers that cannot stand as written: what is made of them, by rules on the inputs alone.

No row is ever refused for a cell: a number is put right where the other readings say what it must have been, and is
taken as missing otherwise. Either way a warning names the cell.
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
"""The kinds of warning that repairs give, beside those of `cells.WARNING_KINDS`."""

NAN = math.nan
_A1, _A3, _A4, _B14 = map(NUMBERS.index, ("A1", "A3", "A4", "B14"))

PLAUSIBLE: dict[str, tuple[float, float]] = {
    "A1": (50, 2000),
    "A10": (90, 120),
    "A12": (90, 120),
    "A15": (90, 120),
    "A17": (90, 120),
    "A19": (50, 600),
    "A22": (5, 14),
    "A25": (60, 95),
    "A27": (40, 95),
    "B1": (100, 600),
    "B2": (1, 14),
    "B3": (1, 14),
    "B8": (10, 60),
    "B13": (0.01, 1),
}
"""Outside these a reading is a slip of the key or another column's: the plant never ran there."""

_LOW, _HIGH = (
    np.array([[PLAUSIBLE.get(name, (-MAX_READING, MAX_READING))[end]] for name in NUMBERS]) for end in (0, 1)
)

USUAL_CHARGES = (200.0, 250.0, 300.0)
A3_PER_A1, LOWEST_REAGENT, HIGHEST_REAGENT = 1.35, 1.2, 1.5
A4_PER_A3 = (1.6, 1.9)
LOWEST_PRODUCT, HIGHEST_PRODUCT = 0.8, 1.55
"""B14/A1 of a real batch lies between: less was never dry weighed, more is beyond the chemistry."""

_TOLD = np.array([[_A1], [_A3], [_A4], [_B14]])
_RELATED = np.array([_A3, _B14])
_BOUNDS = np.array([[LOWEST_REAGENT], [LOWEST_PRODUCT], [HIGHEST_REAGENT], [HIGHEST_PRODUCT]])
"""Of `_RELATED` for each kg of A1: the least, then the most."""


Warned = MutableMapping[int, list[CellWarning]]
"""Row -> its warnings so far; one that had none begins with an empty list."""


def repair(numbers: npt.NDArray[np.float64], given: list[float | None], warnings: Warned) -> None:
    """Puts right in place what cannot stand as written, and says so.

    Args:
        numbers: by reading, in the order of `NUMBERS`, and by batch [len(NUMBERS), n]; NaN = missing.
        given: the same as it came, one reading after the other.
        warnings: what is done is added to those of its row.
    """
    plausible = (numbers >= _LOW) & (numbers <= _HIGH)
    for at in (~plausible).ravel().nonzero()[0].tolist():
        if given[at] is not None:  # most are blanks; a NaN that was given is none
            reading, row = divmod(at, numbers.shape[1])
            warnings[row].append(_implausible(reading, numbers[reading, row]))
            numbers[reading, row] = NAN
    related, bounds = numbers.take(_RELATED, 0), _BOUNDS * numbers[_A1]
    fits = (related >= bounds[:2]) & (related <= bounds[2:])
    if np.count_nonzero(fits) == fits.size:
        return
    unfit = (~(fits[0] & fits[1])).nonzero()[0]
    for row, (a1, a3, a4, b14) in zip(unfit.tolist(), numbers[_TOLD, unfit].T.tolist(), strict=True):
        if not LOWEST_REAGENT * a1 <= a3 <= HIGHEST_REAGENT * a1:
            a1 = numbers[_A1, row] = _charge(a1, a3, a4, warnings, row)
        if b14 < LOWEST_PRODUCT * a1 or b14 > HIGHEST_PRODUCT * a1:
            numbers[_A1, row], numbers[_B14, row] = _product(a1, b14, warnings[row])


def _implausible(reading: int, value: float) -> CellWarning:
    low, high = _LOW[reading, 0], _HIGH[reading, 0]
    message = f"{value:g} is not between {low:g} and {high:g}: taken as missing"
    return CellWarning(NUMBERS[reading], "implausible_number", message)


def _charge(a1: float, a3: float, a4: float, warnings: Warned, row: int) -> float:
    """A1 [kg] as A3 and A4 confirm or correct it."""
    if not A4_PER_A3[0] <= (a4 / a3 if a3 >= 1 else NAN) <= A4_PER_A3[1]:
        return a1
    expected = round(a3 / A3_PER_A1 / 10) * 10.0
    if abs(a1 - expected) <= 0.1 * expected or not PLAUSIBLE["A1"][0] <= expected <= PLAUSIBLE["A1"][1]:
        return a1
    found = "blank" if a1 != a1 else f"{a1:g}"
    message = f"{found}, but A3 {a3:g} and A4 {a4:g} belong to {expected:g}: taken as {expected:g}"
    warnings[row].append(CellWarning("A1", "charge_from_reagents", message))
    return expected


def _product(a1: float, b14: float, warnings: list[CellWarning]) -> tuple[float, float]:
    """A1 and B14 [kg] made consistent with each other: their ratio ends within its bounds or missing."""
    if b14 < 100 and LOWEST_PRODUCT <= b14 * 10 / a1 <= HIGHEST_PRODUCT:
        warnings.append(CellWarning("B14", "product_tenfold", f"{b14:g} for {a1:g} of A1: taken as {b14 * 10:g}"))
        return a1, b14 * 10
    if b14 > a1:
        for usual in USUAL_CHARGES:
            if usual > a1 and LOWEST_PRODUCT <= b14 / usual <= HIGHEST_PRODUCT:
                message = f"{a1:g} cannot give {b14:g} of B14: taken as {usual:g}"
                warnings.append(CellWarning("A1", "charge_from_product", message))
                return usual, b14
    warnings.append(CellWarning("B14", "product_impossible", f"{b14:g} for {a1:g} of A1: taken as missing"))
    return a1, NAN
