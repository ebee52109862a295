"""Confidence intervals of score differences: Nadeau-Bengio for cross-validation, paired bootstrap for test batches."""

import csv
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from batchyield.modelling.hyperparameter_search import nadeau_bengio_half_width
from batchyield.modelling.metrics import METRIC_DECIMALS


class ScoreDifference(msgspec.Struct, frozen=True):
    """A score minus the baseline's: below zero is better.

    Attributes:
        value: the difference.
        low: lower end of its confidence interval.
        high: upper end; None, as `low`, if the interval is not known.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def noise(self) -> bool | None:
        """Whether chance alone may explain it; None if that is not known."""
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high


def nadeau_bengio_interval(
    value: float, differences: Sequence[float] | None, rows: int, repeats: int, n_folds: int, confidence: float
) -> ScoreDifference:
    """Return the difference of two cross-validated scores with its Nadeau-Bengio interval (corrected resampled t-test).

    The metrics hold no score of a single fold. The variance between folds is that of a mean over `rows / n_folds`
    batches, so it is taken from the differences batch by batch on the test set.

    Args:
        value: the difference of the scores.
        differences: of the cost of each test batch; None if the predictions are not known.
        rows: training batches.
        repeats: of the cross-validation.
        n_folds: of each repeat.
        confidence: of the interval.
    """
    if differences is None or len(differences) < 2:
        return ScoreDifference(round(value, METRIC_DECIMALS))
    variance = float(np.var(differences, ddof=1)) / (rows / n_folds)
    width = nadeau_bengio_half_width(variance, repeats, n_folds, confidence)
    return ScoreDifference(*(round(float(end), METRIC_DECIMALS) for end in (value, value - width, value + width)))


def bootstrap_interval(differences: Sequence[float], resamples: int, confidence: float, seed: int) -> ScoreDifference:
    """Return the mean difference on test batches with its paired bootstrap interval.

    Args:
        differences: of the cost of each batch.
        resamples: draws of as many batches, with replacement.
        confidence: of the interval.
        seed: of the draws.
    """
    apart = np.array(differences)
    drawn = np.random.default_rng(seed).integers(len(apart), size=(resamples, len(apart)))
    low, high = np.quantile(apart[drawn].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return ScoreDifference(*(round(float(value), METRIC_DECIMALS) for value in (apart.mean(), low, high)))


def cost_differences(mine: Path, base: Path) -> list[float] | None:
    """Return the difference of half the squared error of each test batch, or None if the batches are not the same.

    Args:
        mine: `predicted.csv` of one side.
        base: `predicted.csv` of the other.
    """
    costs, others = _costs(mine), _costs(base)
    if not costs or costs.keys() != others.keys():
        return None
    return [cost - others[name] for name, cost in costs.items()]


def _costs(predicted: Path) -> dict[str, float]:
    with predicted.open(encoding="utf-8", newline="") as file:
        return {row["id"]: (float(row["actual"]) - float(row["yields"])) ** 2 / 2 for row in csv.DictReader(file)}
