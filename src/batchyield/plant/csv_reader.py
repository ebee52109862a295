"""Read the plant's CSV: bytes -> lines of cells -> batches. No reading is a reason to refuse a file, no row is dropped.

What makes rows or columns doubtful (a ragged row, an open quote, a missing column, a batch without a name) refuses the
file with the line and the column; a bad reading is missing with a warning.
"""

import csv
import io
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from typing import Any, NoReturn

import msgspec

from batchyield.errors import InputError, Violation
from batchyield.plant.batch import (
    ENCODING,
    ID_COLUMN,
    READING_NAMES,
    READINGS,
    YIELD_COLUMN,
    Batch,
    CellWarning,
    Reading,
)
from batchyield.plant.cells import parse_number

BOM = "\ufeff"
MAX_VIOLATIONS = 20
"""So many violations are told; a file that is wrong in more places is wrong as a whole."""

Problem = tuple[int, str, str]
"""Line, column or '', and what is wrong there."""


def refuse(problems: Iterable[Problem]) -> NoReturn:
    """Refuses a file.

    Raises:
        InputError: always; tells the first `SHOWN` of the problems in the order of their lines.
    """
    listed = sorted(problems, key=lambda problem: problem[0])
    told = [Violation(f"line {line}{column and f', column {column}'}", problem) for line, column, problem in listed]
    more = [Violation("file", f"{len(told) - MAX_VIOLATIONS} more like these")] if len(told) > MAX_VIOLATIONS else []
    raise InputError(*told[:MAX_VIOLATIONS], *more)


def decode(data: bytes) -> tuple[str, str]:
    """The text of a file, and its encoding: `UTF-8`, `UTF-8-SIG` (with a byte order mark) or `GB18030`.

    Raises:
        InputError: it is no text in one of them.
    """
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        refuse([(line, "", "a NUL byte: this is no text file; save it as CSV in UTF-8 or GB18030")])
    text = data.removeprefix(BOM.encode())
    marked = len(text) < len(data)
    for encoding in ("UTF-8",) if marked else ("UTF-8", ENCODING):
        try:
            return text.decode(encoding).removeprefix(BOM), "UTF-8-SIG" if marked else encoding
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
    found = "a byte order mark but no UTF-8" if marked else f"neither UTF-8 nor {ENCODING}"
    refuse([(line, "", f"{found}: save the file as CSV in UTF-8 or {ENCODING}")])


def lines_of(text: str) -> Iterator[list[str]]:
    """The cells of each line, one after the other: all of them would take ten times what the file does.

    Blank lines at the end are left out.

    Raises:
        InputError: once all lines were read, as only then all is known of them: there are none, or one is no row.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    blank: list[list[str]] = []
    read = broken = 0
    problem = ""
    try:
        for read, row in enumerate(reader, 1):
            if reader.line_num != read and not broken:
                broken = read
            if any(map(str.strip, row)):
                yield from blank
                blank.clear()
                yield row
            else:
                blank.append(row)
    except csv.Error as error:
        problem = f"cannot be split into cells ({error}): a quote that is not closed?"
    if broken or problem:
        refuse([(broken or read + 1, "", problem or "a line break inside a cell: a quote too many?")])
    if read == len(blank):
        refuse([(1, "", "the file is empty")])


CHUNK_ROWS = 128
"""So many rows are worked on together: their cells stay in the processor's cache, and little is held at a time."""

WARNING_KINDS: dict[str, str] = {
    "too_long": "a cell longer than any reading",
    "too_large": "a number no reading of the plant comes near",
}
"""The kinds of warning a file adds to `cells.WARNING_KINDS`."""


def _limits(bound: str) -> dict[str, Any]:
    """Field of `Batch` -> the value of a keyword of its JSON schema, for the fields that have it."""
    properties = msgspec.json.schema(Batch)["$defs"]["Batch"]["properties"]
    return {n: m[bound] for n, field in properties.items() for m in field.get("anyOf", [field]) if bound in m}


_LONGEST: dict[str, int] = _limits("maxLength")
_LONGEST_NUMBER = min(_LONGEST.values())
_LEAST, _MOST = _limits("minimum"), _limits("maximum")


class Sheet(msgspec.Struct, frozen=True):
    """A file as batches; all lists have one entry a row, in the file's order, and row i stands in line i + 2.

    Attributes:
        batches: the readings; clocks and ranges are still text.
        yields: fractions, None where blank; None as a whole when the file has no yield column.
        warnings: the cells of each row that were repaired or taken as missing.
        encoding: `UTF-8`, `UTF-8-SIG` (with a byte order mark) or `GB18030`.
    """

    batches: list[Batch]
    yields: list[float | None] | None
    warnings: list[tuple[CellWarning, ...]]
    encoding: str


def _problems_of_header(names: list[str], with_yield: bool | None) -> list[Problem]:
    counts = Counter(names)
    known = (ID_COLUMN, *READING_NAMES, YIELD_COLUMN)
    needed = known if with_yield else known[:-1]
    wrong = {
        "missing": [name for name in needed if name not in counts],
        "unknown": [name[:40] or f"number {i} without a name" for i, name in enumerate(names, 1) if name not in known],
        "repeated": [name for name in known if counts[name] > 1],
    }
    hint = "" if len(names) > 1 else "; cells are to be separated by commas"
    return [(1, "", f"{what} column {', '.join(which[:60])}{hint}") for what, which in wrong.items() if which]


class _Column(dict[str, Any]):
    """Cell -> reading of one column, and the warnings met; each distinct cell is read once, for the plant repeats."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.name, self.is_number = reading.name, reading.kind == "number"
        self.warned: dict[str, CellWarning] = {}

    def __missing__(self, cell: str) -> float | str | None:
        value, warning = self._read(cell.strip())
        if warning:
            self.warned[cell] = CellWarning(self.name, *warning)
        self[cell] = value
        return value

    def _read(self, cell: str) -> tuple[float | str | None, tuple[str, str] | None]:
        if len(cell) > _LONGEST.get(self.name, _LONGEST_NUMBER):
            return None, ("too_long", f"{len(cell)} characters taken as missing: {WARNING_KINDS['too_long']}")
        if not self.is_number:
            return cell or None, None
        value, warning = parse_number(cell)
        if value is not None and not _LEAST[self.name] <= value <= _MOST[self.name]:
            return None, ("too_large", f"'{cell}' taken as missing: {WARNING_KINDS['too_large']}")
        return value, warning


def _problem_of_id(cell: str) -> str:
    if not cell.strip():
        return "blank: every batch needs a name"
    longest = _LONGEST["id"]
    return "" if len(cell.strip()) <= longest else f"{len(cell.strip())} characters: a name has at most {longest}"


def _problem_of_yield(cell: str) -> str:
    clean = len(cell) <= _LONGEST_NUMBER and parse_number(cell).warning is None
    return "" if clean else f"'{cell[:40]}' is not a number: a yield is a fraction near 0.92, or blank"


def _problems(name: str, column: Iterable[str], problem_of: Callable[[str], str], first: int) -> list[Problem]:
    return [(line, name, found) for line, cell in enumerate(column, first) if (found := problem_of(cell))]


def _ragged(rows: list[list[str]], width: int, first: int) -> list[Problem]:
    """Rows that have not `width` cells: nothing says which cell is missing or too many."""
    return [
        (line, "", f"expected {width} cells, found {len(row)}" if row else "a blank line among the batches")
        for line, row in enumerate(rows, first)
        if len(row) != width
    ]


class _Table:
    """Rows to batches, some rows at a time; of the cells it keeps the distinct ones of each column.

    Attributes:
        ragged: what is wrong with the rows, for which the whole file is refused.
        problems: what is wrong with single cells, if nothing is with the rows.
        lines: that were read, with the header.
    """

    def __init__(self, names: list[str], with_yield: bool | None) -> None:
        at = {name: i for i, name in enumerate(names) if name != YIELD_COLUMN or with_yield is not False}
        self._width, self._id, self._yield = len(names), at[ID_COLUMN], at.get(YIELD_COLUMN)
        self._columns = [(at[reading.name], _Column(reading)) for reading in READINGS]
        self.batches: list[Batch] = []
        self.yields: list[float | None] | None = None if self._yield is None else []
        self.warnings: list[tuple[CellWarning, ...]] = []
        self.ragged: list[Problem] = []
        self.problems: list[Problem] = []
        self.lines = 1

    def add(self, rows: list[list[str]]) -> None:
        """Takes the rows that come next."""
        first = self.lines + 1
        self.lines += len(rows)
        self.ragged += _ragged(rows, self._width, first)
        if self.ragged:
            return
        cells = list(zip(*rows, strict=True))
        ids = list(map(str.strip, cells[self._id]))
        self.problems += _problems(ID_COLUMN, ids, _problem_of_id, first)
        if self._yield is not None and self.yields is not None:
            self.problems += _problems(YIELD_COLUMN, cells[self._yield], _problem_of_yield, first)
            self.yields += [parse_number(cell).value for cell in cells[self._yield]]
        if self.problems:
            return
        batches = [Batch(id=name) for name in ids]
        # A column at a time, and no Python in between: takes half as long as a batch at a time.
        for i, column in self._columns:
            deque(map(setattr, batches, repeat(column.name), map(column.__getitem__, cells[i])), maxlen=0)
        self.batches += batches
        warned = [(i, column.warned) for i, column in self._columns if column.warned]
        self.warnings += [tuple(of[row[i]] for i, of in warned if row[i] in of) for row in rows]


def read_sheet(data: bytes, with_yield: bool | None = None) -> Sheet:
    """Reads the plant's file: UTF-8 or GB18030, any line ending, columns in any order.

    Args:
        data: the file's bytes.
        with_yield: True requires the yield column, False passes over it, None takes it if it is there.

    Raises:
        InputError: the file cannot be read as one table of batches; says where and why.
    """
    text, encoding = decode(data)
    lines = lines_of(text)
    names = list(map(str.strip, next(lines)))
    if problems := _problems_of_header(names, with_yield):
        deque(lines, maxlen=0)  # a quote left open further down says more
        refuse(problems)
    table = _Table(names, with_yield)
    while rows := list(islice(lines, CHUNK_ROWS)):
        table.add(rows)
    if table.lines == 1:
        refuse([(1, "", "a header but no batches under it")])
    if problems := table.ragged or table.problems:
        refuse(problems)
    return Sheet(batches=table.batches, yields=table.yields, warnings=table.warnings, encoding=encoding)


def read_answers(data: bytes) -> dict[str, float]:
    """Reads measured yields: `id,yield` a line, without a header; returns id -> yield in the file's order.

    Raises:
        InputError: a line has not two cells, a name is blank or comes twice, or a yield is blank or not a number.
    """
    rows = list(lines_of(decode(data)[0]))
    if ragged := _ragged(rows, 2, 1):
        refuse(ragged)
    problems: list[Problem] = []
    answers: dict[str, float] = {}
    for line, (name, cell) in enumerate(rows, 1):
        value = parse_number(cell).value
        problem = _problem_of_id(name) or ("comes twice" if name.strip() in answers else "")
        problems += [(line, "id", problem)] if problem else []
        if value is None or _problem_of_yield(cell):
            problems.append((line, "yield", _problem_of_yield(cell) or "blank: every batch needs its yield"))
        answers[name.strip()] = value or 0.0
    if problems:
        refuse(problems)
    return answers
