"""Readings -> feature matrix: one stateless function for training and serving.

All features are always computed, in one fixed order; a model selects its columns by group, inside itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from batchyield.plant.batch import Batch, CellWarning
from batchyield.plant.features.catalogue import FEATURES, GROUPS, INDEX, Feature
from batchyield.plant.features.matrix import CELL_NAMES, Counts, id_number, rows
from batchyield.plant.features.plausibility import WARNING_KINDS

__all__ = [
    "CELL_NAMES",
    "FEATURES",
    "GROUPS",
    "INDEX",
    "WARNING_KINDS",
    "Counts",
    "Feature",
    "Features",
    "featurize",
    "id_number",
]


class Features(NamedTuple):
    """What `featurize` returns.

    Attributes:
        values: float32 [n, len(FEATURES)], C order; NaN = missing, never infinite.
        warnings: for each batch, the cells that were repaired or taken as missing.
        blanks: how many batches have no such cell, for each reading in the order of `CELL_NAMES` [len(CELL_NAMES)].
    """

    values: npt.NDArray[np.float32]
    warnings: list[tuple[CellWarning, ...]]
    blanks: Counts


SLICE = 256
"""Batches that are worked on together: what is made of them on the way stays in the processor's cache."""


def featurize(batches: Sequence[Batch]) -> Features:
    """Compute every feature of every batch; one row in, one row out, in order. Never raises for a bad cell."""
    values = np.empty((len(batches), len(FEATURES)), dtype=np.float32)
    warnings: list[tuple[CellWarning, ...]] = []
    blanks = np.zeros(len(CELL_NAMES), dtype=np.int64)
    for start in range(0, len(batches), SLICE):
        made, found, absent = rows(batches[start : start + SLICE])
        values[start : start + SLICE] = made.T
        warnings += found
        blanks += absent
    return Features(values, warnings, blanks)
