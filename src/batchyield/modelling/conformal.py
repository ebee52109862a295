"""Split-conformal prediction intervals.

Residuals are out of fold: each training batch is predicted by a model fitted without it. They are not symmetric, and
some processes are harder to predict, so each group of batches has its own lower and upper half width. Predictions come
from the model fitted on all batches, which is at least as good as those of the folds.

Random folds give the promised coverage for batches from the time of the training. The plant drifts: for later batches,
only folds that are periods in time do.
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
from batchyield.plant.features.catalogue import FLAG_COLUMNS
from batchyield.plant.table import TARGET

Rows = npt.NDArray[np.intp]

PLACES: tuple[int, ...] = tuple(1 << flag for flag in range(len(FLAG_COLUMNS)))
"""Group of a batch = sum of the places of its raised flags."""

GROUPS = 1 << len(FLAG_COLUMNS)
HALF_WIDTHS_PER_UNIT = 10.0 ** (5 - TARGET.order)
RANK_TOLERANCE = 1e-9
"""Floating-point error allowed in the rank of a residual."""


class Intervals(msgspec.Struct, frozen=True):
    """Promised coverage; for each group half widths below and above a prediction, as yields, and training batches."""

    level: float
    below: tuple[float, ...]
    above: tuple[float, ...]
    rows: tuple[int, ...]

    def around(self, yields: Array, X: Matrix) -> tuple[Array, Array]:  # noqa: N803 - as scikit-learn
        """Return lower and upper ends [n] around predictions [n] for the whole feature matrix."""
        group = group_numbers(X)
        lower, upper = yields - np.array(self.below)[group], yields + np.array(self.above)[group]
        return np.clip(lower, *TARGET.limits), np.clip(upper, *TARGET.limits)


def group_numbers(X: Matrix) -> npt.NDArray[np.int64]:  # noqa: N803
    """Return the group [n] of each row of the whole feature matrix."""
    group = np.zeros(len(X), np.int64)
    for column, place in zip(FLAG_COLUMNS, PLACES, strict=True):
        group += place * (X[:, column] > 0.5)
    return group


def make_folds(X: Matrix, params: IntervalsParams) -> list[Rows]:  # noqa: N803
    """Return the row numbers of each fold: random, or periods in time by the number in the id.

    Raises:
        ParamsError: periods are configured, and a batch has no number.
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


def predict_out_of_fold(model: YieldModel, X: Matrix, y: Array, folds: Sequence[Rows]) -> Array:  # noqa: N803
    """Return predictions [n], each by a copy of the model fitted without the fold of the batch."""
    predicted = np.empty(len(y))
    for part in folds:
        rest = np.setdiff1d(np.arange(len(y)), part)
        predicted[part] = clone(model).fit(X[rest], y[rest]).predict(X[part])
    return predicted


class TooFewResidualsError(ParamsError):
    """There are fewer out-of-fold residuals than the level of the intervals needs."""

    def __init__(self, rows: int, tail: float) -> None:
        super().__init__(
            "params.yaml",
            f"$.intervals.level: {rows} training batches cannot promise it; {_least_rows(tail)} are needed",
            "choose a lower level or give more batches",
        )


def conformal_quantile(residuals: Array, tail: float) -> float:
    """Return the split-conformal half width for one side of an interval, rounded up, never negative.

    It is the ceil((n + 1) (1 - tail))-th smallest residual; a new one exceeds it with a probability of at most `tail`.

    Raises:
        TooFewResidualsError: n is too small; n >= 1 / tail - 1 is needed.
    """
    if len(residuals) < _least_rows(tail):
        raise TooFewResidualsError(len(residuals), tail)
    k = math.ceil((len(residuals) + 1) * (1 - tail) - RANK_TOLERANCE)
    return max(0.0, math.ceil(float(np.sort(residuals)[k - 1]) * HALF_WIDTHS_PER_UNIT) / HALF_WIDTHS_PER_UNIT)


def _least_rows(tail: float) -> int:
    return math.ceil(1 / tail - 1 - RANK_TOLERANCE)


def calibrate(residuals: Array, X: Matrix, params: IntervalsParams) -> Intervals:  # noqa: N803
    """Return the half widths for out-of-fold residuals [n] (measured minus predicted) and the feature matrix.

    A group with fewer than `smallest_group` batches, or too few for the level, gets the half widths of all batches.

    Raises:
        TooFewResidualsError: even all batches are too few for the level.
    """
    group, tail = group_numbers(X), (1 - params.level) / 2
    parts = [residuals[group == g] for g in range(GROUPS)]
    least = max(params.smallest_group, _least_rows(tail))
    used = [part if len(part) >= least else residuals for part in parts]
    return Intervals(
        params.level,
        tuple(conformal_quantile(-part, tail) for part in used),
        tuple(conformal_quantile(part, tail) for part in used),
        tuple(len(part) for part in parts),
    )
