"""Reads and writes the Parquet tables of the pipeline; equal values give equal bytes."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from batchyield.files import write_atomic
from batchyield.plant.batch import READING_NAMES, Batch


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame as Parquet; the bytes depend only on the values and the library versions."""
    write_atomic(path, format_table(frame))


def format_table(frame: pd.DataFrame) -> bytes:
    """Return the bytes that `write_table` writes."""
    buffer = BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False, compression="zstd")
    return buffer.getvalue()


def read_table(path: Path) -> pd.DataFrame:
    """Return the frame of a file that `write_table` wrote."""
    return parse_table(path.read_bytes())


def parse_table(data: bytes) -> pd.DataFrame:
    """Return the frame of the bytes of such a file."""
    return pd.read_parquet(BytesIO(data), engine="pyarrow")


def to_batches(frame: pd.DataFrame) -> list[Batch]:
    """Return the rows of a frame with `id` and the readings as batches, in order; missing cells are None."""
    columns = {
        name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in ("id", *READING_NAMES)
    }
    return [Batch(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def read_features(path: Path) -> NDArray[np.float32]:
    """Return the feature matrix [n, len(FEATURES)] of a table that the `featurize` stage wrote."""
    matrix = read_table(path).drop(columns="id")
    return np.ascontiguousarray(matrix.to_numpy(dtype=np.float32))
