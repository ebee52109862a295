"""Readings -> feature matrix: one stateless function for training and serving.

All features are always computed, in one fixed order; a model selects its columns by group, inside itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from batchyield.batch import Batch, CellWarning
from batchyield.features.catalogue import FEATURES, GROUPS, INDEX, Feature
from batchyield.features.repair import KINDS
from batchyield.features.row import id_number, row

__all__ = ["FEATURES", "GROUPS", "INDEX", "KINDS", "Feature", "Features", "featurize", "id_number"]


class Features(NamedTuple):
    """What `featurize` returns.

    Attributes:
        values: float32 [n, len(FEATURES)], C order; NaN = missing, never infinite.
        warnings: for each batch, the cells that were repaired or taken as missing.
    """

    values: npt.NDArray[np.float32]
    warnings: list[tuple[CellWarning, ...]]


def featurize(batches: Sequence[Batch]) -> Features:
    """Compute every feature of every batch; one row in, one row out, in order. Never raises for a bad cell."""
    rows = [row(batch) for batch in batches]
    values = np.array([values for values, _ in rows], dtype=np.float32).reshape(len(rows), len(FEATURES))
    return Features(values, [warnings for _, warnings in rows])
