"""The error of the model in service, where measured yields came back, against what its card promises.

A verdict takes enough outcomes, a difference that chance does not explain, and one that is large enough to matter.
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
"""Outcomes below which nothing is said: a coverage of 90 % is then known to no more than some nine points."""

Z_95 = 1.959964
"""Of the confidence limits that are told."""

Z_FALSE_ALARM = 2.935199
"""Two-sided 1 % shared by three figures (Bonferroni): the chance of any false alarm is at most that."""

MAE_LIMIT, BIAS_LIMIT, COVERAGE_LIMIT = 0.1, 0.25, 0.03
"""What a difference must reach to matter: of the MAE and of the bias in promised MAEs, of the coverage as a share."""


class EstimateWithLimits(msgspec.Struct, frozen=True):
    """A figure, and the limits between which it lies with 95 % confidence."""

    value: float
    lower: float
    upper: float


class LiveError(msgspec.Struct, frozen=True):
    """Answers against measured yields."""

    outcomes: Annotated[int, Meta(description="batches with an answer of this model and a measured yield")]
    needed: Annotated[int, Meta(description="of them before anything is said")]
    verdict: Annotated[DriftVerdict, Meta(description="`steady`: as promised; `drifted`: worse; `too few` to tell")]
    worse: Annotated[tuple[str, ...], Meta(description="which of `mae`, `bias`, `coverage` are worse than promised")]
    mae: Annotated[EstimateWithLimits | None, Meta(description="mean absolute error; null where there is no outcome")]
    mae_promised: Annotated[float | None, Meta(description="the same on held-out batches, as the card says")]
    bias: Annotated[EstimateWithLimits | None, Meta(description="mean of answered less measured yield")]
    coverage: Annotated[EstimateWithLimits | None, Meta(description="share of measured yields inside their interval")]
    level: Annotated[float, Meta(description="share that the intervals are to hold")]


def compute_live_error(
    measured: NDArray[np.float64],
    yields: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    promised: Mapping[str, float],
    level: float,
) -> LiveError:
    """Judges answers by measured yields.

    Args:
        measured: yields [n] as they came out.
        yields, lower, upper: what was answered [n].
        promised: figures of the model's card.
        level: share that the intervals are to hold, from the card too.
    """
    n, mae_promised = len(measured), promised.get("mae")
    if not n:
        return LiveError(0, MIN_OUTCOMES, DriftVerdict.TOO_FEW, (), None, mae_promised, None, None, level)
    error = yields - measured
    hits = int(((lower <= measured) & (measured <= upper)).sum())
    worse = tuple(_worse(error, hits, mae_promised, level)) if n >= MIN_OUTCOMES else ()
    verdict = DriftVerdict.TOO_FEW if n < MIN_OUTCOMES else DriftVerdict.DRIFTED if worse else DriftVerdict.STEADY
    mae, bias = _mean(np.abs(error), Z_95), _mean(error, Z_95)
    return LiveError(n, MIN_OUTCOMES, verdict, worse, mae, mae_promised, bias, wilson_interval(hits, n, Z_95), level)


def wilson_interval(hits: int, n: int, z: float) -> EstimateWithLimits:
    """A share of `n`, at least 1, with its limits `z` standard errors away (Wilson 1927): sound near 0 and 1 too."""
    share, weight = hits / n, z * z / n
    center = (share + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * (share * (1 - share) / n + weight / (4 * n)) ** 0.5
    return _estimate(share, max(0.0, center - reach), min(1.0, center + reach))


def _worse(error: NDArray[np.float64], hits: int, mae_promised: float | None, level: float) -> list[str]:
    worse = []
    coverage = wilson_interval(hits, len(error), Z_FALSE_ALARM)
    if mae_promised is not None:
        mae, bias = _mean(np.abs(error), Z_FALSE_ALARM), _mean(error, Z_FALSE_ALARM)
        if mae.lower > mae_promised and mae.value >= (1 + MAE_LIMIT) * mae_promised:
            worse.append("mae")
        if bias.lower * bias.upper > 0 and abs(bias.value) >= BIAS_LIMIT * mae_promised:
            worse.append("bias")
    if coverage.upper < level and coverage.value <= level - COVERAGE_LIMIT:
        worse.append("coverage")
    return worse


def _mean(values: NDArray[np.float64], z: float) -> EstimateWithLimits:
    mean, n = float(values.mean()), len(values)
    reach = z * float(values.std(ddof=1)) / n**0.5 if n > 1 else 0.0
    return _estimate(mean, mean - reach, mean + reach)


def _estimate(value: float, lower: float, upper: float) -> EstimateWithLimits:
    return EstimateWithLimits(
        round(value, MONITORING_DECIMALS), round(lower, MONITORING_DECIMALS), round(upper, MONITORING_DECIMALS)
    )
