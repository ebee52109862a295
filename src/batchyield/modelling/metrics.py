"""Metrics of predictions: bootstrap intervals, cross-validation, slices, permutation importance, partial dependence.

All are pure functions of arrays. Every metric is rounded far below its uncertainty, so that it does not depend on the
last bit of a sum.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold

from batchyield.modelling.card_metrics import CARD_METRICS, METRIC_DECIMALS, Metric, Sample, measure
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.params import Params
from batchyield.modelling.train import Predictions, train
from batchyield.plant.features import FEATURES, GROUPS, INDEX, Features
from batchyield.plant.table import SLICES, TARGET

Predict = Callable[[Matrix], npt.NDArray[np.floating[Any]]]

SCORE_DECIMALS = 5
"""Of a score in `TARGET.score_unit`: as many digits as other metrics have."""
MIN_BATCHES = 50
"""Fewest batches for forward metrics and for the first point of a learning curve."""


class Estimate(msgspec.Struct, frozen=True):
    """A metric and its bootstrap confidence interval."""

    value: float
    low: float
    high: float


class Slice(msgspec.Struct, frozen=True):
    """Metrics of the batches whose label of the aspect `by` is `label`."""

    by: str
    label: str
    rows: int
    figures: dict[str, float]


class CrossValidation(msgspec.Struct, frozen=True):
    """Repeated K-fold cross-validation.

    Attributes:
        figures: metrics over all batches, mean of the repeats.
        spread: standard deviation of `score` between repeats, which differ only in their folds.
        yields: out-of-fold predictions [n], mean of the repeats.
    """

    figures: dict[str, float]
    spread: float
    yields: list[float]


METRICS: tuple[Metric, ...] = CARD_METRICS
"""All metrics: to add one, add a row. Gate, report, charts, replays and confidence intervals take them from here."""

SQUARED = {metric.name for metric in METRICS if metric.unit == "target²"}
"""Metrics that the files have in `TARGET.score_unit`."""

BETTER = {metric.name: metric.better for metric in METRICS if metric.better is not None}


def compute_metrics(measured: Array, answers: Predictions) -> dict[str, float]:
    """Return all metrics of predictions for measured values [n].

    Raises:
        ValueError: n is 0.
    """
    return measure(METRICS, measured, answers)


def bootstrap(
    measured: Array, answers: Predictions, resamples: int, confidence: float, seed: int
) -> dict[str, Estimate]:
    """Return the metrics with bootstrap percentile intervals over the test batches."""
    resampled = resample_metrics(measured, answers, draw_resamples(len(measured), resamples, seed))
    return percentile_intervals(compute_metrics(measured, answers), resampled, confidence)


def in_file_units(figures: Mapping[str, float]) -> dict[str, float]:
    """Return metrics as `data/metrics/` has them: scores in `TARGET.score_unit`, whose digits matter."""
    return {name: _in_file_unit(name, value) for name, value in figures.items()}


def estimates_in_file_units(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return metrics with their intervals as `data/metrics/` has them."""
    return {
        name: Estimate(*(_in_file_unit(name, end) for end in (made.value, made.low, made.high)))
        for name, made in estimates.items()
    }


def _in_file_unit(name: str, value: float) -> float:
    squared = name.partition("_")[0] in SQUARED  # score_spread and score_lost are differences of scores
    return round(value * TARGET.score_factor, SCORE_DECIMALS) if squared else value


def draw_resamples(rows: int, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    """Return row numbers [resamples, rows] drawn with replacement."""
    return np.random.default_rng(seed).integers(rows, size=(resamples, rows))


def resample_metrics(measured: Array, answers: Predictions, drawn: npt.NDArray[np.int64]) -> dict[str, Array]:
    """Return each metric [resamples] for row numbers from `draw_resamples`."""
    sample = Sample(*(column[drawn] for column in (measured, *answers)))
    return {metric.name: metric.of(sample) for metric in METRICS}


def percentile_intervals(
    values: Mapping[str, float], resampled: Mapping[str, Array], confidence: float
) -> dict[str, Estimate]:
    """Return each value with the percentile interval of its resamples."""
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    return {
        name: Estimate(value, *(round(float(end), METRIC_DECIMALS) for end in np.quantile(resampled[name], ends)))
        for name, value in values.items()
    }


def cross_validate(X: Matrix, y: Array, params: Params) -> CrossValidation:  # noqa: N803 - as scikit-learn
    """Repeat K-fold cross-validation of the whole training, intervals included."""
    rounds = []
    for repeat in range(params.evaluation.repeats):
        table = np.empty((3, len(y)))
        folds = KFold(params.evaluation.folds, shuffle=True, random_state=params.evaluation.seed + repeat)
        for fit, test in folds.split(X):
            table[:, test] = train(X[fit], y[fit], params).predict(X[test])
        rounds.append(Predictions(*table))
    figures = [compute_metrics(y, answers) for answers in rounds]
    return CrossValidation(
        {name: round(float(np.mean([f[name] for f in figures])), METRIC_DECIMALS) for name in figures[0]},
        round(float(np.std([f["score"] for f in figures])), METRIC_DECIMALS),
        np.mean([answers.yields for answers in rounds], axis=0).round(METRIC_DECIMALS).tolist(),
    )


def evaluate_forward(X: Matrix, y: Array, params: Params, share: float) -> dict[str, float]:  # noqa: N803
    """Return the metrics on the latest `share` of the batches, by id number, after training on the earlier ones.

    Batches without a number in their id are left out; the result is empty if fewer than `MIN_BATCHES` remain.
    """
    number = X[:, INDEX["id_number"]]
    rows = int(np.isfinite(number).sum())
    if rows < MIN_BATCHES:
        return {}
    order = np.argsort(number, kind="stable")[:rows]  # NaN comes last
    earlier, latest = np.split(order, [rows - round(rows * share)])
    return compute_metrics(y[latest], train(X[earlier], y[earlier], params).predict(X[latest]))


def slice_labels(features: Features) -> dict[str, list[str]]:
    """Return the label [n] of each batch for each aspect, from its features alone."""
    labels = {}
    for part in SLICES:
        rows = features.values[:, [INDEX[name] for name in part.of]].tolist()
        labels[part.name] = ["unknown" if np.isnan(row).any() else part.label(*row) for row in rows]
    return labels | {"cells": ["warned" if warnings else "clean" for warnings in features.warnings]}


def slice_metrics(measured: Array, answers: Predictions, by: Mapping[str, Sequence[str]]) -> list[Slice]:
    """Return the metrics of every label of every aspect, sorted by label."""
    result = []
    for aspect, labels in by.items():
        column = np.array(labels)
        for label in sorted(set(labels)):
            rows = column == label
            part = Predictions(*(side[rows] for side in answers))
            result.append(Slice(aspect, label, int(rows.sum()), compute_metrics(measured[rows], part)))
    return result


def learning_curve(
    matrix: Matrix, y: Array, test_matrix: Matrix, test_y: Array, params: Params, shares: Sequence[float]
) -> list[tuple[int, dict[str, float]]]:
    """Return (training batches, test metrics) for growing parts of one random order of the training batches."""
    order = np.random.default_rng(params.evaluation.seed).permutation(len(y))
    curve = []
    for share in shares:
        part = np.sort(order[: max(MIN_BATCHES, round(len(y) * share))])
        curve.append((len(part), compute_metrics(test_y, train(matrix[part], y[part], params).predict(test_matrix))))
    return curve


def feature_blocks() -> dict[str, list[int]]:
    """Return each feature as a block, for `permutation_importance`."""
    return {feature.name: [i] for i, feature in enumerate(FEATURES)}


def group_blocks() -> dict[str, list[int]]:
    """Return the features of each group as a block, for `permutation_importance`."""
    return {group: [i for i, feature in enumerate(FEATURES) if feature.group == group] for group in GROUPS}


def permutation_importance(
    predict: Predict, matrix: Matrix, y: Array, blocks: Mapping[str, Sequence[int]], repeats: int, seed: int
) -> dict[str, float]:
    """Return how much `score` grows when the columns of a block are shuffled together; most important first."""
    rng = np.random.default_rng(seed)
    base = float(np.mean((predict(matrix) - y) ** 2)) / 2
    grown: dict[str, float] = {}
    for name, block in blocks.items():
        total = 0.0
        for _ in range(repeats):
            shuffled = matrix.copy()
            shuffled[:, block] = matrix[:, block][rng.permutation(len(y))]
            total += float(np.mean((predict(shuffled) - y) ** 2)) / 2 - base
        grown[name] = round(total / repeats, METRIC_DECIMALS)
    return dict(sorted(grown.items(), key=lambda item: (-item[1], item[0])))


QUANTILE_RANGE = (0.025, 0.975)
"""Range of a feature in `partial_dependence`: beyond are typing errors and few batches."""


class Effect(NamedTuple):
    """The mean prediction, as a yield, with a feature set to a value in its unit."""

    feature: str
    value: float
    mean: float


def partial_dependence(predict: Predict, matrix: Matrix, features: Sequence[str], points: int = 20) -> list[Effect]:
    """Return the partial dependence of the prediction on each feature.

    The values of a feature are distinct quantiles, evenly spaced in rank. Batches in which it is missing are left out
    of its mean, because a blank marks another recipe; a feature without any value has no result.
    Derived features are varied one at a time, as the model sees them.

    Raises:
        KeyError: a feature does not exist.
    """
    result = []
    for name in features:
        column = matrix[:, INDEX[name]]
        moved = matrix[~np.isnan(column)]
        if not len(moved):
            continue
        quantiles = np.quantile(moved[:, INDEX[name]], np.linspace(*QUANTILE_RANGE, points), method="nearest")
        for value in np.unique(quantiles):
            moved[:, INDEX[name]] = value
            result.append(Effect(name, float(f"{value:.6g}"), round(float(np.mean(predict(moved))), METRIC_DECIMALS)))
    return result
