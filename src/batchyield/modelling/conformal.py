"""Conformal prediction intervals: how wide they must be to hold a given share of yields.

Residuals are out of fold: each training batch is predicted by a model that has not seen it. They are not symmetric,
and the processes differ in how well they can be predicted, so each group of batches gets a lower and an upper reach
of its own. The answers come from the model fitted on all batches, which is no worse than those of the folds.

Folds drawn at random promise the level for batches from the same time as the training; the plant drifts, and for later
batches only folds that are periods do.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.model_selection import KFold

from batchyield.errors import ParamsError
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.params import IntervalsParams
from batchyield.modelling.yield_model import YieldModel
from batchyield.plant.features import INDEX

FLAGS: tuple[int, int] = (INDEX["B10_missing"], INDEX["B11_missing"])
"""How many spins a batch had tells the processes apart; group = first flag + 2 * second flag."""

GROUPS = 4
ROUNDING = 1e-9
"""What floating point may add to a whole number of residuals."""
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


def make_folds(X: Matrix, params: IntervalsParams) -> list[npt.NDArray[np.intp]]:  # noqa: N803
    """The rows of each fold: drawn at random, or in periods by the number in the id.

    Raises:
        ParamsError: periods are asked for, and a batch has no number.
    """
    if params.cut == "random":
        return [part for _, part in KFold(params.folds, shuffle=True, random_state=params.seed).split(X)]
    number = X[:, INDEX["id_number"]]
    if missing := int(np.isnan(number).sum()):
        raise ParamsError(
            "params.yaml",
            f"$.intervals.cut: periods need a number in every id, and {missing} of {len(X)} have none",
            "put a number that rises with time at the end of every id, or choose intervals=random",
        )
    return np.array_split(np.argsort(number, kind="stable"), params.folds)


def predict_out_of_fold(
    model: YieldModel,
    X: Matrix,  # noqa: N803
    y: Array,
    folds: Sequence[npt.NDArray[np.intp]],
) -> Array:
    """Predictions [n], each by a copy of the model that was fitted without the batch's fold."""
    predicted = np.empty(len(y))
    for part in folds:
        rest = np.setdiff1d(np.arange(len(y)), part)
        predicted[part] = clone(model).fit(X[rest], y[rest]).predict(X[part])
    return predicted


class TooFewResidualsError(ParamsError):
    """Fewer out-of-fold residuals than the level of the intervals needs."""

    def __init__(self, rows: int, tail: float) -> None:
        super().__init__(
            "params.yaml",
            f"$.intervals.level: {rows} training batches cannot promise it; {_least_rows(tail)} are needed",
            "choose a lower level or give more batches",
        )


def conformal_quantile(residuals: Array, tail: float) -> float:
    """Return the split-conformal half width for one side of an interval, rounded up to 5 decimals, never negative.

    Args:
        residuals: out of fold, measured less predicted, as yields [n].
        tail: probability that a new residual may exceed the half width, between 0 and 1.

    Returns:
        The ceil((n + 1) (1 - tail))-th smallest residual, as a yield.

    Raises:
        TooFewResidualsError: n is too small; n >= 1 / tail - 1 is needed.
    """
    if len(residuals) < _least_rows(tail):
        raise TooFewResidualsError(len(residuals), tail)
    k = math.ceil((len(residuals) + 1) * (1 - tail) - ROUNDING)
    return max(0.0, math.ceil(float(np.sort(residuals)[k - 1]) * 1e5) / 1e5)


def _least_rows(tail: float) -> int:
    return math.ceil(1 / tail - 1 - ROUNDING)


def calibrate(residuals: Array, X: Matrix, params: IntervalsParams) -> Intervals:  # noqa: N803
    """Find the reaches from out-of-fold residuals [n], measured less answered, of the batches of a feature matrix.

    A group with fewer than `smallest_group` batches, or too few for the level, gets the reaches of all together.

    Raises:
        TooFewResidualsError: all batches together are too few for the level.
    """
    group, tail = groups(X), (1 - params.level) / 2
    parts = [residuals[group == g] for g in range(GROUPS)]
    least = max(params.smallest_group, _least_rows(tail))
    used = [part if len(part) >= least else residuals for part in parts]
    return Intervals(
        params.level,
        tuple(conformal_quantile(-part, tail) for part in used),
        tuple(conformal_quantile(part, tail) for part in used),
        tuple(len(part) for part in parts),
    )
