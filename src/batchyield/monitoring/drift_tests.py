"""Statistical tests for drift, in NumPy alone because the service does not install SciPy; tests compare with SciPy."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

QUANTILE_RESOLUTION = 0.01
"""Resolution of the reference's distribution function, which is known at its percentiles."""

SERIES_TERMS = 100

MONITORING_DECIMALS = 6
"""Decimals to which all monitoring figures are rounded."""


def population_stability_index(expected: Sequence[float], counts: NDArray[np.integer]) -> float:
    """Return the population stability index (PSI) of a window's bin counts against the reference's shares.

    Half a value is added to each bin of the window, and proportionally to the reference, so that an empty bin counts
    as rare and not as impossible. By convention, below 0.1 is steady and above 0.25 is shifted.

    Args:
        expected: shares of the reference per bin [b], sum 1.
        counts: values of the window per bin [b], sum at least 1.
    """
    n, bins = int(counts.sum()), len(counts)
    observed = (counts + 0.5) / (n + 0.5 * bins)
    smoothed = (np.asarray(expected) * n + 0.5) / (n + 0.5 * bins)
    return float(((observed - smoothed) * np.log(observed / smoothed)).sum())


def ks_distance(quantiles: Sequence[float], values: NDArray[np.floating]) -> float:
    """Return the Kolmogorov–Smirnov distance, 0..1, less the resolution of the reference.

    Args:
        quantiles: of the reference, at equal steps from its minimum to its maximum.
        values: of the window [n], n at least 1.
    """
    at, reference = _distribution(tuple(quantiles))
    ordered = np.sort(values)
    window = np.searchsorted(ordered, at, side="right") / len(ordered)
    below_range = np.searchsorted(ordered, at[:1], side="left") / len(ordered)
    distance = max(float(np.abs(window - reference).max()), float(below_range[0]))
    return max(0.0, distance - QUANTILE_RESOLUTION)


@lru_cache(256)  # the reference is the same for every window
def _distribution(quantiles: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distinct quantiles, and the share of the reference up to each."""
    at, last = np.unique(np.asarray(quantiles)[::-1], return_index=True)
    return at, (len(quantiles) - 1 - last) / (len(quantiles) - 1)


def ks_p_value(distance: float, n: int, m: int) -> float:
    """Return the p value of the two-sample Kolmogorov–Smirnov test; too large where values repeat.

    Uses the limit distribution with Stephens' correction for finite samples (Press et al., Numerical Recipes, 14.3).

    Args:
        distance: from `ks_distance`.
        n, m: sizes of the samples.
    """
    root = math.sqrt(n * m / (n + m))
    at = (root + 0.12 + 0.11 / root) * distance
    if at < 0.2:  # the series converges slowly here, and the p value is 1 to 12 digits
        return 1.0
    tail = math.fsum((-1.0) ** (k - 1) * math.exp(-2 * (k * at) ** 2) for k in range(1, SERIES_TERMS))
    return min(1.0, max(0.0, 2 * tail))


def mann_whitney_p_value(quantiles: Sequence[float], values: NDArray[np.floating], m: int) -> float:
    """Return the two-sided p value of the Mann–Whitney rank test; too large where values repeat.

    Ranks are robust to a few typing errors, however large. Quantiles and values are those of `ks_distance`; the
    reference has `m` values.
    """
    below = np.searchsorted(quantiles, values, side="left") + np.searchsorted(quantiles, values, side="right")
    rank = float(below.mean()) / (2 * len(quantiles))
    n = len(values)
    return normal_p_value((rank - 0.5) * math.sqrt(12 * n * m / (n + m)))


@lru_cache(4096)  # most readings are never blank, in any window
def fisher_exact_p_value(k: int, n: int, share: float, m: int) -> float:
    """Return the p value of Fisher's exact test for two shares, as twice the smaller tail.

    Args:
        k, n: members of the window with the property, and its size, at least 1.
        share, m: share of the reference with the property, 0..1, and its size, at least 1.
    """
    total = k + round(share * m)
    least, most = max(0, total - m), min(n, total)
    logs = [_log_choose(n, i) + _log_choose(m, total - i) - _log_choose(n + m, total) for i in range(least, most + 1)]
    below = math.fsum(map(math.exp, logs[: k - least + 1]))
    above = math.fsum(map(math.exp, logs[k - least :]))
    return min(1.0, 2 * min(below, above))


def normal_p_value(z: float) -> float:
    """Return the two-sided p value of a standard normal score."""
    return math.erfc(abs(z) / math.sqrt(2))


def holm_bonferroni(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm–Bonferroni, in the given order.

    It controls the family-wise error rate under any dependence between the tests.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    ranked = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, i in enumerate(ranked):
        largest = max(largest, min(1.0, (len(ranked) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
