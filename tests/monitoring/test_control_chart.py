"""The control chart of predicted yields."""

import numpy as np
import pytest

from batchyield.monitoring.control_chart import compute_control_chart
from batchyield.serving.reference_profile import Subgroups

REFERENCE = Subgroups(size=25, count=40, mean=0.92, sd=0.002)


def steady_yields(points, mean=0.92, seed=1):
    """Yields whose subgroup means vary as in the training."""
    means = np.random.default_rng(seed).normal(mean, REFERENCE.sd, points)
    return np.repeat(means, REFERENCE.size)


def alarm_rate(mean, points=40, rounds=100):
    charts = [compute_control_chart(REFERENCE, steady_yields(points, mean, seed)) for seed in range(rounds)]
    return np.mean([any(point.out for point in chart.points) for chart in charts])


class TestControlChart:
    def test_steady_plant(self):
        """A steady plant is in control; 40 points exceed one of two limits of three sd in fewer than 35 % of charts."""
        assert alarm_rate(0.92) < 0.35
        assert compute_control_chart(REFERENCE, steady_yields(40)).in_control

    def test_lasting_shift(self):
        """A lasting shift of one standard deviation is detected in over 90 % of charts."""
        assert alarm_rate(0.92 - REFERENCE.sd) > 0.9

    def test_one_far_point(self):
        """A single far subgroup is out at once."""
        chart = compute_control_chart(REFERENCE, np.append(steady_yields(3), np.full(25, 0.9)))
        assert [point.out for point in chart.points] == [False, False, False, True]
        assert not chart.in_control

    def test_definition(self):
        """Limits, means and moving averages follow their definition; the oldest incomplete subgroup is left out."""
        chart = compute_control_chart(REFERENCE, np.append(np.full(7, 0.5), np.full(50, 0.921)))
        assert (chart.center, chart.lower, chart.upper) == (0.92, pytest.approx(0.914), pytest.approx(0.926))
        assert [point.mean for point in chart.points] == [0.921, 0.921]
        assert chart.points[0].average == pytest.approx(0.9202)
        assert chart.points[1].average == pytest.approx(0.2 * 0.921 + 0.8 * 0.9202)
        assert chart.points[0].average_upper == pytest.approx(0.92 + 3 * 0.2 * 0.002)

    def test_too_few_batches(self):
        """Fewer batches than a subgroup give a chart without points."""
        chart = compute_control_chart(REFERENCE, np.full(24, 0.5))
        assert chart.points == ()
        assert chart.in_control

    def test_too_little_training(self):
        """A single subgroup in the training gives no chart."""
        assert compute_control_chart(Subgroups(25, 1, 0.92, None), np.full(100, 0.9)) is None
