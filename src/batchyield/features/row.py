"""One batch -> its feature values. No frame, no array: plain floats, so that one row costs microseconds."""

from functools import lru_cache
from operator import attrgetter

from batchyield.batch import LARGEST, Batch, CellWarning
from batchyield.clock import read_clock, read_range
from batchyield.features.catalogue import NUMBERS, PROCESS, RANGES
from batchyield.features.repair import BOUNDS, HIGHEST_PRODUCT, LOWEST_PRODUCT, NAN, charge, implausible, product

DAY = 1440.0
SHIFT, FIRST_SHIFT = 480.0, 360.0
LONGEST_STEP = 1200.0
LONGEST_RANGE = 360.0

Problem = tuple[str, str] | None

_numbers = attrgetter(*NUMBERS)
_clocks = attrgetter("A5", "A7", "A9", "A11", "A14", "A16", "A24", "A26", "B5", "B7")
_ranges = attrgetter(*RANGES)
_STEPS = tuple(PROCESS[1:])


@lru_cache(maxsize=1 << 16)
def _minutes(text: str | None) -> tuple[float, Problem]:
    if text is None:
        return NAN, None
    clock = read_clock(text)
    return NAN if clock.minutes is None else float(clock.minutes), clock.warning


@lru_cache(maxsize=1 << 16)
def _span(text: str | None) -> tuple[float, float, float, Problem]:
    """Start, end and length [min] of a range; the length is missing where it is impossible."""
    if text is None:
        return NAN, NAN, NAN, None
    span = read_range(text)
    if span.start is None or span.end is None:
        start = NAN if span.start is None else float(span.start)
        return start, NAN if span.end is None else float(span.end), NAN, span.warning
    start, end = float(span.start), float(span.end)
    length = (end - start) % DAY
    if 0 < length <= LONGEST_RANGE:
        return start, end, length, span.warning
    return start, end, NAN, ("impossible_range", f"{text} lasts {length:g} minutes: taken as missing")


def id_number(name: str | None) -> float:
    """The number at the end of a batch's id, missing where there is none or it is no batch number."""
    digits = name[len(name.rstrip("0123456789")) :] if name else ""
    return float(digits) if 0 < len(digits) <= 6 else NAN


def _per(a: float, b: float) -> float:
    return a / b if b >= 1.0 else NAN


def row(batch: Batch) -> tuple[list[float], tuple[CellWarning, ...]]:
    """The values of one batch in the order of `FEATURES` (NaN = missing), and what was repaired on the way."""
    warnings: list[CellWarning] = []

    given = _numbers(batch)
    numbers = [
        NAN if v is None or not low <= v <= high else v for v, (low, high) in zip(given, BOUNDS, strict=True)
    ]
    if numbers.count(NAN) != given.count(None):
        warnings += implausible(given)
    a1, a3, a4, b14 = numbers[0], numbers[2], numbers[3], numbers[-1]
    if not A3_USUAL[0] <= _per(a3, a1) <= A3_USUAL[1]:
        a1 = charge(a1, a3, a4, warnings)
    if (q := _per(b14, a1)) < LOWEST_PRODUCT or q > HIGHEST_PRODUCT:
        a1, b14 = product(a1, b14, warnings)
    numbers[0], numbers[-1] = a1, b14
