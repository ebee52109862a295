"""The metrics that the card of a model has: the first rows of `metrics.METRICS`.

Apart from the other metrics, so that a metric added to that table leaves the `train` stage and the model as they are.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from batchyield.modelling.estimators import Array
from batchyield.modelling.train import Predictions
from batchyield.plant.table import TARGET

METRIC_DECIMALS = 9


class Sample(NamedTuple):
    """Measured values, predictions and ends of intervals [..., n]; the first axis of resamples is the resample."""

    measured: Array
    yields: Array
    lower: Array
    upper: Array

    @property
    def error(self) -> Array:
        """Predicted minus measured."""
        return self.yields - self.measured


class Metric(NamedTuple):
    """A metric of predictions.

    Attributes:
        of: returns the metric [...] of a sample [..., n]; it sees the whole sample, so it may be a median.
        better: direction; None: a deviation to either side is worse.
        unit: `target`, `target²`, `share` or empty.
        form: how a value is shown.
    """

    name: str
    of: Callable[[Sample], Any]
    better: Literal["lower", "higher"] | None
    unit: str
    meaning: str
    form: str = ".5f"


def _mean(values: Array) -> Any:
    return values.mean(axis=-1)


def _r2(sample: Sample) -> Any:
    variance = _mean(sample.measured**2) - _mean(sample.measured) ** 2
    known = variance > 10.0 ** (2 * TARGET.order - 12)
    return np.where(known, 1 - _mean(sample.error**2) / np.where(known, variance, 1.0), 0.0)


def _coverage(sample: Sample) -> Any:
    return _mean(((sample.lower <= sample.measured) & (sample.measured <= sample.upper)).astype(float))


CARD_METRICS: tuple[Metric, ...] = (
    Metric("score", lambda s: _mean(s.error**2) / 2, "lower", "target²", "half the mean square error"),
    Metric("rmse", lambda s: np.sqrt(_mean(s.error**2)), "lower", "target", "root of the mean square error"),
    Metric("mae", lambda s: _mean(np.abs(s.error)), "lower", "target", "mean absolute error"),
    Metric("bias", lambda s: _mean(s.error), None, "target", "mean of predicted minus measured", "+.5f"),
    Metric("r2", _r2, "higher", "", "share of the variance explained; 0 if all measured values are equal", form=".3f"),
    Metric("coverage", _coverage, None, "share", "share of measured values inside their interval", form=".3f"),
    Metric("width", lambda s: _mean(s.upper - s.lower), "lower", "target", "mean width of the intervals"),
)


def measure(metrics: Iterable[Metric], measured: Array, answers: Predictions) -> dict[str, float]:
    """Return the metrics of predictions for measured values [n], rounded.

    Raises:
        ValueError: n is 0.
    """
    if not len(measured):
        raise ValueError("no measured values to compare the predictions with")
    sample = Sample(measured, *answers)
    return {metric.name: round(float(metric.of(sample)), METRIC_DECIMALS) for metric in metrics}
