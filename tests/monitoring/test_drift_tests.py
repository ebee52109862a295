"""The statistical tests, compared with SciPy."""

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


class TestKolmogorovSmirnov:
    @given(st.floats(0, 1), st.integers(20, 2000), st.integers(20, 2000))
    def test_p_value(self, distance, n, m):
        """The p value equals SciPy's limit distribution at Stephens' corrected distance."""
        root = (n * m / (n + m)) ** 0.5
        at = (root + 0.12 + 0.11 / root) * distance
        assert ks_p_value(distance, n, m) == pytest.approx(stats.kstwobign.sf(at), abs=1e-9)

    @given(st.integers(0, 2**32 - 1), st.integers(100, 800), st.floats(0, 2))
    def test_distance(self, seed, n, shift):
        """The distance equals SciPy's within the resolution of the reference, and is never larger."""
        random = np.random.default_rng(seed)
        trained, window = random.normal(size=1200), random.normal(shift, size=n)
        exact = stats.ks_2samp(trained, window).statistic
        distance = ks_distance(profile_column(trained).quantiles, window)
        assert exact - 2 * QUANTILE_RESOLUTION - 0.01 <= distance <= exact

    def test_distance_of_levels(self):
        """Repeated values, and values outside the range of the reference, give the exact distance."""
        trained = np.array([200.0] * 100 + [300.0] * 300)
        quantiles = profile_column(trained).quantiles
        assert ks_distance(quantiles, np.array([200.0] * 25 + [300.0] * 75)) == 0
        assert ks_distance(quantiles, np.array([300.0] * 100)) == pytest.approx(0.25 - QUANTILE_RESOLUTION)
        assert ks_distance(quantiles, np.full(10, 100.0)) == pytest.approx(1 - QUANTILE_RESOLUTION)
        assert ks_distance(quantiles, np.full(10, 400.0)) == pytest.approx(1 - QUANTILE_RESOLUTION)


def z_score(p_value):
    return stats.norm.isf(p_value / 2)


class TestMannWhitney:
    @given(st.integers(0, 2**32 - 1), st.floats(-0.5, 0.5))
    def test_reference_that_is_its_quantiles(self, seed, shift):
        """A reference of 101 values is its own quantiles; then only SciPy's n + m + 1 in the variance differs."""
        random = np.random.default_rng(seed)
        trained, window = np.sort(random.normal(size=101)), random.normal(shift, size=200)
        exact = stats.mannwhitneyu(trained, window, use_continuity=False, method="asymptotic").pvalue
        p_value = mann_whitney_p_value(tuple(trained), window, 101)
        assert z_score(p_value) * (301 / 302) ** 0.5 == pytest.approx(z_score(exact), abs=1e-9)

    @given(st.integers(0, 2**32 - 1), st.floats(-0.5, 0.5))
    def test_reference_known_by_quantiles(self, seed, shift):
        """With 1,000 values, the 101 quantiles change the score by at most 0.13 (0.115 over 7,000 seeds)."""
        random = np.random.default_rng(seed)
        trained, window = random.normal(size=1000), random.normal(shift, size=200)
        exact = stats.mannwhitneyu(trained, window, use_continuity=False).pvalue
        p_value = mann_whitney_p_value(profile_column(trained).quantiles, window, 1000)
        assert z_score(p_value) == pytest.approx(z_score(exact), abs=0.13)

    def test_outlier(self):
        """A single extreme value is not significant."""
        trained = np.random.default_rng(1).normal(size=1000)
        window = np.append(np.random.default_rng(2).normal(size=199), 1e6)
        assert mann_whitney_p_value(profile_column(trained).quantiles, window, 1000) > 0.01


@given(st.integers(0, 400), st.integers(1, 400), st.integers(0, 1200), st.integers(1, 1200))
def test_fisher_exact(k, n, of_m, m):
    """The p value is twice the smaller tail of SciPy's test."""
    k, of_m = min(k, n), min(of_m, m)
    table = [[k, n - k], [of_m, m - of_m]]
    tails = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    expected = min(1.0, 2 * min(tails))
    assert fisher_exact_p_value(k, n, of_m / m, m) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.floats(-8, 8))
def test_normal_p_value(z):
    """The p value equals SciPy's."""
    assert normal_p_value(z) == pytest.approx(2 * stats.norm.sf(abs(z)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_holm_bonferroni(p_values):
    """The adjusted p values follow the definition of the step-down procedure."""
    adjusted = holm_bonferroni(p_values)
    ranked = sorted(p_values)
    expected = [max(min(1.0, (len(ranked) - j) * ranked[j]) for j in range(i + 1)) for i in range(len(ranked))]
    assert sorted(adjusted) == pytest.approx(expected)
    assert all(new >= old for new, old in zip(adjusted, p_values, strict=True))


class TestPopulationStabilityIndex:
    def test_grows_with_the_shift(self):
        """Equal shares give 0; larger shifts give larger values."""
        counts = ([50] * 4, [60, 50, 50, 40], [100, 50, 40, 10])
        values = [population_stability_index([0.25] * 4, np.array(window)) for window in counts]
        assert values[0] == 0
        assert 0 < values[1] < 0.1 < 0.25 < values[2]

    def test_empty_bin(self):
        """An empty bin gives a finite value."""
        assert 0.5 < population_stability_index([0.5, 0.5], np.array([100, 0])) < 10
