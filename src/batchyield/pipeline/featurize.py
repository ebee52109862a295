"""Stage `featurize`: feature matrix of all batches, by the function that the service calls."""

from pathlib import Path

import numpy as np
import pandas as pd

from batchyield.modelling.parquet import read_table, to_batches, write_table
from batchyield.pipeline import run
from batchyield.plant.features import FEATURES, featurize

CHUNK_ROWS = 1 << 14
"""Batches made of rows at a time: as objects they take some 2 KB each."""


def main() -> None:
    """Read `data/split/`; write `data/features/`, one row per batch in the same order."""
    for part in ("train", "test"):
        frame = read_table(Path(f"data/split/{part}.parquet"))
        values = np.empty((len(frame), len(FEATURES)), np.float32)
        for start in range(0, len(frame), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            values[rows] = featurize(to_batches(frame.iloc[rows])).values
        matrix = pd.DataFrame(values, columns=[feature.name for feature in FEATURES])
        matrix.insert(0, "id", frame["id"].to_numpy())
        write_table(Path(f"data/features/{part}.parquet"), matrix)


if __name__ == "__main__":
    run(main)
