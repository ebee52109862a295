"""The yield model: the mass line and the configured estimators."""

from collections.abc import Sequence
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import ElasticNet, Ridge
from threadpoolctl import threadpool_limits

from batchyield.errors import ParamsError
from batchyield.modelling import params
from batchyield.modelling.estimators import Array, FilledTrees, MassLine, Matrix, WinsorLinear
from batchyield.modelling.params import DEFAULT_SAMPLE, FeaturesParams, ModelParams, SampleParams, TargetParams
from batchyield.plant.features import FEATURES

MIN_BATCHES = 10
"""Fewest training batches after the exclusion of outliers."""


class YieldModel(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts yields [n] from a feature matrix [n, len(FEATURES)].

    Outliers from the mass line, and batches where it is flat, are excluded from fitting but always scored. The members
    fit the yield, or its residual from the line if `on_line`; the prediction is their mean, clipped to the limits.

    Args:
        members: unfitted estimators.
        columns: positions of the features that the members use.
        on_line: True if the members fit the residual of the line.
        target: knee of the line, largest residual of a training batch, and limits of a prediction.
        sample: most batches that the members learn from.
    """

    def __init__(
        self,
        members: Sequence[Any],
        columns: Sequence[int],
        on_line: bool,
        target: TargetParams,
        sample: SampleParams,
    ) -> None:
        self.members = members
        self.columns = columns
        self.on_line = on_line
        self.target = target
        self.sample = sample

    def fit(self, X: Matrix, y: Array) -> Self:  # noqa: N803 - scikit-learn's names
        """Fit on the whole feature matrix and measured yields [n].

        Raises:
            ParamsError: too few batches or no features remain.
        """
        kept, residual = np.ones(len(y), np.bool_), y
        if self.target.knee is not None and self.target.outlier is not None:
            self.line_ = MassLine(self.target.knee).fit(X, y)
            residual = y - self.line_.predict(X)
            kept = (np.abs(residual) <= self.target.outlier) & ~self.line_.is_flat(X)
        if kept.sum() < MIN_BATCHES:
            rule = ""
            if self.target.knee is not None:
                rule = f"$.target: knee {self.target.knee:g} and outlier {self.target.outlier:g} leave "
            raise ParamsError(
                "params.yaml",
                f"{rule}{kept.sum()} of {len(y)} batches to learn from; at least {MIN_BATCHES} are needed",
            )
        self.left_out_ = int((~kept).sum())
        usable = np.flatnonzero(kept)
        learned = usable[draw_sample(len(usable), self.sample)]
        # Histogram boosting cannot bin a column without any value.
        self.columns_ = [i for i in self.columns if not np.isnan(X[learned, i]).all()]
        if not self.columns_:
            raise ParamsError("params.yaml", "$.features.groups: no batch to learn from has any of these features")
        target = residual if self.on_line else y
        seen = X[learned][:, self.columns_]
        # The order of sums in histogram boosting and in BLAS depends on the number of threads.
        with threadpool_limits(1):
            self.members_ = [clone(member).fit(seen, target[learned]) for member in self.members]
        return self

    def predict(self, X: Matrix) -> Array:  # noqa: N803
        """Return the predicted yields [n] for the whole feature matrix."""
        seen = X[:, self.columns_]
        answer = sum(member.predict(seen) for member in self.members_) / len(self.members_)
        if self.on_line:
            answer = answer + self.line_.predict(X)
        return np.asarray(np.clip(answer, self.target.lowest, self.target.highest))


def draw_sample(rows: int, sample: SampleParams) -> slice | npt.NDArray[np.intp]:
    """Return which of so many rows are taken: all, or a random sample of the most that may be, in their order."""
    if rows <= sample.batches:
        return slice(None)
    drawn: npt.NDArray[np.intp] = np.random.default_rng(sample.seed).permutation(rows)[: sample.batches]
    return np.sort(drawn)


def feature_columns(groups: Sequence[str]) -> list[int]:
    """Return the positions of the features of some groups."""
    return [i for i, feature in enumerate(FEATURES) if feature.group in groups]


def build_model(
    model: ModelParams, features: FeaturesParams, target: TargetParams, sample: SampleParams = DEFAULT_SAMPLE
) -> YieldModel:
    """Return the configured model, unfitted, single-threaded and seeded: it fits to equal bytes on every machine."""
    on_line = isinstance(model, params.LineTreesParams)
    if on_line and target.knee is None:
        problem = "a model on the mass line needs a knee and an outlier in $.target"
        raise ParamsError("params.yaml", f"$.model.kind: {problem}", "choose another model in conf/model")
    return YieldModel(_members(model), feature_columns(features.groups), on_line, target, sample)


def _members(model: ModelParams) -> list[Any]:
    match model:
        case params.MeanParams():
            return [DummyRegressor()]
        case params.RidgeParams():
            return [WinsorLinear(Ridge(model.alpha, solver="cholesky"), model.winsor)]
        case params.ElasticNetParams():
            linear = ElasticNet(model.alpha, l1_ratio=model.l1_ratio, tol=1e-9, max_iter=100_000)
            return [WinsorLinear(linear, model.winsor)]
        case params.ExtraTreesParams():
            return [ExtraTreesRegressor(**_keywords(model), n_jobs=1)]
        case params.GradientBoostingParams():
            return [FilledTrees(GradientBoostingRegressor(**_keywords(model)))]
        case params.HistGradientBoostingParams():
            return [HistGradientBoostingRegressor(**_keywords(model), early_stopping=False)]
        case params.LineTreesParams():
            kinds = (model.extra_trees, model.gradient_boosting, model.hist_gradient_boosting)
            return [member for trees in kinds if trees is not None for member in _members(trees)]


def _keywords(trees: params.TreesParams) -> dict[str, Any]:
    """The keyword arguments of scikit-learn, which has the same names except for the seed."""
    return {"random_state" if name == "seed" else name: value for name, value in msgspec.structs.asdict(trees).items()}
