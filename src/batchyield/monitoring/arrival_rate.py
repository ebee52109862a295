"""Arrival rate: batches predicted per hour or day, the spread of these counts, and gaps."""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from batchyield.monitoring.drift_tests import MONITORING_DECIMALS

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000

HOURLY_UP_TO_US = 3 * DAY_US
"""Windows up to this length are counted by the hour, longer ones by the day."""


class ArrivalRate(msgspec.Struct, frozen=True):
    """Times at which the batches of a window were answered."""

    since: Annotated[int, Meta(description="response to the oldest batch, microseconds since 1970, UTC")]
    until: Annotated[int, Meta(description="response to the newest batch, microseconds since 1970, UTC")]
    per_day: Annotated[float | None, Meta(description="batches per day; null if all came at once")]
    unit: Annotated[str, Meta(description="unit of the counts below: `hour` or `day`")]
    low: Annotated[float | None, Meta(description="5 % quantile of the counts; null if the window is shorter")]
    median: Annotated[float | None, Meta(description="median of the counts")]
    high: Annotated[float | None, Meta(description="95 % quantile of the counts")]
    empty: Annotated[int, Meta(description="units without a batch")]
    dispersion: Annotated[
        float | None, Meta(description="variance over mean of the counts: 1 if batches come independently")
    ]
    longest_gap_seconds: Annotated[float, Meta(description="longest time between two responses")]


def compute_arrival_rate(at_us: NDArray[np.int64]) -> ArrivalRate | None:
    """Return the arrival rate of responses at times [n], ascending, in microseconds since 1970; None without any."""
    if not len(at_us):
        return None
    since, until = int(at_us[0]), int(at_us[-1])
    span = until - since
    unit = HOUR_US if span <= HOURLY_UP_TO_US else DAY_US
    # Counted back from the newest, so that only the oldest unit may be incomplete; it is left out.
    counts = np.bincount((until - at_us) // unit)[: span // unit]
    low = median = high = dispersion = None
    if len(counts):
        low, median, high = (round(float(q), MONITORING_DECIMALS) for q in np.quantile(counts, (0.05, 0.5, 0.95)))
    if len(counts) > 1 and counts.any():
        dispersion = round(float(counts.var(ddof=1) / counts.mean()), MONITORING_DECIMALS)
    per_day = round((len(at_us) - 1) / span * DAY_US, MONITORING_DECIMALS) if span else None
    unit_name, empty = "hour" if unit == HOUR_US else "day", int((counts == 0).sum())
    longest_gap = float(np.diff(at_us).max(initial=0)) / 1e6
    return ArrivalRate(since, until, per_day, unit_name, low, median, high, empty, dispersion, longest_gap)
