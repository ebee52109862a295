import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyield.drift import profile, reference


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=1, max_size=300))
def test_a_profile_accounts_for_every_value(values):
    column = np.array(values)
    made = profile(column)
    present = column[~np.isnan(column)]
    assert made.count == len(present)
    assert made.missing == pytest.approx(1 - len(present) / len(column))
    if len(present):
        assert sum(made.shares) == pytest.approx(1)
        assert len(made.shares) == len(made.edges) + 1
        assert list(made.edges) == sorted(set(made.edges))
        assert list(made.quantiles) == sorted(made.quantiles)
        assert made.quantiles[0] == pytest.approx(present.min())
        assert made.quantiles[-1] == pytest.approx(present.max())


def test_the_profile_does_not_depend_on_the_order_of_the_batches():
    column = np.random.default_rng(1).normal(size=500)
    assert profile(column) == profile(column[::-1])


def test_equal_frequency_bins_hold_equal_shares():
    assert set(profile(np.arange(1000.0)).shares) == {0.1}


def test_a_reading_with_few_levels_keeps_one_bin_per_level():
    made = profile(np.array([300.0] * 96 + [250.0] * 30 + [200.0] * 30))
    assert made.edges == (200.0, 250.0)
    assert made.shares == pytest.approx((30 / 156, 30 / 156, 96 / 156))


def test_a_reading_that_never_came_is_all_missing():
    made = profile(np.full(5, np.nan))
    assert (made.count, made.missing, made.mean, made.shares) == (0, 1.0, None, ())


def test_a_reference_names_every_feature():
    made = reference(["a", "b"], np.array([[1, np.nan], [2, 3]], dtype=np.float32), np.array([0.9, 0.92]))
    assert made.rows == 2
    assert made.features["b"].missing == 0.5
    assert made.prediction.mean == pytest.approx(0.91)
