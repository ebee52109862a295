"""The control chart of predicted yields: means of consecutive batches between limits that a steady plant keeps to."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from batchyield.monitoring.drift_tests import MONITORING_DECIMALS
from batchyield.serving.reference_profile import Subgroups, subgroup_means

LIMIT_SDS = 3.0
"""Limits in standard deviations of a subgroup's mean: Shewhart's, left by chance once in 370 points."""

EWMA_WEIGHT = 0.2
"""Of the newest point in the moving average: a lasting shift of one standard deviation is seen in some ten points."""


class ChartPoint(msgspec.Struct, frozen=True):
    """One subgroup of the chart."""

    mean: Annotated[float, Meta(description="mean predicted yield of the subgroup")]
    average: Annotated[float, Meta(description="exponentially weighted moving average up to here")]
    average_lower: Annotated[float, Meta(description="lower limit of that average here")]
    average_upper: Annotated[float, Meta(description="upper limit of that average here")]
    out: Annotated[bool, Meta(description="whether mean or average is beyond its limits")]


class ControlChart(msgspec.Struct, frozen=True):
    """Means of subgroups of predictions in time order, oldest first."""

    size: Annotated[int, Meta(description="batches in a subgroup")]
    center: Annotated[float, Meta(description="mean of the subgroups in the training")]
    lower: Annotated[float, Meta(description="lower limit of a subgroup's mean")]
    upper: Annotated[float, Meta(description="upper limit of a subgroup's mean")]
    points: Annotated[
        tuple[ChartPoint, ...], Meta(description="the subgroups; batches that fill none yet are left out")
    ]

    @property
    def in_control(self) -> bool:
        """Whether the newest point is within all limits; True where there is none."""
        return not self.points or not self.points[-1].out


def compute_control_chart(steady: Subgroups, yields: NDArray[np.floating]) -> ControlChart | None:
    """Lays the predictions on the limits that the training's own wandering sets.

    Batches of one campaign are alike, so the standard deviation of single yields over the root of the subgroup's size
    would be too narrow: the limits come from the means of the training's subgroups in time order.

    Args:
        steady: of the reference profile.
        yields: predicted, shape [n], oldest first; counted into subgroups from the newest back.

    Returns:
        None where the training had too few batches for limits.
    """
    if steady.sd is None:
        return None
    rest = len(yields) % steady.size
    means = subgroup_means(yields[rest:], steady.size).tolist()
    return ControlChart(
        steady.size,
        steady.mean,
        round(steady.mean - LIMIT_SDS * steady.sd, MONITORING_DECIMALS),
        round(steady.mean + LIMIT_SDS * steady.sd, MONITORING_DECIMALS),
        tuple(_points(means, steady.mean, steady.sd)),
    )


def _points(means: Sequence[float], center: float, sd: float) -> list[ChartPoint]:
    points, average = [], center
    for i, mean in enumerate(means, 1):
        average = EWMA_WEIGHT * mean + (1 - EWMA_WEIGHT) * average
        reach = LIMIT_SDS * sd * (EWMA_WEIGHT / (2 - EWMA_WEIGHT) * (1 - (1 - EWMA_WEIGHT) ** (2 * i))) ** 0.5
        out = abs(mean - center) > LIMIT_SDS * sd or abs(average - center) > reach
        numbers = (mean, average, center - reach, center + reach)
        m, a, lower, upper = (round(number, MONITORING_DECIMALS) for number in numbers)
        points.append(ChartPoint(m, a, lower, upper, out))
    return points
