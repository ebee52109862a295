"""Error of the model in service against the promise of its card, from measured yields.

A figure counts as worse if there are enough outcomes, chance does not explain the difference, and it is large enough
to matter.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from batchyield.monitoring.drift_tests import MONITORING_DECIMALS
from batchyield.monitoring.drift_window import DriftVerdict

MIN_OUTCOMES = 50
"""Outcomes needed for a verdict: with 50, a coverage of 90 % is known to about nine points."""

Z_95 = 1.959964
"""Normal quantile of the 95 % confidence limits in the report."""

Z_FALSE_ALARM = 2.935199
"""Normal quantile for 1 %, two-sided, over three figures (Bonferroni): the most that any false alarm may take."""

MAE_LIMIT, BIAS_LIMIT, COVERAGE_LIMIT = 0.1, 0.25, 0.03
"""Smallest differences that matter: MAE and bias relative to the promised MAE, coverage as a share."""


class EstimateWithLimits(msgspec.Struct, frozen=True):
    """A figure with its 95 % confidence limits."""

    value: float
    lower: float
    upper: float


class LiveError(msgspec.Struct, frozen=True):
    """Predictions against outcomes; all figures are in the unit of the target, coverages are shares."""

    outcomes: Annotated[int, Meta(description="batches with a prediction of this model and an outcome")]
    needed: Annotated[int, Meta(description="outcomes needed for a verdict")]
    verdict: Annotated[DriftVerdict, Meta(description="`steady`: as promised; `drifted`: worse; `too few` outcomes")]
    worse: Annotated[tuple[str, ...], Meta(description="which of `mae`, `bias`, `coverage` are worse than promised")]
    mae: Annotated[EstimateWithLimits | None, Meta(description="mean absolute error; null without outcomes")]
    mae_promised: Annotated[float | None, Meta(description="mean absolute error on held-out batches, from the card")]
    bias: Annotated[EstimateWithLimits | None, Meta(description="mean of predicted less measured")]
    coverage: Annotated[EstimateWithLimits | None, Meta(description="share of outcomes inside their interval")]
    level: Annotated[float, Meta(description="nominal coverage of the intervals")]
    mae_alone: Annotated[
        EstimateWithLimits | None, Meta(description="`mae` without bias update; null if none was corrected")
    ] = None
    bias_alone: Annotated[
        EstimateWithLimits | None, Meta(description="`bias` without bias update; null if none was corrected")
    ] = None


def compute_live_error(
    measured: NDArray[np.float64],
    predicted: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    promised: Mapping[str, float],
    level: float,
    alone: NDArray[np.float64] | None = None,
) -> LiveError:
    """Compare predictions and their intervals with measured yields [n] of the same batches, all as fractions.

    `promised` and `level` are the metrics and the nominal coverage of the model's card; `alone` are the predictions
    of the model without bias update, None if they are the same.
    """
    n, mae_promised = len(measured), promised.get("mae")
    if not n:
        return LiveError(0, MIN_OUTCOMES, DriftVerdict.TOO_FEW, (), None, mae_promised, None, None, level)
    error = predicted - measured
    hits = int(((lower <= measured) & (measured <= upper)).sum())
    worse = tuple(_find_worse(error, hits, mae_promised, level)) if n >= MIN_OUTCOMES else ()
    verdict = DriftVerdict.TOO_FEW if n < MIN_OUTCOMES else DriftVerdict.DRIFTED if worse else DriftVerdict.STEADY
    mae, bias = _estimate_mean(np.abs(error), Z_95), _estimate_mean(error, Z_95)
    coverage = wilson_interval(hits, n, Z_95)
    mae_alone = bias_alone = None
    if alone is not None:
        mae_alone, bias_alone = _estimate_mean(np.abs(alone - measured), Z_95), _estimate_mean(alone - measured, Z_95)
    return LiveError(n, MIN_OUTCOMES, verdict, worse, mae, mae_promised, bias, coverage, level, mae_alone, bias_alone)


def wilson_interval(hits: int, n: int, z: float) -> EstimateWithLimits:
    """Return the share `hits / n` with its Wilson score interval (Wilson 1927), which is valid near 0 and 1 too.

    There is at least one trial; `z` is the normal quantile of the confidence level.
    """
    share, weight = hits / n, z * z / n
    center = (share + weight / 2) / (1 + weight)
    half_width = z / (1 + weight) * (share * (1 - share) / n + weight / (4 * n)) ** 0.5
    return _round(share, max(0.0, center - half_width), min(1.0, center + half_width))


def _find_worse(error: NDArray[np.float64], hits: int, mae_promised: float | None, level: float) -> list[str]:
    worse = []
    coverage = wilson_interval(hits, len(error), Z_FALSE_ALARM)
    if mae_promised is not None:
        mae, bias = _estimate_mean(np.abs(error), Z_FALSE_ALARM), _estimate_mean(error, Z_FALSE_ALARM)
        if mae.lower > mae_promised and mae.value >= (1 + MAE_LIMIT) * mae_promised:
            worse.append("mae")
        if bias.lower * bias.upper > 0 and abs(bias.value) >= BIAS_LIMIT * mae_promised:
            worse.append("bias")
    if coverage.upper < level and coverage.value <= level - COVERAGE_LIMIT:
        worse.append("coverage")
    return worse


def _estimate_mean(values: NDArray[np.float64], z: float) -> EstimateWithLimits:
    mean, n = float(values.mean()), len(values)
    half_width = z * float(values.std(ddof=1)) / n**0.5 if n > 1 else 0.0
    return _round(mean, mean - half_width, mean + half_width)


def _round(value: float, lower: float, upper: float) -> EstimateWithLimits:
    return EstimateWithLimits(*(round(figure, MONITORING_DECIMALS) for figure in (value, lower, upper)))
