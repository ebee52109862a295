"""Stage `featurize`: feature matrix of all batches, by the function that the service calls."""

from pathlib import Path

import pandas as pd

from batchyield.modelling.parquet import read_table, to_batches, write_table
from batchyield.pipeline import run
from batchyield.plant.features import FEATURES, featurize


def main() -> None:
    """Read `data/split/`; write `data/features/`, one row per batch in the same order."""
    for part in ("train", "test"):
        frame = read_table(Path(f"data/split/{part}.parquet"))
        matrix = pd.DataFrame(featurize(to_batches(frame)).values, columns=[feature.name for feature in FEATURES])
        matrix.insert(0, "id", frame["id"].to_numpy())
        write_table(Path(f"data/features/{part}.parquet"), matrix)


if __name__ == "__main__":
    run(main)
