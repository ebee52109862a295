"""One batch -> its feature values. No frame, no array: plain floats, so that one row costs microseconds."""

from functools import lru_cache
from math import isnan
from operator import attrgetter

from batchyield.batch import READINGS, Batch, CellWarning
from batchyield.clock import read_clock, read_range
from batchyield.features.catalogue import NUMBERS, RANGES, STEPS
from batchyield.features.repair import NAN, repaired

DAY = 1440.0
SHIFT, FIRST_SHIFT = 480.0, 360.0
LONGEST_STEP = 1200.0
LONGEST_RANGE = 360.0

Problem = tuple[str, str] | None

CLOCKS = tuple(r.name for r in READINGS if r.kind == "clock")

_numbers, _clocks, _ranges = attrgetter(*NUMBERS), attrgetter(*CLOCKS), attrgetter(*RANGES)


@lru_cache(maxsize=1 << 14)
def _minutes(text: str | None) -> tuple[float, Problem]:
    if text is None:
        return NAN, None
    clock = read_clock(text)
    return NAN if clock.minutes is None else float(clock.minutes), clock.warning


@lru_cache(maxsize=1 << 14)
def _span(text: str | None) -> tuple[float, float, float, Problem]:
    """Start, end and length [min] of a range; the length is missing where it is impossible."""
    if text is None:
        return NAN, NAN, NAN, None
    span = read_range(text)
    start = NAN if span.start is None else float(span.start)
    end = NAN if span.end is None else float(span.end)
    length = (end - start) % DAY
    if isnan(length) or 0 < length <= LONGEST_RANGE:
        return start, end, length, span.warning
    return start, end, NAN, ("impossible_range", f"{text} lasts {length:g} minutes: its length taken as missing")


def id_number(name: str | None) -> float:
    """The number at the end of a batch's id; missing where there is none, or one too long to be a batch number."""
    digits = name[len(name.rstrip("0123456789")) :] if name else ""
    return float(digits) if 0 < len(digits) <= 6 else NAN


def _per(a: float, b: float) -> float:
    return a / b if b >= 1.0 else NAN


def row(batch: Batch) -> tuple[list[float], tuple[CellWarning, ...]]:
    """The values of one batch in the order of `FEATURES` (NaN = missing), and what was repaired on the way."""
    warnings: list[CellWarning] = []
    numbers = repaired(_numbers(batch), warnings)
    a1, a2, a3, a4, a6, _, a10, a12, _, a15, a17, _, a19, a21, _, _, a25, a27, b1, _, _, b6, b8, b12, _, b14 = numbers

    clocks = list(map(_minutes, _clocks(batch)))
    spans = list(map(_span, _ranges(batch)))
    for name, (_, problem) in zip(CLOCKS, clocks, strict=True):
        if problem:
            warnings.append(CellWarning(name, *problem))
    for name, (_, _, _, problem) in zip(RANGES, spans, strict=True):
        if problem:
            warnings.append(CellWarning(name, *problem))

    (a5, _), (a7, _), (a9, _), (a11, _), (a14, _), (a16, _), (a24, _), (a26, _), (b5, _), (b7, _) = clocks
    (a20, a20_end, l20, _), (a28, a28_end, l28, _), (b4, b4_end, lb4, _) = spans[:3]
    (b9, b9_end, lb9, _), (b10, b10_end, lb10, _), (b11, _, lb11, _) = spans[3:]

    begin = (a9, a11, a14, a16, a20, a24, a26, a28, b4, b5, b7, b9, b10, b11, a7, a9)
    since = (a5, a9, a11, a14, a16, a20_end, a24, a26, a28_end, b4_end, b5, b7, b9_end, b10_end, a5, a7)
    steps = [(b - s) % DAY for b, s in zip(begin, since, strict=True)]
    for i, minutes in enumerate(steps):
        if minutes >= LONGEST_STEP:
            steps[i] = NAN
            step = STEPS[i]
            message = f"{minutes:g} minutes after {step[0]}: the step is taken as missing"
            warnings.append(CellWarning(step[1], "long_step", message))

    spins = (0.0 if isnan(lb9) else lb9) + (0.0 if isnan(lb10) else lb10) + (0.0 if isnan(lb11) else lb11)
    values = [
        *numbers,
        _per(b14, a1),
        _per(a3, a1),
        _per(a4, a1),
        _per(a19, a1),
        _per(a21, a1),
        _per(b1, a1),
        _per(b12, a1),
        _per(b14, a4),
        _per(b14, a19),
        _per(b14, b1),
        _per(b14, b12),
        _per(b1, a19),
        _per(b14, a4 + a19 + b1 + b12),
        *steps,
        l20,
        l28,
        lb4,
        lb9,
        lb10,
        lb11,
        spins or NAN,
        sum(steps[1:4]),
        sum(steps[:12]) + l20 + l28 + lb4 + lb9,
        a10 - a6,
        a12 - a10,
        a15 - a12,
        a17 - a15,
        a17 - a10,
        a25 - a27,
        b6 - a27,
        b6 - b8,
        float(isnan(a2)),
        float(isnan(a3)),
        float(isnan(a7)),
        float(isnan(b1)),
        float(isnan(b10)),
        float(isnan(b11)),
        a5,
        a9,
        a20,
        a24,
        a28,
        b4,
        b5,
        b7,
        b9,
        b10,
        b11,
        (a5 - FIRST_SHIFT) % SHIFT,
        id_number(batch.id),
    ]
    return values, tuple(warnings)
