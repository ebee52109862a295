"""Batches as the pipeline's Parquet tables: same values in, same values out, same bytes."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from batchyield.files import write_atomic
from batchyield.plant.batch import READING_NAMES, Batch


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Writes a frame as Parquet; the bytes depend on the values and the locked library versions alone."""
    buffer = BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False, compression="zstd")
    write_atomic(path, buffer.getvalue())


def read_table(path: Path) -> pd.DataFrame:
    """Reads a frame that `write_table` wrote."""
    return parse_table(path.read_bytes())


def parse_table(data: bytes) -> pd.DataFrame:
    """The same from the bytes of such a file."""
    return pd.read_parquet(BytesIO(data), engine="pyarrow")


def to_batches(frame: pd.DataFrame) -> list[Batch]:
    """The rows of a frame with the columns `id` and the 42 readings as batches, in order; missing cells are None."""
    columns = {
        name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in ("id", *READING_NAMES)
    }
    return [Batch(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def read_features(path: Path) -> NDArray[np.float32]:
    """The feature matrix [n, k] of a table that `featurize` wrote, in the order of `FEATURES`."""
    matrix = read_table(path).drop(columns="id")
    return np.ascontiguousarray(matrix.to_numpy(dtype=np.float32))
