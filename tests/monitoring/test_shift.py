import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from batchyield.monitoring.drift_tests import (
    QUANTILE_RESOLUTION,
    fisher_exact_p_value,
    holm_bonferroni,
    ks_distance,
    ks_p_value,
    mann_whitney_p_value,
    normal_p_value,
    population_stability_index,
)
from batchyield.serving.reference_profile import profile_column


@given(st.floats(0, 1), st.integers(20, 2000), st.integers(20, 2000))
def test_ks_p_is_near_that_of_scipy(distance, n, m):
    root = (n * m / (n + m)) ** 0.5
    at = (root + 0.12 + 0.11 / root) * distance
    assert ks_p_value(distance, n, m) == pytest.approx(stats.kstwobign.sf(at), abs=1e-9)


@given(st.integers(0, 400), st.integers(1, 400), st.integers(0, 1200), st.integers(1, 1200))
def test_share_p_is_twice_the_smaller_tail_of_fishers_test(k, n, of_m, m):
    k, of_m = min(k, n), min(of_m, m)
    found = fisher_exact_p_value(k, n, of_m / m, m)
    table = [[k, n - k], [of_m, m - of_m]]
    tails = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    assert found == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-6, abs=1e-12)


@given(st.floats(-8, 8))
def test_normal_p_is_that_of_scipy(z):
    assert normal_p_value(z) == pytest.approx(2 * stats.norm.sf(abs(z)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_holm_is_that_of_its_definition(given_p):
    found = holm_bonferroni(given_p)
    ranked = sorted(given_p)
    by_definition = [max(min(1.0, (len(ranked) - j) * ranked[j]) for j in range(i + 1)) for i in range(len(ranked))]
    assert sorted(found) == pytest.approx(by_definition)
    assert all(adjusted >= p for adjusted, p in zip(found, given_p, strict=True))


@given(st.integers(0, 2**32 - 1), st.integers(100, 800), st.floats(0, 2))
def test_ks_distance_is_that_of_the_samples_within_the_resolution_of_the_reference(seed, n, moved):
    chance = np.random.default_rng(seed)
    trained, window = chance.normal(size=1200), chance.normal(moved, size=n)
    exact = stats.ks_2samp(trained, window).statistic
    found = ks_distance(profile_column(trained).quantiles, window)
    assert exact - 2 * QUANTILE_RESOLUTION - 0.01 <= found <= exact


def test_ks_distance_of_a_few_levels_and_beyond_the_range():
    trained = np.array([200.0] * 100 + [300.0] * 300)
    quantiles = profile_column(trained).quantiles
    assert ks_distance(quantiles, np.array([200.0] * 25 + [300.0] * 75)) == 0
    assert ks_distance(quantiles, np.array([300.0] * 100)) == pytest.approx(0.25 - QUANTILE_RESOLUTION)
    assert ks_distance(quantiles, np.full(10, 100.0)) == pytest.approx(1 - QUANTILE_RESOLUTION)
    assert ks_distance(quantiles, np.full(10, 400.0)) == pytest.approx(1 - QUANTILE_RESOLUTION)


@given(st.integers(0, 2**32 - 1), st.floats(-0.5, 0.5))
def test_rank_p_is_near_that_of_mann_and_whitney(seed, moved):
    chance = np.random.default_rng(seed)
    trained, window = chance.normal(size=1000), chance.normal(moved, size=200)
    exact = stats.mannwhitneyu(trained, window).pvalue
    found = mann_whitney_p_value(profile_column(trained).quantiles, window, 1000)
    assert stats.norm.isf(found / 2) == pytest.approx(stats.norm.isf(exact / 2), abs=0.25)


def test_a_wild_value_moves_no_rank():
    trained = np.random.default_rng(1).normal(size=1000)
    window = np.append(np.random.default_rng(2).normal(size=199), 1e6)
    assert mann_whitney_p_value(profile_column(trained).quantiles, window, 1000) > 0.01


def test_psi_is_nought_for_equal_shares_and_grows_with_the_move():
    expected = [0.25] * 4
    values = [
        population_stability_index(expected, np.array(counts))
        for counts in ([50] * 4, [60, 50, 50, 40], [100, 50, 40, 10])
    ]
    assert values[0] == 0
    assert 0 < values[1] < 0.1 < 0.25 < values[2]


def test_an_empty_bin_is_rare_and_not_impossible():
    assert 0.5 < population_stability_index([0.5, 0.5], np.array([100, 0])) < 10
