"""Control chart of predicted yields: Shewhart limits and an exponentially weighted moving average (EWMA)."""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from batchyield.monitoring.drift_tests import MONITORING_DECIMALS
from batchyield.serving.reference_profile import Subgroups, subgroup_means

LIMIT_SDS = 3.0
"""Limits in standard deviations of a subgroup's mean (Shewhart): exceeded by chance once in 370 points."""

EWMA_WEIGHT = 0.2
"""Weight of the newest point: a lasting shift of one standard deviation is detected within about ten points."""


class ChartPoint(msgspec.Struct, frozen=True):
    """A subgroup of the chart."""

    mean: Annotated[float, Meta(description="mean prediction of the subgroup")]
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
    points: Annotated[tuple[ChartPoint, ...], Meta(description="complete subgroups; the oldest batches may fill none")]

    @property
    def in_control(self) -> bool:
        """Whether the newest point is within all limits; True without points."""
        return not self.points or not self.points[-1].out


def compute_control_chart(reference: Subgroups, yields: NDArray[np.floating]) -> ControlChart | None:
    """Return the control chart of predictions, or None if the training had too few batches for limits.

    Batches of a campaign are alike, so limits from the standard deviation of single yields would be too narrow. The
    limits come from the means of the training's subgroups in time order. The predictions are fractions [n], oldest
    first, and are split into subgroups from the newest back.
    """
    if reference.sd is None:
        return None
    rest = len(yields) % reference.size
    points, average, center, sds = [], reference.mean, reference.mean, LIMIT_SDS * reference.sd
    for i, mean in enumerate(subgroup_means(yields[rest:], reference.size).tolist(), 1):
        average = EWMA_WEIGHT * mean + (1 - EWMA_WEIGHT) * average
        variance_ratio = EWMA_WEIGHT / (2 - EWMA_WEIGHT) * (1 - (1 - EWMA_WEIGHT) ** (2 * i))
        half_width = sds * variance_ratio**0.5
        out = abs(mean - center) > sds or abs(average - center) > half_width
        figures = (mean, average, center - half_width, center + half_width)
        m, a, lower, upper = (round(figure, MONITORING_DECIMALS) for figure in figures)
        points.append(ChartPoint(m, a, lower, upper, out))
    lower, upper = (round(limit, MONITORING_DECIMALS) for limit in (center - sds, center + sds))
    return ControlChart(reference.size, center, lower, upper, tuple(points))
