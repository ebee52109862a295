"""How often batches are predicted: their counts per hour or day, how even they are, and where they stopped."""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from batchyield.monitoring.drift_tests import MONITORING_DECIMALS

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000

HOURLY_UP_TO_US = 3 * DAY_US
"""A window of no more is counted by the hour."""


class ArrivalRate(msgspec.Struct, frozen=True):
    """When the batches of a window were answered."""

    since: Annotated[int, Meta(description="answer to the oldest batch, in microseconds since 1970, UTC")]
    until: Annotated[int, Meta(description="answer to the newest")]
    per_day: Annotated[float | None, Meta(description="batches a day; null where all came at once")]
    unit: Annotated[str, Meta(description="`hour` or `day`, for the counts below")]
    low: Annotated[float | None, Meta(description="5 % quantile of the counts; null where no unit is whole")]
    median: Annotated[float | None, Meta(description="median of the counts")]
    high: Annotated[float | None, Meta(description="95 % quantile of the counts")]
    empty: Annotated[int, Meta(description="units without a batch")]
    dispersion: Annotated[
        float | None, Meta(description="variance over mean of the counts: 1 where batches come independently")
    ]
    longest_gap_seconds: Annotated[float, Meta(description="longest time between two answers")]


def compute_arrival_rate(at: NDArray[np.int64]) -> ArrivalRate | None:
    """Counts answers.

    Args:
        at: their times [n], ascending, in microseconds.

    Returns:
        None where there is none.
    """
    if not len(at):
        return None
    since, until = int(at[0]), int(at[-1])
    span = until - since
    unit = HOUR_US if span <= HOURLY_UP_TO_US else DAY_US
    # Counted back from the newest, so that the units are whole and the newest one is among them.
    counts = np.bincount((until - at) // unit)[: span // unit]
    low = median = high = dispersion = None
    if len(counts):
        low, median, high = (round(float(q), MONITORING_DECIMALS) for q in np.quantile(counts, (0.05, 0.5, 0.95)))
    if len(counts) > 1 and counts.any():
        dispersion = round(float(counts.var(ddof=1) / counts.mean()), MONITORING_DECIMALS)
    return ArrivalRate(
        since=since,
        until=until,
        per_day=round((len(at) - 1) / span * DAY_US, MONITORING_DECIMALS) if span else None,
        unit="hour" if unit == HOUR_US else "day",
        low=low,
        median=median,
        high=high,
        empty=int((counts == 0).sum()),
        dispersion=dispersion,
        longest_gap_seconds=float(np.diff(at).max(initial=0)) / 1e6,
    )
