"""Stage `split`: training and test batches, the same for every model."""

from pathlib import Path

from batchyield.modelling.holdout import held_out
from batchyield.modelling.params import read_params
from batchyield.modelling.parquet import read_table, write_table
from batchyield.pipeline import run


def main() -> None:
    """Read `data/validated/batches.parquet`; write `data/split/`."""
    frame = read_table(Path("data/validated/batches.parquet"))
    test = held_out(frame["id"].tolist(), read_params().split)
    write_table(Path("data/split/train.parquet"), frame[~test])
    write_table(Path("data/split/test.parquet"), frame[test])


if __name__ == "__main__":
    run(main)
