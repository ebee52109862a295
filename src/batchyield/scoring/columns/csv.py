"""Reads a chunk of the plant's CSV by column with Arrow's reader, wherever that gives what the strict reader gives.

The strict reader is `plant.csv_reader.read_sheet`. A chunk that the two could read differently, or that has an error,
is left to it: quotes, a carriage return alone, NUL, ragged rows, blank ids, bad yields, columns that give the order.
"""

import csv
from typing import Any

import pyarrow as pa
import pyarrow.csv

from batchyield.plant.batch import ENCODING, ID_COLUMN, MAX_ID_LENGTH, READINGS, REMOVED, YIELD_COLUMN
from batchyield.plant.csv_reader import BOM, ORDER_COLUMNS, find_header_problems, find_yield_problem
from batchyield.plant.other_schemas import absent_warning
from batchyield.scoring.columns.arrow import to_numbers
from batchyield.scoring.columns.sheet import ColumnFiller, ColumnSheet, Indices

_TEXT, _DISTINCT = pa.binary(), pa.dictionary(pa.int32(), pa.binary())
_PARSE = pyarrow.csv.ParseOptions(quote_char=False, double_quote=False, ignore_empty_lines=False)


def read_csv_columns(content: bytes) -> ColumnSheet | None:
    """Return a CSV with its header as `read_sheet(content, sparse=True)` reads it; None if only that can read it."""
    try:
        return _read(content)
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error):  # ragged; neither UTF-8 nor the plant's own; open quote
        return None


def _read(content: bytes) -> ColumnSheet | None:
    if b"\0" in content or (b"\r" in content and content.count(b"\r") != content.count(b"\r\n")):
        return None
    if b'"' in content:
        content = _unquote(content)
    encoding = _encoding_of(content)
    header = content[: content.find(b"\n") + 1]
    body = pa.py_buffer(content).slice(len(header))
    if encoding != "UTF-8" and header.isascii():  # the strict reader chooses the encoding for fewer lines
        return None
    names = [name.strip() for name in header.decode(encoding).removeprefix(BOM).split(",")]
    if len(names) < 2 or not len(body) or find_header_problems(names, sparse=True):
        return None
    if not (ORDER_COLUMNS.keys() | REMOVED.keys()).isdisjoint(names):
        return None
    table = _parse(names, body)
    ids = _read_ids(table, encoding)
    if ids is None or (YIELD_COLUMN in names and not _yields_are_good(table, encoding)):
        return None
    filler = ColumnFiller(table.num_rows)
    for reading in READINGS:
        if reading.name not in names:
            filler.add_blank(reading)
            continue
        cells, indices = _distinct(table, reading.name, encoding)
        if max(map(len, cells)) > csv.field_size_limit():
            return None
        filler.add_cells(reading, cells, indices)
    return filler.finish(ids, tuple(absent_warning(reading) for reading in READINGS if reading.name not in names))


def _unquote(content: bytes) -> bytes:
    """Return the CSV without quotes around cells; the few lines that have any are split by Python's reader.

    Raises:
        csv.Error: a line cannot be split alone, or a cell needs its quotes.
    """
    parts, done = [], 0
    while (quote := content.find(b'"', done)) >= 0:
        start = max(content.rfind(b"\n", done, quote) + 1, done)
        end = content.find(b"\n", quote) + 1 or len(content)
        # One character per byte: the bytes that split cells are no part of any character.
        [cells] = csv.reader([content[start:end].decode("latin-1")], strict=True)
        line = ",".join(cells)
        if line.count(",") >= len(cells) or "\n" in line or "\r" in line:
            raise csv.Error("a comma or a line break in a cell")
        parts += [content[done:start], line.encode("latin-1"), b"\n"]
        done = end
    return b"".join([*parts, content[done:]])


def _encoding_of(content: bytes) -> str:
    """Return the encoding, as `read_sheet` finds it; a decoder reports later what is invalid in it."""
    if content.isascii() or content.startswith(BOM.encode()):
        return "UTF-8"
    try:
        content.decode("UTF-8")
    except UnicodeDecodeError:
        return ENCODING
    return "UTF-8"


def _parse(names: list[str], body: Any) -> Any:
    """Return the body as a table of bytes, where all columns but the ids are dictionary-encoded.

    Neither encoding uses the byte of a comma or of a line break inside a character.
    """
    return pyarrow.csv.read_csv(
        body,
        pyarrow.csv.ReadOptions(use_threads=False, block_size=len(body) + 1, column_names=names),
        _PARSE,
        pyarrow.csv.ConvertOptions(
            column_types={name: _TEXT if name == ID_COLUMN else _DISTINCT for name in names},
            null_values=[],
            strings_can_be_null=False,
        ),
    )


def _distinct(table: Any, name: str, encoding: str) -> tuple[list[str], Indices]:
    """Return the distinct cells of a column, and which of them each row has."""
    column = table.column(name).combine_chunks()
    cells = b"\n".join(column.dictionary.to_pylist()).decode(encoding).split("\n")
    return cells, to_numbers(column.indices, 0)


def _read_ids(table: Any, encoding: str) -> list[str] | list[None] | None:
    """Return the ids, or None if one is blank or too long."""
    if not ID_COLUMN:
        last = [table.column(name)[-1].as_py().decode(encoding) for name in table.column_names]
        return [None] * table.num_rows if any(map(str.strip, last)) else None
    cells = table.column(ID_COLUMN).to_pylist()
    whole = b"\n".join(cells)
    ids = [*map(str.strip, whole.decode("UTF-8" if whole.isascii() else encoding).split("\n"))]
    return ids if all(ids) and max(map(len, ids)) <= MAX_ID_LENGTH else None


def _yields_are_good(table: Any, encoding: str) -> bool:
    return not any(map(find_yield_problem, _distinct(table, YIELD_COLUMN, encoding)[0]))
