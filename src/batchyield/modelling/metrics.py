"""Metrics of predictions: bootstrap intervals, cross-validation, slices, permutation importance, partial dependence.

All are pure functions of arrays, with the same result on every engine. Every metric is rounded far below its
uncertainty, so that it does not depend on the last bit of a sum.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold

from batchyield.modelling.card_metrics import CARD_METRICS, METRIC_DECIMALS, Metric, Sample, measure
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.params import Params
from batchyield.modelling.train import Predictions, train
from batchyield.parallel.tasks import Engine, in_process
from batchyield.plant.features import FEATURES, GROUPS, INDEX, Features
from batchyield.plant.table import SLICES, TARGET

Predict = Callable[[Matrix], npt.NDArray[np.floating[Any]]]
Rows = npt.NDArray[np.intp]

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


class OnnxModel(Protocol):
    """A model such as `serving.predictor.Predictor`."""

    def predict_matrix(self, values: Matrix) -> Sequence[Sequence[float]]:
        """Return yields, lower and upper ends."""


@dataclass(frozen=True)
class OpenedOnce:
    """Predicts yields by a model that another process opens once, from its bytes: an open session cannot be sent."""

    open: Callable[[bytes], OnnxModel]
    onnx: bytes

    def __call__(self, matrix: Matrix) -> Array:
        """Return the yields [n] of a feature matrix."""
        return np.array(_open(self).predict_matrix(matrix)[0])


@lru_cache(maxsize=1)
def _open(model: OpenedOnce) -> OnnxModel:
    return model.open(model.onnx)


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
    (resampled,) = resample_metrics(measured, [answers], resamples, seed)
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


DRAWN_TOGETHER = 1 << 23
"""Row numbers that are drawn and resampled at a time: some 400 MB."""


def resample_metrics(
    measured: Array, models: Sequence[Predictions], resamples: int, seed: int
) -> list[dict[str, Array]]:
    """Return each metric [resamples] of each model, all on the same rows, drawn with replacement.

    Rows are drawn in parts, which together are the same as if they were drawn at once.
    """
    rng, rows = np.random.default_rng(seed), len(measured)
    together = max(1, DRAWN_TOGETHER // rows)
    parts: list[list[dict[str, Array]]] = [[] for _ in models]
    for start in range(0, resamples, together):
        drawn = rng.integers(rows, size=(min(together, resamples - start), rows))
        for part, answers in zip(parts, models, strict=True):
            sample = Sample(*(column[drawn] for column in (measured, *answers)))
            part.append({metric.name: metric.of(sample) for metric in METRICS})
    return [{name: np.concatenate([some[name] for some in part]) for name in part[0]} for part in parts]


def percentile_intervals(
    values: Mapping[str, float], resampled: Mapping[str, Array], confidence: float
) -> dict[str, Estimate]:
    """Return each value with the percentile interval of its resamples."""
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    return {
        name: Estimate(value, *(round(float(end), METRIC_DECIMALS) for end in np.quantile(resampled[name], ends)))
        for name, value in values.items()
    }


def cross_validate(
    X: Matrix,  # noqa: N803 - as scikit-learn
    y: Array,
    params: Params,
    engine: Engine = in_process,
) -> CrossValidation:
    """Repeat K-fold cross-validation of the whole training, intervals included; each fold is a task."""
    settings = params.evaluation
    cuts = [KFold(settings.folds, shuffle=True, random_state=settings.seed + r) for r in range(settings.repeats)]
    folds = [list(cut.split(X)) for cut in cuts]
    answers = engine(_train_and_predict, (X, y, X, params), [fold for repeat in folds for fold in repeat])
    rounds = []
    for repeat in folds:
        table = np.empty((3, len(y)))
        for _, test in repeat:
            table[:, test] = next(answers)
        rounds.append(Predictions(*table))
    figures = [compute_metrics(y, answers) for answers in rounds]
    return CrossValidation(
        {name: round(float(np.mean([f[name] for f in figures])), METRIC_DECIMALS) for name in figures[0]},
        round(float(np.std([f["score"] for f in figures])), METRIC_DECIMALS),
        np.mean([answers.yields for answers in rounds], axis=0).round(METRIC_DECIMALS).tolist(),
    )


def _train_and_predict(shared: tuple[Matrix, Array, Matrix, Params], rows: tuple[Rows, Rows | slice]) -> Predictions:
    """Return the predictions for some rows of the second matrix after training on some rows of the first."""
    (X, y, other, params), (fit, test) = shared, rows  # noqa: N806
    return train(X[fit], y[fit], params).predict(other[test])


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


def latest_rows(X: Matrix, most: int) -> slice | npt.NDArray[np.intp]:  # noqa: N803
    """Return which rows are the latest by id number, in their order: all if there are at most so many."""
    if len(X) <= most:
        return slice(None)
    number = X[:, INDEX["id_number"]]
    known = np.argsort(number, kind="stable")[: int(np.isfinite(number).sum())]  # NaN comes last
    return np.sort(known[-most:])


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
        order = np.argsort(column, kind="stable")
        found, starts = np.unique(column[order], return_index=True)
        for label, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            part = Predictions(*(side[rows] for side in answers))
            result.append(Slice(aspect, label, len(rows), compute_metrics(measured[rows], part)))
    return result


def learning_curve(
    matrix: Matrix,
    y: Array,
    test_matrix: Matrix,
    test_y: Array,
    params: Params,
    shares: Sequence[float],
    engine: Engine = in_process,
) -> list[tuple[int, dict[str, float]]]:
    """Return (training batches, test metrics) for growing parts of one random order of the training batches."""
    order = np.random.default_rng(params.evaluation.seed).permutation(len(y))
    parts = [np.sort(order[: max(MIN_BATCHES, round(len(y) * share))]) for share in shares]
    rows = [(part, slice(None)) for part in parts]
    curve = engine(_train_and_predict, (matrix, y, test_matrix, params), rows)
    return [(len(part), compute_metrics(test_y, answers)) for part, answers in zip(parts, curve, strict=True)]


def feature_blocks() -> dict[str, list[int]]:
    """Return each feature as a block, for `permutation_importance`."""
    return {feature.name: [i] for i, feature in enumerate(FEATURES)}


def group_blocks() -> dict[str, list[int]]:
    """Return the features of each group as a block, for `permutation_importance`."""
    return {group: [i for i, feature in enumerate(FEATURES) if feature.group == group] for group in GROUPS}


def permutation_importance(
    predict: Predict,
    matrix: Matrix,
    y: Array,
    blocks: Mapping[str, Sequence[int]],
    repeats: int,
    seed: int,
    engine: Engine = in_process,
) -> dict[str, float]:
    """Return how much `score` grows when the columns of a block are shuffled together; most important first.

    Each block is a task. `predict` goes to other processes with it: a function of a module, or `OpenedOnce`.
    """
    rng = np.random.default_rng(seed)
    base = float(np.mean((predict(matrix) - y) ** 2)) / 2
    # Drawn here and in the order of the blocks, so that the orders do not depend on who uses them.
    items = ((list(block), [rng.permutation(len(y)) for _ in range(repeats)]) for block in blocks.values())
    grown = engine(_score_lost, (predict, matrix, y, base), items)
    lost = {name: round(value, METRIC_DECIMALS) for name, value in zip(blocks, grown, strict=True)}
    return dict(sorted(lost.items(), key=lambda item: (-item[1], item[0])))


def _score_lost(shared: tuple[Predict, Matrix, Array, float], item: tuple[list[int], list[Rows]]) -> float:
    """Return the mean growth of the score when the columns of a block are in other orders."""
    (predict, matrix, y, base), (block, orders) = shared, item
    total = 0.0
    for order in orders:
        shuffled = matrix.copy()
        shuffled[:, block] = matrix[:, block][order]
        total += float(np.mean((predict(shuffled) - y) ** 2)) / 2 - base
    return total / len(orders)


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
