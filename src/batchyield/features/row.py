"""Batches -> the rows of their feature values, a column at a time, so that a step of the work is paid once for all.

The steps cost some 50 µs together and a row 3 to 4 more: little for one row, and the only way for ten million.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from batchyield.batch import READINGS, Batch, CellWarning
from batchyield.clock import read_clock, read_range
from batchyield.features import catalogue
from batchyield.features.catalogue import FEATURES, FLAGS, NUMBERS, RANGES, RATIOS, STEPS, WARMINGS
from batchyield.features.repair import NAN, Warned, repair

DAY = 1440.0
SHIFT, FIRST_SHIFT = 480.0, 360.0
LONGEST_STEP = 1200.0
LONGEST_RANGE = 360.0

REMEMBERED = 1 << 14
"""Distinct cells of a kind that are kept."""

Matrix = npt.NDArray[np.float64]
Problem = tuple[str, str] | None

CLOCKS = tuple(r.name for r in READINGS if r.kind == "clock")
WATER = ("A4", "A19", "B1", "B12")

_AT: dict[str, int] = {
    name: i
    for i, name in enumerate(
        (*NUMBERS, *CLOCKS, *RANGES, *(f"{n}_end" for n in RANGES), *(f"{n}_length" for n in RANGES), "water")
    )
}
"""Where all that a step of the work begins with stands in one matrix; a range alone is its start."""

_FIRST_CLOCK, _FIRST_RANGE, _FIRST_LENGTH = _AT[CLOCKS[0]], _AT[RANGES[0]], _AT[f"{RANGES[0]}_length"]


def _places(*names: str) -> npt.NDArray[np.intp]:
    return np.array([_AT[name] for name in names])


def _end_of(name: str) -> str:
    return f"{name}_end" if name in RANGES else name


_OVER = _places(*(over for over, _ in RATIOS), "B14")
_UNDER = _places(*(under for _, under in RATIOS), "water")
_LATER = _places(*(later for _, later in STEPS), *(a for a, _ in WARMINGS))
_EARLIER = _places(*(_end_of(earlier) for earlier, _ in STEPS), *(b for _, b in WARMINGS))
_FLAGS, _CLOCKS = _places(*FLAGS), _places(*catalogue.CLOCKS)

_FIELDS = msgspec.structs.fields(Batch)
_ID = next(i for i, field in enumerate(_FIELDS) if field.name == "id")
_numbers, _clocks, _ranges = (
    itemgetter(*(i for i, field in enumerate(_FIELDS) if field.name in names)) for names in (NUMBERS, CLOCKS, RANGES)
)
_cells_of = msgspec.structs.astuple


class _Cells(dict[str | None, int]):
    """Distinct cells as columns of a table, each read once, so that many are looked up in one step.

    Attributes:
        table: what was read of each cell; in the last row 1 where there is a problem, else 0.
        problems: the problem of each.
    """

    def __init__(self, read: Callable[[str], tuple[list[float], Problem]], width: int) -> None:
        super().__init__()
        self.read, self.width = read, width
        self._lock = threading.Lock()
        self.table = np.full((width + 1, 64), NAN)
        self.table[width, 0] = 0.0
        self.problems: list[Problem] = [None]
        self[None] = 0

    def __missing__(self, cell: str) -> int:
        with self._lock:
            if cell not in self:
                numbers, problem = self.read(cell)
                at = len(self.problems)
                if at == self.table.shape[1]:
                    self.table = np.concatenate([self.table, self.table], axis=1)
                self.table[:, at] = (*numbers, problem is not None)
                self.problems.append(problem)
                self[cell] = at  # last, since other threads look without the lock
        return self[cell]


def _minutes(text: str) -> tuple[list[float], Problem]:
    clock = read_clock(text)
    return [NAN if clock.minutes is None else clock.minutes], clock.warning


def _span(text: str) -> tuple[list[float], Problem]:
    """Start, end and length [min] of a range; the length is missing where it is impossible."""
    span = read_range(text)
    if span.start is None or span.end is None:
        return [NAN, NAN, NAN], span.warning
    length = (span.end - span.start) % DAY
    if 0 < length <= LONGEST_RANGE:
        return [span.start, span.end, length], span.warning
    problem = ("impossible_range", f"{text} lasts {length:g} minutes: its length taken as missing")
    return [span.start, span.end, NAN], problem


_known = {CLOCKS: _Cells(_minutes, 1), RANGES: _Cells(_span, 3)}


def _look_up(names: tuple[str, ...], columns: Sequence[tuple[str | None, ...]], warnings: Warned) -> Matrix:
    """What the cells of the columns `names` say, first number first [len(names) * numbers, n]."""
    cells, n = _known[names], len(columns[0])
    if len(cells) > REMEMBERED:
        cells = _known[names] = _Cells(cells.read, cells.width)
    places = np.fromiter(map(cells.__getitem__, chain.from_iterable(columns)), np.intp, n * len(names))
    found = cells.table.take(places, axis=1)
    if np.count_nonzero(found[-1]):
        for at in np.flatnonzero(found[-1]).tolist():
            kind, message = cells.problems[places[at]] or ("", "")
            warnings[at % n].append(CellWarning(names[at // n], kind, message))
    return found[:-1].reshape(-1, n)


def _readings(columns: Sequence[tuple[Any, ...]], warnings: Warned) -> Matrix:
    """All that the cells of `Batch`'s fields say, in the order of `_AT` [len(_AT), n]; numbers are repaired."""
    n = len(columns[0])
    made = np.empty((len(_AT), n))
    numbers = made[:_FIRST_CLOCK]
    given = list(chain.from_iterable(_numbers(columns)))
    numbers[...] = np.fromiter(given, np.float64, len(given)).reshape(-1, n)
    repair(numbers, given, warnings)
    made[_FIRST_CLOCK:_FIRST_RANGE] = _look_up(CLOCKS, _clocks(columns), warnings)
    made[_FIRST_RANGE : _AT["water"]] = _look_up(RANGES, _ranges(columns), warnings)
    a4, a19, b1, b12 = (made[_AT[name]] for name in WATER)
    made[_AT["water"]] = a4 + a19 + b1 + b12
    return made


def id_number(name: str | None) -> float:
    """The number at the end of a batch's id; missing where there is none, or one too long to be a batch number."""
    digits = name[len(name.rstrip("0123456789")) :] if name else ""
    return float(digits) if 0 < len(digits) <= 6 else NAN


def _mend(steps: Matrix, warnings: Warned) -> None:
    """Makes minutes from one clock to the next [len(STEPS), n] run across midnight; too long ones are missing."""
    steps += DAY * (steps < 0)
    late = steps >= LONGEST_STEP
    if np.count_nonzero(late):
        for row, step in np.argwhere(late.T).tolist():
            earlier, later = STEPS[step]
            message = f"{steps[step, row]:g} minutes after {earlier}: the step is taken as missing"
            warnings[row].append(CellWarning(later, "long_step", message))
        steps[late] = NAN


def rows(batches: Sequence[Batch]) -> tuple[Matrix, list[tuple[CellWarning, ...]]]:
    """The values of each batch in the order of `FEATURES` [len(FEATURES), n] (NaN = missing), and what was repaired.

    There must be a batch.
    """
    warnings: Warned = defaultdict(list)
    columns = tuple(zip(*map(_cells_of, batches), strict=True))
    read = _readings(columns, warnings)
    between = read.take(_LATER, axis=0) - read.take(_EARLIER, axis=0)
    steps = between[: len(STEPS)]
    _mend(steps, warnings)
    under = read.take(_UNDER, axis=0)
    lengths = read[_FIRST_LENGTH : _AT["water"]]
    l20, l28, lb4, lb9, lb10, lb11 = lengths
    spins = np.fmax(lb9, 0.0) + np.fmax(lb10, 0.0) + np.fmax(lb11, 0.0)
    n = len(batches)
    parts: tuple[tuple[int, Any], ...] = (
        (len(NUMBERS), read[:_FIRST_CLOCK]),
        (len(_OVER), read.take(_OVER, axis=0) / np.where(under >= 1.0, under, NAN)),
        (len(STEPS), steps),
        (len(RANGES), lengths),
        (1, np.where(spins > 0, spins, NAN)),
        (1, steps[1] + steps[2] + steps[3]),
        (1, np.add.reduce(steps[:12], axis=0) + l20 + l28 + lb4 + lb9),
        (len(WARMINGS), between[len(STEPS) :]),
        (len(FLAGS), np.isnan(read.take(_FLAGS, axis=0))),
        (len(_CLOCKS), read.take(_CLOCKS, axis=0)),
        (1, (read[_AT["A5"]] - FIRST_SHIFT) % SHIFT),
        (1, np.fromiter(map(id_number, columns[_ID]), np.float64, n)),
    )
    made = np.empty((len(FEATURES), n))
    first = 0
    for height, part in parts:
        made[first : first + height] = part
        first += height
    told: list[tuple[CellWarning, ...]] = [()] * n
    for row, found in warnings.items():
        told[row] = tuple(found)
    return made, told
