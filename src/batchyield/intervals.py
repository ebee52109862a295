"""Conformal prediction intervals: how wide they must be to hold a given share of yields.

Residuals are out of fold: each training batch is predicted by a model that has not seen it. A shallow tree on their
size finds the groups of batches that are harder to predict than others, and each group gets the width its own
residuals ask for. The answers come from the model fitted on all batches, which is no worse than those of the folds.
"""

from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor

from batchyield.estimators import Array, Matrix
from batchyield.model import YieldModel
from batchyield.params import IntervalsParams

MOST_GROUPS = 4


class Intervals(NamedTuple):
    """Half widths by group.

    Attributes:
        groups: a fitted tree on the model's columns, whose leaves are the groups and hold the half width [yield].
        columns: the features the tree sees.
        level: share of yields the interval is to hold.
    """

    groups: DecisionTreeRegressor
    columns: list[int]
    level: float

    def half_width(self, X: Matrix) -> Array:  # noqa: N803 - as scikit-learn
        """Half widths [n] for the whole feature matrix."""
        return np.asarray(self.groups.predict(X[:, self.columns]))


def out_of_fold(model: YieldModel, X: Matrix, y: Array, folds: int, seed: int) -> Array:  # noqa: N803
    """Predictions [n], each by a copy of the model that was fitted without the batch's fold."""
    predicted = np.empty(len(y))
    for train, test in KFold(folds, shuffle=True, random_state=seed).split(X):
        predicted[test] = clone(model).fit(X[train], y[train]).predict(X[test])
    return predicted


def quantile(residuals: Array, level: float) -> float:
    """The conformal quantile: the k-th smallest, k = ceil((n + 1) level), the largest where that is beyond n."""
    k = int(np.ceil((len(residuals) + 1) * level - 1e-9))
    return float(np.sort(residuals)[min(k, len(residuals)) - 1])


def calibrate(model: YieldModel, X: Matrix, y: Array, params: IntervalsParams) -> Intervals:  # noqa: N803
    """Find groups and widths from out-of-fold residuals of the (unfitted) model on the training batches."""
    size = np.abs(y - out_of_fold(model, X, y, params.folds, params.seed))
    seen = X[:, model.columns]
    groups = DecisionTreeRegressor(
        criterion="squared_error",
        max_leaf_nodes=MOST_GROUPS,
        min_samples_leaf=min(params.smallest_group, len(y)),
        random_state=0,
    ).fit(seen, np.minimum(size, quantile(size, params.level)))
    leaf = groups.apply(seen)
    for node in np.unique(leaf):
        # Rounded up to a grid: the width is a number a reader can quote.
        groups.tree_.value[node, 0, 0] = np.ceil(quantile(size[leaf == node], params.level) * 1e5) / 1e5
    return Intervals(groups, list(model.columns), params.level)
