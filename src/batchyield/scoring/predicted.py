"""Predictions of a chunk, and how they are written: lines of CSV, or rows of Parquet."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from batchyield.serving.prediction import Prediction
from batchyield.serving.responses import CSV_HEADER

Form = Literal["csv", "parquet"]
"""How predictions are written."""

COLUMNS = tuple(CSV_HEADER.decode().strip().split(","))
LEAST_PLAIN, MOST_PLAIN = 1e-3, 1e6
"""Python and Arrow write numbers between these with the same digits, and neither with an exponent."""

CHUNKS_PER_ROW_GROUP = 12
"""Chunks in a row group of Parquet, which so has at most 360,000 rows."""


_QUOTED = ('"', ",", "\r", "\n")


class Predicted(NamedTuple):
    """Predictions of n batches.

    Attributes:
        ids: [n], None where the plant has none.
        numbers: [3, n], yields, lower and upper interval ends.
    """

    ids: Sequence[str | None]
    numbers: npt.NDArray[np.float64]


@cache
def has_arrow() -> bool:
    """Return whether pyarrow is installed; without it, CSV is read and written row by row, and Parquet not at all."""
    return find_spec("pyarrow") is not None


def from_predictions(predictions: Sequence[Prediction]) -> Predicted:
    """Return the predictions of batches by column."""
    numbers = [(p.yield_, p.lower, p.upper) for p in predictions]
    return Predicted([p.id for p in predictions], np.array(numbers).reshape(-1, 3).T)


def encode_lines(predicted: Predicted) -> bytes:
    """Return the lines `id,yield,lower,upper` as Python's CSV writer and `repr` write them, without a header."""
    numbers = np.abs(predicted.numbers)
    plain = ((numbers >= LEAST_PLAIN) & (numbers < MOST_PLAIN) & (numbers % 1 != 0)).all()
    names = "".join(filter(None, predicted.ids))
    if not plain or not has_arrow() or not all(predicted.ids) or any(character in names for character in _QUOTED):
        return _encode_slowly(predicted)
    import pyarrow as pa
    import pyarrow.compute

    from batchyield.scoring.columns.arrow import from_numbers, from_texts

    comma, line_feed = from_texts([",", "\n"])
    texts = [from_numbers(column).cast(pa.string()) for column in predicted.numbers]
    lines = pa.compute.binary_join_element_wise(from_texts(predicted.ids), *texts, comma)
    whole = pa.ListArray.from_arrays(from_numbers(np.array([0, len(lines)], np.int32)), lines)
    return bytes(pa.compute.binary_join(whole, line_feed)[0].as_buffer()) + b"\n"


def _encode_slowly(predicted: Predicted) -> bytes:
    text = io.StringIO()
    rows = zip(predicted.ids, *predicted.numbers.tolist(), strict=True)
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def encode_stream(predicted: Predicted) -> bytes:
    """Return the predictions as an Arrow stream."""
    import pyarrow as pa

    from batchyield.scoring.columns.arrow import from_numbers, from_texts

    columns = [from_texts(predicted.ids), *map(from_numbers, predicted.numbers)]
    batch, sink = pa.record_batch(columns, list(COLUMNS)), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


ENCODERS: dict[Form, Callable[[Predicted], bytes]] = {"csv": encode_lines, "parquet": encode_stream}


def count_rows(part: bytes, form: Form) -> int:
    """Return the number of predictions in an encoded chunk."""
    return part.count(b"\n") if form == "csv" else int(_decode_stream(part).num_rows)


def _decode_stream(part: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_stream(part).read_all()


def write_parts(parts: Iterable[bytes], form: Form, path: Path) -> int:
    """Write encoded chunks as one file, with its header, and return the number of rows."""
    return (_write_lines if form == "csv" else _write_streams)(parts, path)


def _write_lines(parts: Iterable[bytes], path: Path) -> int:
    rows = 0
    with path.open("wb") as file:
        file.write(CSV_HEADER)
        for lines in parts:
            file.write(lines)
            rows += lines.count(b"\n")
    return rows


def _write_streams(parts: Iterable[bytes], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet

    schema = pa.schema([(COLUMNS[0], pa.string()), *((name, pa.float64()) for name in COLUMNS[1:])])
    tables = map(_decode_stream, parts)
    rows = 0
    with pa.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(tables, CHUNKS_PER_ROW_GROUP)):
            rows += sum(table.num_rows for table in group)
            writer.write_table(pa.concat_tables(group).combine_chunks())
    return rows
