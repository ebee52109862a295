"""Conformal prediction intervals: how wide they must be to hold a given share of yields.

Residuals are out of fold: each training batch is predicted by a model that has not seen it. They are not symmetric,
and the processes differ in how well they can be predicted, so each group of batches gets a lower and an upper reach
of its own. The answers come from the model fitted on all batches, which is no worse than those of the folds.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.model_selection import KFold

from batchyield.estimators import Array, Matrix
from batchyield.features import INDEX
from batchyield.model import YieldModel
from batchyield.params import IntervalsParams

FLAGS: tuple[int, int] = (INDEX["B10_missing"], INDEX["B11_missing"])
"""How many spins a batch had tells the processes apart; group = first flag + 2 * second flag."""

GROUPS = 4
LEAST, GREATEST = 0.0, 1.1
"""Where every interval ends at the latest: no batch gives less than nothing, or more than a mass balance allows."""


class Intervals(msgspec.Struct, frozen=True):
    """How far the interval reaches from the answer, by group.

    Attributes:
        level: share of yields the interval is to hold.
        below: reach downwards of each group [yield].
        above: reach upwards of each group [yield].
        rows: training batches of each group.
    """

    level: float
    below: tuple[float, ...]
    above: tuple[float, ...]
    rows: tuple[int, ...]

    def around(self, yields: Array, X: Matrix) -> tuple[Array, Array]:  # noqa: N803 - as scikit-learn
        """Lower and upper ends [n] around answers [n] for the whole feature matrix."""
        group = groups(X)
        lower, upper = yields - np.array(self.below)[group], yields + np.array(self.above)[group]
        return np.clip(lower, LEAST, GREATEST), np.clip(upper, LEAST, GREATEST)


def groups(X: Matrix) -> npt.NDArray[np.int64]:  # noqa: N803
    """The group [n] of each row of the whole feature matrix."""
    raised = X[:, FLAGS] > 0.5
    return raised[:, 0] + 2 * raised[:, 1].astype(np.int64)


def out_of_fold(model: YieldModel, X: Matrix, y: Array, folds: int, seed: int) -> Array:  # noqa: N803
    """Predictions [n], each by a copy of the model that was fitted without the batch's fold."""
    predicted = np.empty(len(y))
    for train, test in KFold(folds, shuffle=True, random_state=seed).split(X):
        predicted[test] = clone(model).fit(X[train], y[train]).predict(X[test])
    return predicted


def reach(residuals: Array, tail: float) -> float:
    """The distance that a new residual exceeds with at most probability `tail`: the k-th smallest of n.

    k = ceil((n + 1) (1 - tail)), the largest where that is beyond n; never negative, and rounded up to 5 decimals.
    """
    k = math.ceil((len(residuals) + 1) * (1 - tail) - 1e-9)
    return max(0.0, math.ceil(float(np.sort(residuals)[min(k, len(residuals)) - 1]) * 1e5) / 1e5)


def calibrate(residuals: Array, X: Matrix, params: IntervalsParams) -> Intervals:  # noqa: N803
    """Find the reaches from out-of-fold residuals [n], measured less answered, of the batches of a feature matrix.

    A group with fewer than `smallest_group` batches gets the reaches of all batches together.
    """
    group, tail = groups(X), (1 - params.level) / 2
    parts = [residuals[group == g] for g in range(GROUPS)]
    used = [part if len(part) >= params.smallest_group else residuals for part in parts]
    return Intervals(
        params.level,
        tuple(reach(-part, tail) for part in used),
        tuple(reach(part, tail) for part in used),
        tuple(len(part) for part in parts),
    )
