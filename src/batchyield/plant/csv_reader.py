"""Reads the plant's CSV file: bytes -> rows of cells -> batches.

Doubtful rows or columns (a row of another length, an open quote, a missing column, a batch without id) refuse the file
with line and column. A bad reading is missing, with a warning; no row is dropped. Files of other versions are read: a
reading that they are too old to have is missing, and one that was removed since is ignored. To predict, any column of a
reading may be missing. The columns `sequence` and `started_at`, which give the order of batches, are optional.
"""

import csv
import io
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice, repeat
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from batchyield.errors import InputError, Violation
from batchyield.plant.batch import (
    ENCODING,
    ID_COLUMN,
    MAX_READING,
    READING_NAMES,
    READINGS,
    REMOVED,
    TARGET,
    YIELD_COLUMN,
    Batch,
    CellWarning,
)
from batchyield.plant.cells import parse_number
from batchyield.plant.other_schemas import absent_warning, removed_warning

BOM = "\ufeff"
ENCODINGS = tuple(dict.fromkeys(("UTF-8", ENCODING)))
ENCODING_CHOICE = " or ".join(ENCODINGS)
MAX_VIOLATIONS = 20
"""Violations listed in an error; a file with more is wrong as a whole."""

ORDER_COLUMNS = {
    "sequence": f"a number from 0 to {MAX_READING:,.0f}",
    "started_at": "a time with its zone, such as 2026-11-29T08:00:00Z",
}
"""Optional columns with a batch's place in the plant's order, and what a cell is."""

Problem = tuple[int, str, str]
"""Line, column or '', and what is wrong."""


def _refuse(problems: Iterable[Problem]) -> NoReturn:
    """Raise InputError with the first `MAX_VIOLATIONS` problems, by line."""
    violations = [
        Violation(f"line {line}{column and f', column {column}'}", problem)
        for line, column, problem in sorted(problems, key=lambda problem: problem[0])
    ]
    if (more := len(violations) - MAX_VIOLATIONS) > 0:
        violations[MAX_VIOLATIONS:] = [Violation("file", f"{more} more like these")]
    raise InputError(*violations)


def _decode(data: bytes) -> tuple[str, str]:
    """Return the text of a file and its encoding: `UTF-8`, `UTF-8-SIG` (with a byte order mark) or `ENCODING`."""
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        _refuse([(line, "", f"a NUL byte: this is not a text file; save it as CSV in {ENCODING_CHOICE}")])
    text = data.removeprefix(BOM.encode())
    marked = len(text) < len(data)
    for encoding in ENCODINGS[:1] if marked else ENCODINGS:
        try:
            return text.decode(encoding).removeprefix(BOM), "UTF-8-SIG" if marked else encoding
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
    wrong = " nor ".join(ENCODINGS)
    problem = "a byte order mark but not UTF-8" if marked else f"{'neither' if len(ENCODINGS) > 1 else 'not'} {wrong}"
    _refuse([(line, "", f"{problem}: save the file as CSV in {ENCODING_CHOICE}")])


def _rows_of(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row without holding all of them; blank lines at the end are left out.

    Raises:
        InputError: after the last row, if a row cannot be split or there is none.
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
        _refuse([(broken or read + 1, "", problem or "a line break inside a cell: a quote too many?")])
    if read == len(blank):
        _refuse([(1, "", "the file is empty")])


CHUNK_ROWS = 128
"""Rows processed together: their cells fit in the processor's cache."""

WARNING_KINDS: dict[str, str] = {
    "too_long": "a cell longer than any reading",
    "too_large": "a number no reading of the plant comes near",
}
"""Kinds of warnings in addition to `cells.WARNING_KINDS`."""


def _limits(bound: str) -> dict[str, Any]:
    """Value of a keyword of the JSON schema of `Batch`, for each field that has it."""
    properties = msgspec.json.schema(Batch)["$defs"]["Batch"]["properties"]
    return {n: m[bound] for n, field in properties.items() for m in field.get("anyOf", [field]) if bound in m}


_LONGEST: dict[str, int] = _limits("maxLength")
_LONGEST_NUMBER = min(_LONGEST.values())
_LEAST, _MOST = _limits("minimum"), _limits("maximum")


class Sheet(msgspec.Struct, frozen=True):
    """A file as batches: lists with one entry per row, in file order; row i is line i + 2 of the file.

    Attributes:
        batches: the rows; clocks and ranges are text.
        yields: values of the target, None where blank; None if the file has no such column.
        warnings: the cells of each row that were repaired or taken as missing.
        encoding: `UTF-8`, `UTF-8-SIG` (with a byte order mark) or `GB18030`.
        columns: readings whose column is absent or ignored, because the file is of another version.
    """

    batches: list[Batch]
    yields: list[float | None] | None
    warnings: list[tuple[CellWarning, ...]]
    encoding: str
    columns: tuple[CellWarning, ...] = ()

    def names(self) -> list[str | None]:
        """Return the ids of the batches; where the plant's files have none, `row_N`, counted from 1."""
        return [batch.id if ID_COLUMN else f"row_{row}" for row, batch in enumerate(self.batches, 1)]

    def row_warnings(self) -> list[tuple[CellWarning, ...]]:
        """Return the warnings of each row with those of its columns, which come first."""
        return [self.columns + row for row in self.warnings] if self.columns else self.warnings


def find_header_problems(
    names: list[str], with_yield: bool | None = None, any_schema: bool = False, sparse: bool = False
) -> list[Problem]:
    """Return the columns that are missing, unknown or repeated; the arguments are those of `read_sheet`."""
    counts = Counter(names)
    readings = [reading.name for reading in READINGS if reading.since is None and not any_schema]
    if sparse and not counts.keys().isdisjoint(READING_NAMES):
        readings = []
    ids = (ID_COLUMN,) if ID_COLUMN else ()
    needed = (*ids, *readings, *([YIELD_COLUMN] if with_yield else ()))
    known = {*ids, YIELD_COLUMN, *READING_NAMES, *ORDER_COLUMNS, *REMOVED, *(names if any_schema else ())}
    wrong = {
        "missing": [name for name in needed if name not in counts],
        "unknown": [name[:40] or f"number {i} without a name" for i, name in enumerate(names, 1) if name not in known],
        "repeated": [name for name, count in counts.items() if count > 1 and name in known],
    }
    hint = "" if len(names) > 1 else "; cells are to be separated by commas"
    return [(1, "", f"{what} column {', '.join(which[:60])}{hint}") for what, which in wrong.items() if which]


class CellReader(dict[str, Any]):
    """Cache from cell to reading of one column; most cells repeat.

    Args:
        name: of the reading.
        is_number: whether it is a number; a clock or a range stays text without blanks around it.

    Attributes:
        warned: the warnings of the cells that have one.
    """

    def __init__(self, name: str, is_number: bool) -> None:
        super().__init__()
        self.name, self.is_number = name, is_number
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


def find_yield_problem(cell: str) -> str:
    """Return what is wrong with a cell of the yield column; empty if nothing is."""
    clean = len(cell) <= _LONGEST_NUMBER and parse_number(cell).warning is None
    return "" if clean else f"'{cell[:40]}' is not a number: {TARGET.expected}, or blank"


def _problem_of_order(name: str, cell: str) -> str:
    try:
        _parse_order(name, cell)
    except msgspec.ValidationError:
        return f"'{cell[:40]}' is not {ORDER_COLUMNS[name]}, or blank"
    return ""


def _parse_order(name: str, cell: str) -> float | datetime | UnsetType:
    """Return the value of an order column; UNSET where blank. Raise msgspec.ValidationError if it is no such value."""
    if not cell.strip():
        return UNSET
    is_number = name == "sequence"  # for a time, a number such as a spreadsheet's 45990 would be read as seconds
    value: float | datetime = getattr(msgspec.convert({name: cell.strip()}, Batch, strict=not is_number), name)
    return value


def _problems(name: str, column: Iterable[str], problem_of: Callable[[str], str], first: int) -> list[Problem]:
    return [(line, name, problem) for line, cell in enumerate(column, first) if (problem := problem_of(cell))]


def _ragged(rows: list[list[str]], width: int, first: int) -> list[Problem]:
    """Rows without exactly `width` cells; which cell is missing or extra cannot be known."""
    return [
        (line, "", f"expected {width} cells, found {len(row)}" if row else "a blank line among the batches")
        for line, row in enumerate(rows, first)
        if len(row) != width
    ]


def join_files(files: Iterable[bytes]) -> bytes:
    """Return the rows of several files as one UTF-8 file: cells as written, columns by name, in order of appearance.

    Raises:
        InputError: a file cannot be split into cells.
    """
    texts = [_decode(data)[0] for data in files]
    tables = [list(_rows_of(text)) for text in texts]
    columns = list(dict.fromkeys(name.strip() for header, *_ in tables for name in header))
    joined = io.StringIO(newline="")
    writer = csv.DictWriter(joined, columns, lineterminator="\n")
    writer.writeheader()
    for header, *rows in tables:
        names = list(map(str.strip, header))
        writer.writerows(dict(zip(names, row, strict=False)) for row in rows)
    return joined.getvalue().encode()


def read_sheet(data: bytes, with_yield: bool | None = None, any_schema: bool = False, sparse: bool = False) -> Sheet:
    """Return the batches of the plant's file: UTF-8 or GB18030, any line ending, columns in any order.

    Args:
        data: the file.
        with_yield: True requires the yield column, False ignores it, None reads it if present.
        any_schema: any reading may be absent, and unknown columns are ignored, to compare files of two schemas.
        sparse: all readings but one may be absent, as in JSON: each is missing, with a warning in every row.

    Raises:
        InputError: the file is not a table of batches; lists line, column and problem.
    """
    text, encoding = _decode(data)
    rows = _rows_of(text)
    names = list(map(str.strip, next(rows)))
    if problems := find_header_problems(names, with_yield, any_schema, sparse):
        deque(rows, maxlen=0)  # an open quote further down is the better error
        _refuse(problems)
    at = {name: i for i, name in enumerate(names) if name != YIELD_COLUMN or with_yield is not False}
    present = [reading for reading in READINGS if reading.name in at]
    columns = [(at[reading.name], CellReader(reading.name, reading.kind == "number")) for reading in present]
    orders = [name for name in ORDER_COLUMNS if name in at]
    other = (
        *(absent_warning(reading) for reading in READINGS if reading.name not in at),
        *(removed_warning(name) for name in REMOVED if name in at),
    )
    sheet = Sheet([], [] if YIELD_COLUMN in at else None, [], encoding, other)
    ragged: list[Problem] = []
    first = 2
    while chunk := list(islice(rows, CHUNK_ROWS)):
        line, first = first, first + len(chunk)
        ragged += _ragged(chunk, len(names), line)
        if ragged:  # which cell belongs to which column is not known
            continue
        cells = list(zip(*chunk, strict=True))
        ids: list[str | None] = [None] * len(chunk)
        if ID_COLUMN:
            ids[:] = map(str.strip, cells[at[ID_COLUMN]])
            problems += _problems(ID_COLUMN, cells[at[ID_COLUMN]], _problem_of_id, line)
        if sheet.yields is not None:
            yields = cells[at[YIELD_COLUMN]]
            problems += _problems(YIELD_COLUMN, yields, find_yield_problem, line)
            sheet.yields.extend(parse_number(cell).value for cell in yields)
        for name in orders:
            problems += _problems(name, cells[at[name]], partial(_problem_of_order, name), line)
        if problems:
            continue
        batches = [Batch(id=name) for name in ids]
        for name in orders:
            deque(map(setattr, batches, repeat(name), map(partial(_parse_order, name), cells[at[name]])), maxlen=0)
        # By column and without Python code per cell: half the time of one batch after another.
        for i, column in columns:
            deque(map(setattr, batches, repeat(column.name), map(column.__getitem__, cells[i])), maxlen=0)
        sheet.batches.extend(batches)
        warned = [(i, column.warned) for i, column in columns if column.warned]
        sheet.warnings.extend(tuple(of[row[i]] for i, of in warned if row[i] in of) for row in chunk)
    if first == 2:
        _refuse([(1, "", "a header but no batches under it")])
    if ragged or problems:
        _refuse(ragged or problems)
    return sheet
