import numpy as np
import pytest

from batchyield.monitoring.control_chart import compute_control_chart
from batchyield.serving.reference_profile import Subgroups

STEADY = Subgroups(size=25, count=40, mean=0.92, sd=0.002)


def yields(points, of=0.92, seed=1):
    """Batches whose subgroups wander as those of the training."""
    means = np.random.default_rng(seed).normal(of, STEADY.sd, points)
    return np.repeat(means, STEADY.size)


def alarms(of, points=40, rounds=100):
    charts = [compute_control_chart(STEADY, yields(points, of, seed)) for seed in range(rounds)]
    return np.mean([any(p.out for p in chart.points) for chart in charts])


def test_a_plant_that_wanders_as_in_training_is_in_control():
    assert alarms(0.92) < 0.35, "40 points, each beyond three standard deviations of two figures once in some 300"
    assert compute_control_chart(STEADY, yields(40)).in_control


def test_a_lasting_shift_of_one_standard_deviation_is_seen():
    assert alarms(0.92 - STEADY.sd) > 0.9


def test_one_far_point_is_out_at_once():
    chart = compute_control_chart(STEADY, np.append(yields(3), np.full(25, 0.9)))
    assert [p.out for p in chart.points] == [False, False, False, True]
    assert not chart.in_control


def test_limits_and_points_are_those_of_the_definition():
    chart = compute_control_chart(STEADY, np.append(np.full(7, 0.5), np.full(50, 0.921)))
    assert (chart.center, chart.lower, chart.upper) == (0.92, pytest.approx(0.914), pytest.approx(0.926))
    assert [p.mean for p in chart.points] == [0.921, 0.921], "the seven oldest fill no subgroup"
    assert chart.points[0].average == pytest.approx(0.9202)
    assert chart.points[1].average == pytest.approx(0.2 * 0.921 + 0.8 * 0.9202)
    assert chart.points[0].average_upper == pytest.approx(0.92 + 3 * 0.2 * 0.002)


def test_too_few_batches_give_no_points_and_too_little_training_no_chart():
    chart = compute_control_chart(STEADY, np.full(24, 0.5))
    assert chart.points == ()
    assert chart.in_control
    assert compute_control_chart(Subgroups(25, 1, 0.92, None), np.full(100, 0.9)) is None
