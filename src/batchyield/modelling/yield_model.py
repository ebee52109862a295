"""Parameters -> an unfitted model: the mass line, then whatever estimator was chosen."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import ElasticNet, Ridge
from threadpoolctl import threadpool_limits

from batchyield.errors import ParamsError
from batchyield.modelling import model_params
from batchyield.modelling.estimators import Array, FilledTrees, MassLine, Matrix, WinsorLinear
from batchyield.modelling.params import FeaturesParams, TargetParams
from batchyield.plant.features import FEATURES

FEWEST = 10
"""Batches without which there is nothing to learn."""


class YieldModel(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Feature matrix [n, len(FEATURES)] -> yields [n].

    Batches far from the mass line or where it is flat are left out of the training, never out of a score. The members
    learn the yield, or with `on_line` what the line leaves over; the answer is their mean, kept within the limits.

    Args:
        line: unfitted mass line.
        members: unfitted estimators, each on the selected columns.
        columns: which features the members see.
        on_line: whether the members learn the residual of the line.
        outlier: residual [yield] beyond which a training batch is left out.
        lowest: least answer [yield].
        highest: greatest answer [yield].
    """

    def __init__(
        self,
        line: MassLine,
        members: Sequence[Any],
        columns: Sequence[int],
        on_line: bool,
        outlier: float,
        lowest: float,
        highest: float,
    ) -> None:
        self.line = line
        self.members = members
        self.columns = columns
        self.on_line = on_line
        self.outlier = outlier
        self.lowest = lowest
        self.highest = highest

    def fit(self, X: Matrix, y: Array) -> Self:  # noqa: N803 - scikit-learn's names
        """Fit on the whole feature matrix and measured yields [n]."""
        self.line_ = clone(self.line).fit(X, y)
        residual = y - self.line_.predict(X)
        kept = (np.abs(residual) <= self.outlier) & ~self.line_.is_flat(X)
        if kept.sum() < FEWEST:
            raise ParamsError(
                "params.yaml",
                f"$.target: knee {self.line.knee:g} and outlier {self.outlier:g} leave {kept.sum()} of {len(y)} "
                f"batches to learn from; at least {FEWEST} are needed",
            )
        # A column that is blank in all of them says nothing, and histogram boosting cannot bin it.
        self.columns_ = [i for i in self.columns if not np.isnan(X[kept, i]).all()]
        if not self.columns_:
            raise ParamsError("params.yaml", "$.features.groups: no batch to learn from has any of these features")
        target = residual if self.on_line else y
        seen = X[kept][:, self.columns_]
        # Sums of histogram boosting and of BLAS depend on how many threads share them.
        with threadpool_limits(1):
            self.members_ = [clone(member).fit(seen, target[kept]) for member in self.members]
        self.left_out_ = int((~kept).sum())
        return self

    def predict(self, X: Matrix) -> Array:  # noqa: N803
        """Yields [n] for the whole feature matrix."""
        seen = X[:, self.columns_]
        answer = sum(member.predict(seen) for member in self.members_) / len(self.members_)
        if self.on_line:
            answer = answer + self.line_.predict(X)
        return np.asarray(np.clip(answer, self.lowest, self.highest))


def feature_columns(groups: Sequence[str]) -> list[int]:
    """Positions of the features of some groups, in the order of the matrix."""
    return [i for i, feature in enumerate(FEATURES) if feature.group in groups]


def build_model(model: model_params.ModelParams, features: FeaturesParams, target: TargetParams) -> YieldModel:
    """The unfitted model that the parameters describe. Single-threaded and seeded: the same bytes on every machine."""
    on_line = isinstance(model, model_params.LineTreesParams)
    return YieldModel(
        line=MassLine(target.knee),
        members=_members(model),
        columns=feature_columns(features.groups),
        on_line=on_line,
        outlier=target.outlier,
        lowest=target.lowest,
        highest=target.highest,
    )


def _members(model: model_params.ModelParams) -> list[Any]:
    match model:
        case model_params.MeanParams():
            return [DummyRegressor()]
        case model_params.RidgeParams():
            return [WinsorLinear(Ridge(model.alpha, solver="cholesky"), model.winsor)]
        case model_params.ElasticNetParams():
            linear = ElasticNet(model.alpha, l1_ratio=model.l1_ratio, tol=1e-9, max_iter=100_000)
            return [WinsorLinear(linear, model.winsor)]
        case model_params.ExtraTreesParams():
            return [
                ExtraTreesRegressor(
                    model.n_estimators,
                    min_samples_leaf=model.min_samples_leaf,
                    max_features=model.max_features,
                    random_state=model.seed,
                    n_jobs=1,
                )
            ]
        case model_params.GradientBoostingParams():
            trees = GradientBoostingRegressor(
                n_estimators=model.n_estimators,
                learning_rate=model.learning_rate,
                max_depth=model.max_depth,
                min_samples_leaf=model.min_samples_leaf,
                subsample=model.subsample,
                max_features=model.max_features,
                random_state=model.seed,
            )
            return [FilledTrees(trees)]
        case model_params.HistGradientBoostingParams():
            return [
                HistGradientBoostingRegressor(
                    max_iter=model.max_iter,
                    learning_rate=model.learning_rate,
                    max_leaf_nodes=model.max_leaf_nodes,
                    min_samples_leaf=model.min_samples_leaf,
                    l2_regularization=model.l2_regularization,
                    early_stopping=False,
                    random_state=model.seed,
                )
            ]
        case model_params.LineTreesParams():
            given = (model.extra_trees, model.gradient_boosting, model.hist_gradient_boosting)
            return [member for trees in given if trees is not None for member in _members(trees)]
