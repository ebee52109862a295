"""Reads Parquet files of batches by column: the plant's columns under the names of its CSV, texts as text.

The id may also be called `id` and the measured value `yield`, as in the tables of the pipeline. A number is a number
or a text that is read as a cell of the CSV; null and NaN are blank.
"""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from batchyield.errors import InputError, Violation
from batchyield.plant.batch import ID_COLUMN, MAX_ID_LENGTH, READINGS, YIELD_COLUMN, Reading
from batchyield.plant.csv_reader import find_header_problems
from batchyield.plant.other_schemas import absent_warning
from batchyield.scoring.columns.arrow import from_texts, to_numbers
from batchyield.scoring.columns.sheet import ColumnFiller, ColumnSheet
from batchyield.serving.chunking import Chunk

OTHER_NAMES = {"id": ID_COLUMN or "id", "yield": YIELD_COLUMN}
BUFFER_BYTES = 1 << 20
"""Read ahead in each column, so that a row group of any size takes bounded memory."""

LINE_BREAK = re.compile(r"[\r\n]")
_DISTINCT = pa.dictionary(pa.int32(), pa.string())


def read_parquet_chunks(file: BinaryIO, max_batches: int) -> Iterator[tuple[Chunk, float]]:
    """Yield the rows of a Parquet file as Arrow streams of at most so many, each with its share of the file.

    Raises:
        InputError: it is no Parquet file, or has other columns.
    """
    try:
        parquet = pyarrow.parquet.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
        schema = _renamed(parquet.schema_arrow)
        _check_schema(schema)
        names = parquet.schema_arrow.names
        wanted = [name for name in names if OTHER_NAMES.get(name, name) != YIELD_COLUMN]
        texts = [name for name in wanted if _is_text(parquet.schema_arrow.field(name).type)]
        parquet = pyarrow.parquet.ParquetFile(
            file, buffer_size=BUFFER_BYTES, pre_buffer=False, read_dictionary=[n for n in texts if n not in OTHER_NAMES]
        )
        before = 0
        for batch in parquet.iter_batches(max_batches, columns=wanted, use_threads=False):
            if batch.num_rows:
                yield Chunk(_encode(batch), before), batch.num_rows / parquet.metadata.num_rows
                before += batch.num_rows
    except pa.ArrowInvalid as error:
        raise InputError(Violation("file", f"cannot be read as Parquet: {error}")) from None
    if not before:
        raise InputError(Violation("file", "has no batches"))


def read_stream_columns(chunk: Chunk) -> ColumnSheet:
    """Return an Arrow stream of `read_parquet_chunks` by column.

    Raises:
        InputError: an id is blank or too long; rows are counted from 1 in the whole file.
    """
    with pa.ipc.open_stream(chunk.content) as stream:
        table = stream.read_all().combine_chunks()
    ids = _read_ids(table, chunk.before)
    filler = ColumnFiller(table.num_rows)
    for reading in READINGS:
        if reading.name in table.column_names:
            _add(filler, reading, table.column(reading.name))
        else:
            filler.add_blank(reading)
    absent = tuple(absent_warning(reading) for reading in READINGS if reading.name not in table.column_names)
    return filler.finish(ids, absent)


def _renamed(schema: Any) -> Any:
    return pa.schema([field.with_name(OTHER_NAMES.get(field.name, field.name)) for field in schema])


def _encode(batch: Any) -> bytes:
    sink = pa.BufferOutputStream()
    renamed = batch.rename_columns([OTHER_NAMES.get(name, name) for name in batch.schema.names])
    with pa.ipc.new_stream(sink, renamed.schema) as stream:
        stream.write_batch(renamed)
    return bytes(sink.getvalue())


def _is_text(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _check_schema(schema: Any) -> None:
    """Raise InputError if columns are missing, unknown, repeated or of another type."""
    wrong = [Violation("columns", problem) for _, _, problem in find_header_problems(schema.names, sparse=True)]
    kinds = {reading.name: reading.kind for reading in READINGS} | {ID_COLUMN: "text"}
    for field in schema if not wrong else ():
        kind = kinds.get(field.name)
        fits = _is_text(field.type) or pa.types.is_null(field.type) or (kind == "number" and _is_number(field.type))
        if kind and not fits:
            expected = "numbers or text" if kind == "number" else "text"
            wrong.append(Violation(f"column {field.name}", f"has the type {field.type}, expected {expected}"))
    if wrong:
        raise InputError(*wrong)


def _read_ids(table: Any, before: int) -> list[str] | list[None]:
    if not ID_COLUMN:
        return [None] * table.num_rows
    ids = [(name or "").strip() for name in table.column(ID_COLUMN).to_pylist()]
    whole = "".join(ids)
    if all(ids) and max(map(len, ids)) <= MAX_ID_LENGTH and "\r" not in whole and "\n" not in whole:
        return ids
    for row, name in enumerate(ids, before + 1):
        if not 0 < len(name) <= MAX_ID_LENGTH or LINE_BREAK.search(name):
            problem = f"a name has 1 to {MAX_ID_LENGTH} characters and no line break, found {name[:40]!r}"
            raise InputError(Violation(f"row {row}, column {ID_COLUMN}", problem))
    return ids


def _add(filler: ColumnFiller, reading: Reading, column: Any) -> None:
    if pa.types.is_null(column.type):
        filler.add_blank(reading)
    elif _is_text(column.type):
        cells = column.fill_null(from_texts([""])[0]) if not pa.types.is_dictionary(column.type) else column
        cells = cells.cast(_DISTINCT).combine_chunks() if cells.type != _DISTINCT else cells.combine_chunks()
        known = [cell or "" for cell in cells.dictionary.to_pylist()]
        # A null has no index; it gets that of a blank cell.
        indices = to_numbers(cells.indices, len(known))
        filler.add_cells(reading, [*known, ""], indices)
    else:
        numbers = column.cast(pa.float64(), safe=False).combine_chunks()
        filler.add_numbers(reading, to_numbers(numbers, np.nan))
