"""Readings of many batches by column, from which the features are computed: numbers, parsed clocks and ranges.

Each distinct cell of text is parsed once, whether the columns come from `Batch` structs or from the columns of a file.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import itemgetter, methodcaller
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from batchyield.plant.batch import Batch
from batchyield.plant.cells import DAY_MINUTES, parse_clock, parse_range
from batchyield.plant.features.catalogue import CLOCKS, NUMBERS, RANGES
from batchyield.plant.features.plausibility import NAN
from batchyield.plant.table import FIRST_SHIFT_MINUTES, MAX_RANGE_MINUTES, SHIFT_MINUTES

CACHED_CELLS = 1 << 14
"""Distinct cells of a kind that are cached."""

MAX_ID_DIGITS = 7
"""Digits of a number in an id: float32 features hold seven exactly, and eight are more likely a date."""

Matrix = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Problem = tuple[str, str]

TEXTS = (*CLOCKS, *RANGES)
CELL_NAMES = (*NUMBERS, *TEXTS)
"""The order of the counts of blank cells."""

_FIELDS = msgspec.structs.fields(Batch)
_ID = next(i for i, field in enumerate(_FIELDS) if field.name == "id")


class Doubt(NamedTuple):
    """A cell of `TEXTS[text]` that is not clean: what is wrong with it."""

    row: int
    text: int
    problem: Problem


_row_of = itemgetter(0)


class Columns(NamedTuple):
    """Readings of n batches.

    Attributes:
        numbers: [len(NUMBERS), n], NaN where missing.
        blank: [len(NUMBERS), n], whether the cell was blank; a NaN that was given is not.
        texts: [len(TEXTS), n, 4], the values of each cell as `parse_texts` returns them.
        doubts: the cells of texts with a problem, by row and text.
        id_numbers: [n], numbers at the end of the ids.
    """

    numbers: Matrix
    blank: npt.NDArray[np.bool_]
    texts: Matrix
    doubts: Sequence[Doubt]
    id_numbers: npt.NDArray[np.float64]

    def rows(self, start: int, stop: int) -> "Columns":
        """Return the readings of some rows, as views."""
        first, last = (bisect_left(self.doubts, row, key=_row_of) for row in (start, stop))
        doubts = [doubt._replace(row=doubt.row - start) for doubt in self.doubts[first:last]]
        part = slice(start, stop)
        return Columns(self.numbers[:, part], self.blank[:, part], self.texts[:, part], doubts, self.id_numbers[part])

    def count_blanks(self) -> Counts:
        """Return the blank cells of each of `CELL_NAMES`."""
        numbers = np.add.reduce(self.blank, 1, np.int64)
        return np.concatenate((numbers, np.add.reduce(self.texts[:, :, 3] == BLANK, 1, np.int64)))


def id_number(name: str | None) -> float:
    """Return the number at the end of a batch id; NaN if there is none or it has more than `MAX_ID_DIGITS`."""
    digits = name[len(name.rstrip("0123456789")) :] if name else ""
    return float(digits) if 0 < len(digits) <= MAX_ID_DIGITS else NAN


def id_numbers(names: Sequence[str | None]) -> npt.NDArray[np.float64]:
    """Return `id_number` of each of many batches [n], a digit of all of them at a time."""
    text = "\n".join(["", *names, ""]) if all(names) else ""  # type: ignore[list-item] # none is None
    raw = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    digits = raw - np.uint8(ord("0"))
    ends = (raw == ord("\n")).nonzero()[0]
    if len(ends) != len(names) + 1:  # a batch without a name, or a line break in one
        return np.fromiter(map(id_number, names), np.float64, len(names))
    at = ends[1:]
    numbers, in_number = np.zeros(len(names)), np.ones(len(names), bool)
    for power in range(MAX_ID_DIGITS):
        digit = digits.take(at - power - 1, mode="clip")
        in_number &= digit <= 9
        numbers += np.where(in_number, digit * 10.0**power, 0.0)
    none = digits[at - 1] > 9
    longer = in_number & (digits.take(at - MAX_ID_DIGITS - 1, mode="clip") <= 9)
    numbers[none | longer] = NAN
    return numbers


BLANK, DOUBTFUL = -1.0, 1.0


class _Cells(dict[str | None, bytes]):
    """Cache from a cell to the bytes of four float64, so that the values of many cells are one `join`.

    The four are the three values that `read` returns, and a mark: `DOUBTFUL` for a cell with a problem, `BLANK` for
    no cell, else 0.

    Attributes:
        problems: (kind, message) of the cells that have one.
    """

    def __init__(self, read: Callable[[str], tuple[float, float, float, Problem | None]]) -> None:
        super().__init__()
        self.read = read
        self.problems: dict[str | None, Problem] = {}

    def __missing__(self, cell: str | None) -> bytes:
        start, end, more, problem = self.read(cell or "")
        if problem:
            self.problems[cell] = problem
        mark = BLANK if cell is None else 0.0 if problem is None else DOUBTFUL
        made = self[cell] = np.array([start, end, more, mark], np.float64).tobytes()
        return made


def read_clock(text: str) -> tuple[float, float, float, Problem | None]:
    """Minutes after midnight, twice, and minutes since the change of shift."""
    clock = parse_clock(text)
    minutes = NAN if clock.minutes is None else float(clock.minutes)
    return minutes, minutes, (minutes - FIRST_SHIFT_MINUTES) % SHIFT_MINUTES, clock.warning


def read_range(text: str) -> tuple[float, float, float, Problem | None]:
    """Start, end and length of a range in minutes; an impossible length is missing."""
    span = parse_range(text)
    if span.start is None or span.end is None:
        return NAN, NAN, NAN, span.warning
    length = (span.end - span.start) % DAY_MINUTES
    if 0 < length <= MAX_RANGE_MINUTES:
        return span.start, span.end, length, span.warning
    problem = ("impossible_range", f"{text} lasts {length:g} minutes: its length taken as missing")
    return span.start, span.end, NAN, problem


_caches = {"clock": _Cells(read_clock), "range": _Cells(read_range)}


def _cache_of(kind: str) -> _Cells:
    if len(_caches[kind]) > CACHED_CELLS:
        _caches[kind] = _Cells(_caches[kind].read)
    return _caches[kind]


def parse_texts(kind: str, cells: Iterable[str | None]) -> tuple[Matrix, dict[int, Problem]]:
    """Return the values of clocks or ranges, and the problems of those that have one by their position.

    Args:
        kind: `clock` or `range`.
        cells: texts without blanks around them, None where blank.

    Returns:
        [n, 4] for n cells: start, end, and a third value: minutes since the change of shift, or the length of a range;
        then `BLANK`, `DOUBTFUL` or 0.
    """
    cells, cache = list(cells), _cache_of(kind)
    values = np.frombuffer(b"".join(map(cache.__getitem__, cells))).reshape(len(cells), 4)
    doubtful = (values[:, 3] == DOUBTFUL).nonzero()[0].tolist()
    return values, {at: cache.problems[cells[at]] for at in doubtful}


def _fields_of(names: Sequence[str]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return a function from the columns of all fields of the batches to those of some readings."""
    at = [i for i, field in enumerate(_FIELDS) if field.name in names]
    if len(at) > 1:
        return itemgetter(*at)
    return lambda columns: tuple(columns[i] for i in at)


_numbers, _clocks, _ranges = map(_fields_of, (NUMBERS, CLOCKS, RANGES))
_cells_of = msgspec.structs.astuple
_listed = methodcaller("tolist")


def columns_of(batches: Sequence[Batch]) -> Columns:
    """Return the readings of at least one batch by column."""
    fields = tuple(zip(*map(_cells_of, batches), strict=True))
    readings = list(chain.from_iterable(_numbers(fields)))
    numbers = np.fromiter(readings, np.float64, len(readings)).reshape(len(NUMBERS), len(batches))
    blank = np.isnan(numbers)
    flat = blank.ravel()
    for at in flat.nonzero()[0].tolist():
        if readings[at] is not None:  # a NaN in the input
            flat[at] = False
    texts, doubts = _texts_of(_clocks(fields), _ranges(fields), len(batches))
    return Columns(numbers, blank, texts, doubts, np.array(list(map(id_number, fields[_ID]))))


def _texts_of(clocks: tuple[Any, ...], ranges: tuple[Any, ...], rows: int) -> tuple[Matrix, list[Doubt]]:
    """Return the values [len(TEXTS), rows, 4] of clocks and ranges, and the problems of their cells."""
    clock, span = _cache_of("clock"), _cache_of("range")
    cells = [*map(clock.__getitem__, chain.from_iterable(clocks))]
    cells += map(span.__getitem__, chain.from_iterable(ranges))
    values = np.frombuffer(b"".join(cells)).reshape(len(TEXTS), rows, 4)
    marked = values[:, :, 3] == DOUBTFUL
    if not np.count_nonzero(marked):
        return values, []
    texts = (*clocks, *ranges)
    return values, [
        Doubt(row, at, (clock if at < len(CLOCKS) else span).problems[texts[at][row]])
        for row, at in zip(*map(_listed, marked.T.nonzero()), strict=True)
    ]
