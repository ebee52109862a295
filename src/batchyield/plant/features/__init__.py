"""Feature matrix of batches: one stateless function for training and serving.

All features are always computed, in one fixed order; a model selects its columns by group, inside itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from batchyield.plant.batch import Batch, CellWarning
from batchyield.plant.features.catalogue import FEATURES, INDEX
from batchyield.plant.features.columns import CELL_NAMES, Columns, Counts, columns_of, id_number
from batchyield.plant.features.matrix import compute_features
from batchyield.plant.features.plausibility import WARNING_KINDS
from batchyield.plant.features.single_row import compute_row
from batchyield.plant.table import GROUPS

__all__ = [
    "CELL_NAMES",
    "FEATURES",
    "GROUPS",
    "INDEX",
    "WARNING_KINDS",
    "Columns",
    "Counts",
    "Features",
    "featurize",
    "featurize_columns",
    "id_number",
]


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


CHUNK_ROWS = 250
"""Batches processed together: intermediate arrays fit in the processor's cache. No power of two, as columns so far
apart share few places in the cache: 256 take twice as long."""

COLUMN_ROWS = 1500
"""The same for columns of a file, where the fixed cost of a call weighs more."""


def featurize(batches: Sequence[Batch]) -> Features:
    """Return all features of all batches, one row per batch in order. A bad cell gives a warning, never an error."""
    if len(batches) == 1 and (row := compute_row(batches[0])):
        return Features(row[0], [row[1]], row[2])
    values = np.empty((len(batches), len(FEATURES)), dtype=np.float32)
    warnings: list[tuple[CellWarning, ...]] = []
    blanks = np.zeros(len(CELL_NAMES), dtype=np.int64)
    for start in range(0, len(batches), CHUNK_ROWS):
        columns = columns_of(batches[start : start + CHUNK_ROWS])
        made, warned = compute_features(columns)
        values[start : start + CHUNK_ROWS] = made.T
        warnings += [tuple(warned[row]) if row in warned else () for row in range(made.shape[1])]
        blanks += columns.count_blanks()
    return Features(values, warnings, blanks)


def featurize_columns(columns: Columns) -> tuple[npt.NDArray[np.float32], dict[int, tuple[CellWarning, ...]]]:
    """Return all features [n, len(FEATURES)] of n batches by column, and the warnings of the rows that have any."""
    rows = len(columns.id_numbers)
    values = np.empty((rows, len(FEATURES)), dtype=np.float32)
    warnings: dict[int, tuple[CellWarning, ...]] = {}
    for start in range(0, rows, COLUMN_ROWS):
        made, warned = compute_features(columns.rows(start, start + COLUMN_ROWS))
        values[start : start + COLUMN_ROWS] = made.T
        warnings |= {start + row: tuple(found) for row, found in warned.items()}
    return values, warnings
