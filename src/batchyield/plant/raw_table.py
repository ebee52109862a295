"""The batches of one raw file, or of several in a row, as a table with the cells that were not clean."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from msgspec import structs

from batchyield.plant import cells
from batchyield.plant.batch import ID_COLUMN, READING_NAMES, READINGS, CellWarning, Reading
from batchyield.plant.csv_reader import Sheet


class DirtyCell(NamedTuple):
    """A cell that was not clean; `row` counts from 0, and `readable` says whether the cell still has a value."""

    row: int
    id: str | None
    warning: CellWarning
    readable: bool


@dataclass(frozen=True)
class RawTable:
    """Raw batches, in the order of the files.

    Attributes:
        frame: one row per batch: `id` and texts as strings, numbers and `yield` (if the files have it) as float64.
        dirty: the cells that were repaired or could not be read, in the order of the rows.
        encodings: of the files, each once.
        columns: readings whose column is absent or ignored, because a file is of another version.
        files: name and number of batches of each file; empty for a file by itself.
    """

    frame: pd.DataFrame
    dirty: list[DirtyCell]
    encodings: tuple[str, ...]
    columns: tuple[CellWarning, ...]
    files: tuple[tuple[str, int], ...] = ()

    def place(self, row: int) -> str:
        """Return where a row is: `line 5`, or `2026-11-28.csv, line 5` of several files."""
        if not self.files:
            return f"line {row + 2}"
        starts = [0, *accumulate(rows for _, rows in self.files)]
        at = bisect_right(starts, row) - 1
        return f"{self.files[at][0]}, line {row - starts[at] + 2}"


def reading_of(reading: Reading, cell: Any) -> tuple[Any, tuple[str, str] | None]:
    """Return a cell as a sortable value (number, minutes, pair of minutes or None), and the warning of its text."""
    if cell is None or cell != cell or reading.kind == "number":
        return (None if cell != cell else cell), None
    if reading.kind == "clock":
        return cells.parse_clock(cell)
    span = cells.parse_range(cell)
    return (None if span.start is None else span[:2]), span.warning


def to_table(sheet: Sheet) -> RawTable:
    """Return the table of a file."""
    columns: dict[str, pd.Series[Any]] = {"id": pd.Series(sheet.names(), dtype="str")} | {
        r.name: pd.Series([getattr(b, r.name) for b in sheet.batches], dtype="float64" if r.kind == "number" else "str")
        for r in READINGS
    }
    if sheet.yields is not None:
        columns["yield"] = pd.Series(sheet.yields, dtype="float64")
    frame = pd.DataFrame(columns)
    return RawTable(frame, _dirty_cells(sheet, frame), (sheet.encoding,), sheet.columns)


def join_tables(tables: Mapping[str, RawTable]) -> RawTable:
    """Return the batches of several files, name -> table, as one table: the same as that of one file with all rows."""
    frame = pd.concat([table.frame for table in tables.values()], ignore_index=True)
    if not ID_COLUMN:
        frame["id"] = pd.Series([f"row_{row}" for row in range(1, len(frame) + 1)], dtype="str")
    first, names = 0, frame["id"].tolist()
    dirty: list[DirtyCell] = []
    for table in tables.values():
        dirty += [cell._replace(row=cell.row + first, id=names[cell.row + first]) for cell in table.dirty]
        first += len(table.frame)
    return RawTable(
        frame,
        dirty,
        tuple(dict.fromkeys(encoding for table in tables.values() for encoding in table.encodings)),
        tuple(
            structs.replace(warning, message=f"{name}: {warning.message}")
            for name, table in tables.items()
            for warning in table.columns
        ),
        tuple((name, len(table.frame)) for name, table in tables.items()),
    )


def _dirty_cells(sheet: Sheet, frame: pd.DataFrame) -> list[DirtyCell]:
    found = [(row, 0, warning) for row, warnings in enumerate(sheet.warnings) if warnings for warning in warnings]
    for at, reading in enumerate(READINGS, 1):
        if reading.kind != "number":
            codes, texts = pd.factorize(frame[reading.name])
            # Each text is parsed once, however often it comes.
            problems = {code: problem for code, text in enumerate(texts) if (problem := reading_of(reading, text)[1])}
            rows = np.flatnonzero(np.isin(codes, list(problems))).tolist()
            found += [(row, at, CellWarning(reading.name, *problems[codes[row]])) for row in rows]
    found.sort(key=lambda cell: cell[:2])
    names = frame["id"].tolist()
    return [DirtyCell(row, names[row], warning, _is_readable(sheet, row, warning)) for row, _, warning in found]


def _is_readable(sheet: Sheet, row: int, warning: CellWarning) -> bool:
    reading = READINGS[READING_NAMES.index(warning.field)]
    return reading_of(reading, getattr(sheet.batches[row], warning.field))[0] is not None
