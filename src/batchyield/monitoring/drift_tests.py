"""The statistics of a shift, with nothing but NumPy: the service computes them, and SciPy is no part of it.

Each is compared with SciPy's in the tests.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

QUANTILE_RESOLUTION = 0.01
"""The reference's distribution function is known at its percentiles, so to no more than this."""

SERIES_TERMS = 100

MONITORING_DECIMALS = 6
"""To which all that monitoring measures is rounded."""


def population_stability_index(expected: Sequence[float], counts: NDArray[np.integer]) -> float:
    """Population stability index of a window's bin counts against the reference's shares.

    Half a value is added to each bin of the window, and as many in proportion to the reference, so that an empty bin
    counts as rare rather than as impossible. Below 0.1 is usually called steady, above 0.25 shifted.

    Args:
        expected: shares of the reference per bin [b], which sum to 1.
        counts: values of the window per bin [b], of which there is at least one.
    """
    n, bins = int(counts.sum()), len(counts)
    found = (counts + 0.5) / (n + 0.5 * bins)
    wanted = (np.asarray(expected) * n + 0.5) / (n + 0.5 * bins)
    return float(((found - wanted) * np.log(found / wanted)).sum())


def ks_distance(quantiles: Sequence[float], values: NDArray[np.floating]) -> float:
    """Kolmogorov–Smirnov distance, 0..1, less what the reference's resolution may make of it.

    Args:
        quantiles: of the reference, at equal steps from its least to its greatest value.
        values: of the window [n], n at least 1.
    """
    at, known = _distribution(tuple(quantiles))
    ordered = np.sort(values)
    up_to = np.searchsorted(ordered, at, side="right") / len(ordered)
    before = np.searchsorted(ordered, at[:1], side="left") / len(ordered)  # below all that the reference ever held
    distance = max(float(np.abs(up_to - known).max()), float(before[0]))
    return max(0.0, distance - QUANTILE_RESOLUTION)


@lru_cache(256)  # the reference's, window after window
def _distribution(quantiles: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct values, and the shares of the reference up to each."""
    at, last = np.unique(np.asarray(quantiles)[::-1], return_index=True)
    return at, (len(quantiles) - 1 - last) / (len(quantiles) - 1)


def ks_p_value(distance: float, n: int, m: int) -> float:
    """Probability that two samples of the same distribution are this far apart; too large where values repeat.

    The limit distribution with Stephens' correction for finite samples (Press et al., Numerical Recipes, 14.3).
    """
    root = math.sqrt(n * m / (n + m))
    at = (root + 0.12 + 0.11 / root) * distance
    if at < 0.2:  # where the series converges too slowly to be of use, and the probability is 1 to 12 digits
        return 1.0
    tail = math.fsum((-1.0) ** (k - 1) * math.exp(-2 * (k * at) ** 2) for k in range(1, SERIES_TERMS))
    return min(1.0, max(0.0, 2 * tail))


def mann_whitney_p_value(quantiles: Sequence[float], values: NDArray[np.floating], m: int) -> float:
    """Probability of values lying so far up or down in the reference (Mann and Whitney); too large where they repeat.

    A few slips of the key, however wild, do not move a rank as they move a mean.

    Args:
        quantiles: of the reference, at equal steps.
        values: of the window [n], n at least 1.
        m: values in the reference.
    """
    below = np.searchsorted(quantiles, values, side="left") + np.searchsorted(quantiles, values, side="right")
    rank = float(below.mean()) / (2 * len(quantiles))
    n = len(values)
    return normal_p_value((rank - 0.5) * math.sqrt(12 * n * m / (n + m)))


@lru_cache(4096)  # most readings are never blank, window after window
def fisher_exact_p_value(k: int, n: int, share: float, m: int) -> float:
    """Fisher's exact test, both sides as twice the smaller tail, for a share against that of the reference.

    Args:
        k: of the window's `n` that have a property.
        n: of the window, at least 1.
        share: of the reference's `m` that have it.
        m: of the reference, at least 1.
    """
    having = k + round(share * m)
    least, most = max(0, having - m), min(n, having)
    logs = [_log_choose(n, i) + _log_choose(m, having - i) - _log_choose(n + m, having) for i in range(least, most + 1)]
    below = math.fsum(map(math.exp, logs[: k - least + 1]))
    above = math.fsum(map(math.exp, logs[k - least :]))
    return min(1.0, 2 * min(below, above))


def normal_p_value(z: float) -> float:
    """Probability of a standard normal value this far from nought, on either side."""
    return math.erfc(abs(z) / math.sqrt(2))


def holm_bonferroni(probabilities: Sequence[float]) -> list[float]:
    """Holm's correction: with it, the chance of any false alarm among all tests is at most the level, however they hang
    together.

    Returns:
        The adjusted probabilities, in the order given.
    """
    adjusted, reached = [0.0] * len(probabilities), 0.0
    ranked = sorted(range(len(probabilities)), key=probabilities.__getitem__)
    for rank, i in enumerate(ranked):
        reached = max(reached, min(1.0, (len(ranked) - rank) * probabilities[i]))
        adjusted[i] = reached
    return adjusted


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
