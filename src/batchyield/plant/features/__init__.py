"""Feature matrix of batches: one stateless function for training and serving.

All features are always computed, in one fixed order; a model selects its columns by group, inside itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from batchyield.plant.batch import Batch, CellWarning
from batchyield.plant.features.catalogue import FEATURES, INDEX
from batchyield.plant.features.matrix import CELL_NAMES, Counts, compute_columns, id_number
from batchyield.plant.features.plausibility import WARNING_KINDS
from batchyield.plant.features.single_row import compute_row
from batchyield.plant.table import GROUPS

__all__ = ["CELL_NAMES", "FEATURES", "GROUPS", "INDEX", "WARNING_KINDS", "Counts", "Features", "featurize", "id_number"]


class Features(NamedTuple):
    """Features of some batches.

    Attributes:
        values: float32 [n, len(FEATURES)], C order; NaN = missing, never infinite.
        warnings: the repaired or missing cells of each batch.
        blanks: blank cells of each reading, in the order of `CELL_NAMES` [len(CELL_NAMES)].
    """

    values: npt.NDArray[np.float32]
    warnings: list[tuple[CellWarning, ...]]
    blanks: Counts


CHUNK_ROWS = 256
"""Batches processed together: intermediate arrays fit in the processor's cache."""


def featurize(batches: Sequence[Batch]) -> Features:
    """Return all features of all batches, one row per batch in order. A bad cell gives a warning, never an error."""
    if len(batches) == 1 and (row := compute_row(batches[0])):
        return Features(row[0], [row[1]], row[2])
    values = np.empty((len(batches), len(FEATURES)), dtype=np.float32)
    warnings: list[tuple[CellWarning, ...]] = []
    blanks = np.zeros(len(CELL_NAMES), dtype=np.int64)
    for start in range(0, len(batches), CHUNK_ROWS):
        columns, warned, empty = compute_columns(batches[start : start + CHUNK_ROWS])
        values[start : start + CHUNK_ROWS] = columns.T
        warnings += warned
        blanks += empty
    return Features(values, warnings, blanks)
