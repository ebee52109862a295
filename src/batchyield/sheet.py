"""The plant's CSV -> batches. No reading is ever a reason to refuse a file, and no row is ever dropped or moved.

What makes rows or columns doubtful (a ragged row, an open quote, a missing column, a batch without a name) refuses the
file with the line and the column; a bad reading is missing with a warning.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable
from operator import getitem, itemgetter
from typing import Any, NoReturn

import msgspec

from batchyield.batch import ENCODING, ID_COLUMN, NAMES, READINGS, YIELD_COLUMN, Batch, CellWarning, Reading
from batchyield.clock import read_number
from batchyield.errors import InputError, Violation

BOM = "\ufeff"
SHOWN = 20
"""So many violations are told; a file that is wrong in more places is wrong as a whole."""

KINDS: dict[str, str] = {
    "too_long": "a cell longer than any reading",
    "too_large": "a number no reading of the plant comes near",
}
"""The kinds of warning a file adds to `clock.KINDS`."""


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


_Problem = tuple[int, str, str]
"""Line, column or '', and what is wrong there."""


def _refuse(problems: Iterable[_Problem]) -> NoReturn:
    listed = sorted(problems, key=lambda problem: problem[0])
    told = [Violation(f"line {line}{column and f', column {column}'}", problem) for line, column, problem in listed]
    more = [Violation("file", f"{len(told) - SHOWN} more like these")] if len(told) > SHOWN else []
    raise InputError(*told[:SHOWN], *more)


def _decode(data: bytes) -> tuple[str, str]:
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        _refuse([(line, "", "a NUL byte: this is no text file; save it as CSV in UTF-8 or GB18030")])
    text = data.removeprefix(BOM.encode())
    marked = len(text) < len(data)
    for encoding in ("UTF-8",) if marked else ("UTF-8", ENCODING):
        try:
            return text.decode(encoding).removeprefix(BOM), "UTF-8-SIG" if marked else encoding
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
    found = "a byte order mark but no UTF-8" if marked else f"neither UTF-8 nor {ENCODING}"
    _refuse([(line, "", f"{found}: save the file as CSV in UTF-8 or {ENCODING}")])


def _lines(text: str) -> list[list[str]]:
    """The cells of every line; line n is entry n - 1. Blank lines at the end are left out."""
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    problem = ""
    try:
        rows.extend(reader)
    except csv.Error as error:
        problem = f"cannot be split into cells ({error}): a quote that is not closed?"
    if reader.line_num != len(rows):
        broken = (n for n, row in enumerate(rows, 1) if any("\n" in cell or "\r" in cell for cell in row))
        _refuse([(next(broken, len(rows) + 1), "", problem or "a line break inside a cell: a quote too many?")])
    while rows and not any(map(str.strip, rows[-1])):
        rows.pop()
    if not rows:
        _refuse([(1, "", "the file is empty")])
    return rows


def _header(cells: list[str], with_yield: bool | None) -> list[str]:
    names = [cell.strip() for cell in cells]
    counts = Counter(names)
    known = (ID_COLUMN, *NAMES, YIELD_COLUMN)
    needed = known if with_yield else known[:-1]
    wrong = {
        "missing": [name for name in needed if name not in counts],
        "unknown": [name[:40] or f"number {i} without a name" for i, name in enumerate(names, 1) if name not in known],
        "repeated": [name for name in known if counts[name] > 1],
    }
    hint = "" if len(names) > 1 else "; cells are to be separated by commas"
    if any(wrong.values()):
        _refuse((1, "", f"{what} column {', '.join(which[:60])}{hint}") for what, which in wrong.items() if which)
    return names


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
            return None, ("too_long", f"{len(cell)} characters taken as missing: {KINDS['too_long']}")
        if not self.is_number:
            return cell or None, None
        value, warning = read_number(cell)
        if value is not None and not _LEAST[self.name] <= value <= _MOST[self.name]:
            return None, ("too_large", f"'{cell}' taken as missing: {KINDS['too_large']}")
        return value, warning


def _problem_of_id(cell: str) -> str:
    if not cell.strip():
        return "blank: every batch needs a name"
    longest = _LONGEST["id"]
    return "" if len(cell.strip()) <= longest else f"{len(cell.strip())} characters: a name has at most {longest}"


def _problem_of_yield(cell: str) -> str:
    clean = len(cell) <= _LONGEST_NUMBER and read_number(cell).warning is None
    return "" if clean else f"'{cell[:40]}' is not a number: a yield is a fraction near 0.92, or blank"


def _problems(name: str, column: Iterable[str], problem_of: Callable[[str], str], first: int) -> list[_Problem]:
    return [(line, name, found) for line, cell in enumerate(column, first) if (found := problem_of(cell))]


def _ragged(rows: list[list[str]], width: int, first: int) -> list[_Problem]:
    """Rows that have not `width` cells: nothing says which cell is missing or too many."""
    return [
        (line, "", f"expected {width} cells, found {len(row)}" if row else "a blank line among the batches")
        for line, row in enumerate(rows, first)
        if len(row) != width
    ]


def read_sheet(data: bytes, with_yield: bool | None = None) -> Sheet:
    """Reads the plant's file: UTF-8 or GB18030, any line ending, columns in any order.

    Args:
        data: the file's bytes.
        with_yield: True requires the yield column, False passes over it, None takes it if it is there.

    Raises:
        InputError: the file cannot be read as one table of batches; says where and why.
    """
    text, encoding = _decode(data)
    header, *rows = _lines(text)
    names = _header(header, with_yield)
    if not rows:
        _refuse([(1, "", "a header but no batches under it")])
    if ragged := _ragged(rows, len(names), 2):
        _refuse(ragged)
    at = {name: i for i, name in enumerate(names) if name != YIELD_COLUMN or with_yield is not False}
    ids = [row[at[ID_COLUMN]].strip() for row in rows]
    yields = [row[at[YIELD_COLUMN]] for row in rows] if YIELD_COLUMN in at else None
    problems = _problems(ID_COLUMN, ids, _problem_of_id, 2)
    if problems := problems + _problems(YIELD_COLUMN, yields or (), _problem_of_yield, 2):
        _refuse(problems)

    columns = [_Column(reading) for reading in READINGS]
    readings_of = itemgetter(*map(at.__getitem__, NAMES))
    batches = [
        Batch(id=name, **dict(zip(NAMES, map(getitem, columns, readings_of(row)), strict=True)))
        for name, row in zip(ids, rows, strict=True)
    ]
    warned = [(at[column.name], column.warned) for column in columns if column.warned]
    return Sheet(
        batches=batches,
        yields=None if yields is None else [read_number(cell).value for cell in yields],
        warnings=[tuple(cells[row[i]] for i, cells in warned if row[i] in cells) for row in rows],
        encoding=encoding,
    )


def read_answers(data: bytes) -> dict[str, float]:
    """Reads measured yields: `id,yield` a line, without a header; returns id -> yield in the file's order.

    Raises:
        InputError: a line has not two cells, a name is blank or comes twice, or a yield is blank or not a number.
    """
    rows = _lines(_decode(data)[0])
    if ragged := _ragged(rows, 2, 1):
        _refuse(ragged)
    problems: list[_Problem] = []
    answers: dict[str, float] = {}
    for line, (name, cell) in enumerate(rows, 1):
        value = read_number(cell).value
        problem = _problem_of_id(name) or ("comes twice" if name.strip() in answers else "")
        problems += [(line, "id", problem)] if problem else []
        if value is None or _problem_of_yield(cell):
            problems.append((line, "yield", _problem_of_yield(cell) or "blank: every batch needs its yield"))
        answers[name.strip()] = value or 0.0
    if problems:
        _refuse(problems)
    return answers
