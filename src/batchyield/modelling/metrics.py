"""Metrics of predictions, their bootstrap intervals, and what they depend on. Pure functions of arrays.

Every metric is rounded far below its own uncertainty, so that it does not depend on the last bit of a sum.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold

from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.params import Params
from batchyield.modelling.train import Predictions, train
from batchyield.plant.features import FEATURES, INDEX, Features

METRIC_DECIMALS = 9
SMALLEST_PART = 50
"""Batches that a learning curve starts with at the least."""


class Estimate(msgspec.Struct, frozen=True):
    """A figure and its bootstrap confidence interval."""

    value: float
    low: float
    high: float


class Slice(msgspec.Struct, frozen=True):
    """The figures of some of the batches: those whose `by` is `label`."""

    by: str
    label: str
    rows: int
    figures: dict[str, float]


class CrossValidation(msgspec.Struct, frozen=True):
    """Repeated K-fold cross-validation.

    Attributes:
        figures: over all batches, mean of the repeats.
        spread: standard deviation of `score` between repeats: what the cut alone can change.
        yields: out-of-fold answers [n], mean of the repeats.
    """

    figures: dict[str, float]
    spread: float
    yields: list[float]


def row_terms(measured: Array, answers: Predictions) -> dict[str, Array]:
    """The row-wise terms [n] whose means make every figure."""
    error = answers.yields - measured
    return {
        "square": error**2,
        "absolute": np.abs(error),
        "error": error,
        "yield": measured,
        "yield_square": measured**2,
        "hit": ((answers.lower <= measured) & (measured <= answers.upper)).astype(float),
        "width": answers.upper - answers.lower,
    }


def metrics_of_means(means: Mapping[str, Any]) -> dict[str, Any]:
    """Figures from means of terms: of all rows, or [resamples] of them at once."""
    variance = means["yield_square"] - means["yield"] ** 2
    known = variance > 1e-12
    return {
        "score": means["square"] / 2,
        "rmse": np.sqrt(means["square"]),
        "mae": means["absolute"],
        "bias": means["error"],
        "r2": np.where(known, 1 - means["square"] / np.where(known, variance, 1.0), 0.0),
        "coverage": means["hit"],
        "width": means["width"],
    }


def compute_metrics(measured: Array, answers: Predictions) -> dict[str, float]:
    """The figures of some answers.

    `score` is half the mean square error; `rmse`, `mae`, `bias` (answered less measured) and `width` (mean of the
    intervals) are yields; `coverage` is the share of measured yields inside their interval; `r2` is 0 where all
    measured yields are alike.

    Raises:
        ValueError: there is no row to judge by.
    """
    if not len(measured):
        raise ValueError("no measured yields to judge the answers by")
    means = {name: term.mean() for name, term in row_terms(measured, answers).items()}
    return {name: round(float(value), METRIC_DECIMALS) for name, value in metrics_of_means(means).items()}


def bootstrap(
    measured: Array, answers: Predictions, resamples: int, confidence: float, seed: int
) -> dict[str, Estimate]:
    """The figures with percentile intervals: how much another draw of as many test batches would change them."""
    resampled = resample_metrics(measured, answers, draw_resamples(len(measured), resamples, seed))
    return percentile_intervals(compute_metrics(measured, answers), resampled, confidence)


def draw_resamples(rows: int, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    """Row numbers [resamples, rows] drawn with replacement."""
    return np.random.default_rng(seed).integers(rows, size=(resamples, rows))


def resample_metrics(measured: Array, answers: Predictions, drawn: npt.NDArray[np.int64]) -> dict[str, Array]:
    """The figures [resamples] of each draw of rows."""
    return metrics_of_means({name: term[drawn].mean(axis=1) for name, term in row_terms(measured, answers).items()})


def percentile_intervals(
    values: Mapping[str, float], resampled: Mapping[str, Array], confidence: float
) -> dict[str, Estimate]:
    """Each value with the percentile interval of its resamples."""
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    return {
        name: Estimate(value, *(round(float(end), METRIC_DECIMALS) for end in np.quantile(resampled[name], ends)))
        for name, value in values.items()
    }


def cross_validate(X: Matrix, y: Array, params: Params) -> CrossValidation:  # noqa: N803 - as scikit-learn
    """Train on all folds but one, intervals included, and judge on the one: every batch, `repeats` times."""
    rounds = [_folded(X, y, params, params.evaluation.seed + r) for r in range(params.evaluation.repeats)]
    figures = [compute_metrics(y, answers) for answers in rounds]
    return CrossValidation(
        {name: round(float(np.mean([f[name] for f in figures])), METRIC_DECIMALS) for name in figures[0]},
        round(float(np.std([f["score"] for f in figures])), METRIC_DECIMALS),
        np.mean([answers.yields for answers in rounds], axis=0).round(METRIC_DECIMALS).tolist(),
    )


def _folded(X: Matrix, y: Array, params: Params, seed: int) -> Predictions:  # noqa: N803
    table = np.empty((3, len(y)))
    for fit, test in KFold(params.evaluation.folds, shuffle=True, random_state=seed).split(X):
        table[:, test] = train(X[fit], y[fit], params).predict(X[test])
    return Predictions(*table)


def evaluate_forward(X: Matrix, y: Array, params: Params, share: float) -> dict[str, float]:  # noqa: N803
    """Train on the earlier batches by id number and judge on the latest `share` of them: what a deployed model meets.

    Batches without a number in their id are left out; there are no figures if fewer than `SMALLEST_PART` remain.
    """
    number = X[:, INDEX["id_number"]]
    rows = int(np.isfinite(number).sum())
    if rows < SMALLEST_PART:
        return {}
    order = np.argsort(number, kind="stable")[:rows]  # NaN comes last
    earlier, latest = np.split(order, [rows - round(rows * share)])
    return compute_metrics(y[latest], train(X[earlier], y[earlier], params).predict(X[latest]))


def slice_labels(features: Features) -> dict[str, list[str]]:
    """What to slice by: for each aspect, one label [n] a batch, from its features alone."""
    values = features.values
    number = values[:, INDEX["id_number"]]
    spins = 3 - values[:, INDEX["B10_missing"]] - values[:, INDEX["B11_missing"]]
    period = [f"{int(n) // 200 * 200:04d}-{int(n) // 200 * 200 + 199:04d}" if n == n else "unknown" for n in number]
    charge = ["unknown" if a == "nan" else f"{a} kg" for a in (f"{v:g}" for v in values[:, INDEX["A1"]])]
    return {
        "period": period,
        "spins": [f"{int(n)}" for n in spins],
        "charge": charge,
        "reagent": ["A2" if missing == 0 else "A3" for missing in values[:, INDEX["A2_missing"]]],
        "cells": ["warned" if warnings else "clean" for warnings in features.warnings],
    }


def slice_metrics(measured: Array, answers: Predictions, by: Mapping[str, Sequence[str]]) -> list[Slice]:
    """The figures of every label of every aspect, sorted by label."""
    found = []
    for aspect, given in by.items():
        column = np.array(given)
        for label in sorted(set(given)):
            rows = column == label
            part = Predictions(*(side[rows] for side in answers))
            found.append(Slice(aspect, label, int(rows.sum()), compute_metrics(measured[rows], part)))
    return found


def learning_curve(
    X: Matrix,  # noqa: N803
    y: Array,
    X_test: Matrix,  # noqa: N803
    y_test: Array,
    params: Params,
    shares: Sequence[float],
) -> list[tuple[int, dict[str, float]]]:
    """Figures on the test batches after training on ever larger parts of one random order of the training batches."""
    order = np.random.default_rng(params.evaluation.seed).permutation(len(y))
    curve = []
    for share in shares:
        part = np.sort(order[: max(SMALLEST_PART, round(len(y) * share))])
        curve.append((len(part), compute_metrics(y_test, train(X[part], y[part], params).predict(X_test))))
    return curve


def feature_blocks() -> dict[str, list[int]]:
    """Every feature as a block of its own, for `importance`."""
    return {feature.name: [i] for i, feature in enumerate(FEATURES)}


def group_blocks() -> dict[str, list[int]]:
    """The features of each group as a block, for `importance`: what the model loses when a whole group is noise."""
    blocks: dict[str, list[int]] = {}
    for i, feature in enumerate(FEATURES):
        blocks.setdefault(feature.group, []).append(i)
    return blocks


def permutation_importance(
    predict: Callable[[Matrix], npt.NDArray[np.floating[Any]]],
    X: Matrix,  # noqa: N803
    y: Array,
    blocks: Mapping[str, Sequence[int]],
    repeats: int,
    seed: int,
) -> dict[str, float]:
    """How much `score` grows when the columns of a block are shuffled together; most important first."""
    rng = np.random.default_rng(seed)
    base = float(np.mean((predict(X) - y) ** 2)) / 2
    grown: dict[str, float] = {}
    for name, block in blocks.items():
        total = 0.0
        for _ in range(repeats):
            shuffled = X.copy()
            shuffled[:, block] = X[:, block][rng.permutation(len(y))]
            total += float(np.mean((predict(shuffled) - y) ** 2)) / 2 - base
        grown[name] = round(total / repeats, METRIC_DECIMALS)
    return dict(sorted(grown.items(), key=lambda item: (-item[1], item[0])))


RANGE = (0.025, 0.975)
"""Quantiles between which a feature is moved: beyond them are slips of the key and few batches."""


class Effect(NamedTuple):
    """The mean answer [yield] with a feature set to a value in its own unit."""

    feature: str
    value: float
    mean: float


def partial_dependence(
    predict: Callable[[Matrix], npt.NDArray[np.floating[Any]]],
    X: Matrix,  # noqa: N803 - as scikit-learn
    features: Sequence[str],
    points: int = 20,
) -> list[Effect]:
    """The mean answer over a feature matrix [n, k] for values of each feature, all other columns as they are.

    The values are quantiles that occur, evenly spaced in rank and each once, so a flag has its two and a feature that
    never varies one. A batch in which the feature is missing is left out of its mean: a blank is another recipe, and
    what the recipe would do with a number there nobody has seen. A feature that is missing everywhere has no effect
    to show. Features derived from one another (B14 and B14/A1) are moved one at a time, as the model sees them.

    Args:
        predict: feature matrix -> yields.
        X: batches to average over.
        features: names, in the order of the result.
        points: values of each feature at the most.

    Raises:
        KeyError: there is no feature of that name.
    """
    found = []
    for name in features:
        column = X[:, INDEX[name]]
        moved = X[~np.isnan(column)]
        if not len(moved):
            continue
        for value in np.unique(np.quantile(moved[:, INDEX[name]], np.linspace(*RANGE, points), method="nearest")):
            moved[:, INDEX[name]] = value
            found.append(Effect(name, float(f"{value:.6g}"), round(float(np.mean(predict(moved))), METRIC_DECIMALS)))
    return found
