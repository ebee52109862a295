"""Estimators whose fitted numbers are the same on every machine.

The last bits of a BLAS result depend on the kernel that it picks for the CPU. Fitted coefficients are therefore rounded
to a decimal grid before anything is built on them, and predictions are summed without BLAS.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import ElasticNet, Ridge

from batchyield.errors import ParamsError
from batchyield.plant.features.catalogue import LINE_COLUMN, TABLE
from batchyield.plant.table import TARGET

Array = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.floating[Any]]


class MassLine(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Target = intercept + slope * max(line feature, knee), fitted with Huber weights.

    The Huber loss becomes linear at the scale of the target. A yield, for example, is proportional to product mass over
    charge, which trees cannot extrapolate beyond the charges in training.

    Raises:
        ParamsError: the plant has no line feature.
    """

    def __init__(self, knee: float) -> None:
        if LINE_COLUMN is None:
            problem = f"LINE_FEATURE of {TABLE} is None, and a model on the mass line needs one"
            raise ParamsError("params.yaml", f"$.model.kind: {problem}", "choose another model in conf/model")
        self.knee = knee
        self.column = LINE_COLUMN

    def fit(self, X: Matrix, y: Array) -> Self:  # noqa: N803 - scikit-learn's names
        """Fit on the feature matrix [n, k] and yields [n]; a missing line feature counts as the median."""
        ratio = X[:, self.column].astype(np.float64)
        known = ratio[~np.isnan(ratio)]
        self.missing_ = round(float(np.median(known)), 3) if len(known) else self.knee
        q = self._ratio(X)
        slope, intercept = 0.0, float(np.median(y))
        for _ in range(30):
            residual = np.abs(y - intercept - slope * q)
            weight = np.minimum(1.0, TARGET.scale / np.maximum(residual, TARGET.scale))
            total = weight.sum()
            q_mean, y_mean = (weight * q).sum() / total, (weight * y).sum() / total
            spread = (weight * (q - q_mean) ** 2).sum()
            slope = (weight * (q - q_mean) * (y - y_mean)).sum() / spread if spread > 0 else 0.0
            intercept = y_mean - slope * q_mean
        self.slope_, self.intercept_ = round(float(slope), 3 - TARGET.order), round(float(intercept), 4 - TARGET.order)
        return self

    def predict(self, X: Matrix) -> Array:  # noqa: N803
        """Return the yields [n] on the line."""
        return np.asarray(self.intercept_ + self.slope_ * self._ratio(X))

    def is_flat(self, X: Matrix) -> npt.NDArray[np.bool_]:  # noqa: N803
        """Return whether the line feature of each row [n] is below the knee."""
        return np.asarray(X[:, self.column] < self.knee)

    def _ratio(self, X: Matrix) -> Array:  # noqa: N803
        q = X[:, self.column].astype(np.float64)
        return np.maximum(np.where(np.isnan(q), self.missing_, q), self.knee)


class WinsorLinear(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A linear model on features that are median-imputed, clipped at the quantile `winsor` of both ends and scaled."""

    def __init__(self, linear: Ridge | ElasticNet, winsor: float = 0.005) -> None:
        self.linear = linear
        self.winsor = winsor

    def fit(self, X: Matrix, y: Array) -> Self:  # noqa: N803 - scikit-learn's names
        """Fit on a feature matrix [n, k] with NaN where missing, and targets [n]."""
        data = X.astype(np.float64)
        self.median_ = _column_quantile(data, 0.5)
        filled = np.where(np.isnan(data), self.median_, data)
        self.low_ = _column_quantile(filled, self.winsor)
        self.high_ = _column_quantile(filled, 1 - self.winsor)
        # Powers of two: scaling by them is exact.
        spread = np.maximum(self.high_ - self.low_, 2.0**-20)
        self.scale_ = 2.0 ** -np.round(np.frexp(spread)[1])
        fitted = self.linear.fit(self._scaled(data), y)
        self.coef_ = np.round(fitted.coef_, 6 - TARGET.order) + 0.0
        self.intercept_ = round(float(fitted.intercept_), 6 - TARGET.order)
        return self

    def predict(self, X: Matrix) -> Array:  # noqa: N803
        """Return predictions [n]; summed column by column, because BLAS would make the result depend on the CPU."""
        return np.asarray((self._scaled(X.astype(np.float64)) * self.coef_).sum(axis=1) + self.intercept_)

    def _scaled(self, data: Array) -> Array:
        filled = np.where(np.isnan(data), self.median_, data)
        return np.asarray((np.clip(filled, self.low_, self.high_) - self.median_) * self.scale_)


def _column_quantile(data: Array, quantile: float) -> Array:
    """Quantile of the known values of each column, always one of them; 0 for an empty column."""
    columns = (column[~np.isnan(column)] for column in data.T)
    return np.array([np.quantile(c, quantile, method="nearest") if len(c) else 0.0 for c in columns])


class FilledTrees(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Trees without support for missing values; a missing value becomes a number below all others."""

    def __init__(self, trees: Any, fill: float = -1e9) -> None:
        self.trees = trees
        self.fill = fill

    def fit(self, X: Matrix, y: Array) -> Self:  # noqa: N803 - scikit-learn's names
        """Fit on a feature matrix [n, k] with NaN where missing, and targets [n]."""
        self.trees_ = self.trees.fit(self._filled(X), y)
        return self

    def predict(self, X: Matrix) -> Array:  # noqa: N803
        """Return predictions [n]."""
        return np.asarray(self.trees_.predict(self._filled(X)))

    def _filled(self, X: Matrix) -> Matrix:  # noqa: N803
        return np.where(np.isnan(X), np.float32(self.fill), X)
