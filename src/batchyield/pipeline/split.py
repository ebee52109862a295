"""Stage `split`: training and test batches, the same for every model."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from batchyield.errors import ContractError, Violation
from batchyield.modelling.params import ForwardSplit, RandomSplit, read_params
from batchyield.modelling.parquet import read_table, write_table
from batchyield.pipeline import run
from batchyield.plant.features import id_number


def main() -> None:
    """Read `data/validated/batches.parquet`; write `data/split/`."""
    frame = read_table(Path("data/validated/batches.parquet"))
    test = held_out(frame["id"].tolist(), read_params().split)
    write_table(Path("data/split/train.parquet"), frame[~test])
    write_table(Path("data/split/test.parquet"), frame[test])


def held_out(ids: Sequence[str], split: RandomSplit | ForwardSplit) -> npt.NDArray[np.bool_]:
    """Return True [n] for the test batches.

    The random split orders batches by a hash of seed and id, so it does not depend on the order of the rows, and most
    test batches stay the same when batches are added.

    Raises:
        ContractError: an id has no number, and the split is forward.
    """
    size = round(len(ids) * split.test_fraction)
    if isinstance(split, RandomSplit):
        key = [hashlib.sha256(f"{split.seed}/{name}".encode()).digest() for name in ids]
        order = sorted(range(len(ids)), key=lambda i: key[i])
    else:
        numbers = [id_number(name) for name in ids]
        missing = [
            Violation(f"row {i}", f"id {ids[i]!r} has no number to order by")
            for i, number in enumerate(numbers)
            if number != number
        ]
        if missing:
            raise ContractError("split.kind forward", missing, "the rows above")
        order = sorted(range(len(ids)), key=lambda i: (-numbers[i], ids[i]))
    mask = np.zeros(len(ids), dtype=bool)
    mask[order[:size]] = True
    return mask


if __name__ == "__main__":
    run(main)
