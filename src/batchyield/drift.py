"""The reference profile: what the model was trained on, small enough to be pinned with it.

A window of live traffic is later laid beside it: shares per bin for the population stability index, the quantiles for
Kolmogorov-Smirnov, mean and standard deviation for control charts, the missing share for cells that stop arriving.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

BINS = 10
QUANTILES = 101
DIGITS = 9
"""Decimals kept of what is summed: below any resolution of a reading, above the last bits in which machines differ."""


class Profile(msgspec.Struct, frozen=True):
    """The distribution of one number over the training batches.

    Attributes:
        count: values present.
        missing: share of batches without the value, 0..1.
        mean, sd: of the values present; None where there are none.
        edges: inner bin edges, ascending and distinct; bin i holds edges[i-1] < value <= edges[i].
        shares: of the values present per bin, len(edges) + 1 of them; empty where there are none.
        quantiles: the 0, 1, ..., 100 percent quantiles; empty where there are none.
    """

    count: int
    missing: float
    mean: float | None
    sd: float | None
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    quantiles: tuple[float, ...]


class Reference(msgspec.Struct, frozen=True):
    """Profiles of every feature and of the prediction over `rows` training batches."""

    rows: int
    features: dict[str, Profile]
    prediction: Profile


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(values, DIGITS).tolist())


def profile(values: NDArray[np.floating]) -> Profile:
    """Summarises one column.

    Args:
        values: shape [n], NaN where missing.
    """
    column = np.asarray(values, dtype=np.float64)
    present = np.sort(column[~np.isnan(column)])
    if not len(present):
        return Profile(0, 1.0, None, None, (), (), ())
    # Equal-frequency edges; a value that holds more than one bin's worth of batches merges its bins.
    edges = np.unique(np.quantile(present, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    edges = edges[edges < present[-1]]
    counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
    mean, sd = _rounded(np.array([present.mean(), present.std()]))
    return Profile(
        count=len(present),
        missing=round(1 - len(present) / len(column), DIGITS),
        mean=mean,
        sd=sd,
        edges=tuple(edges.tolist()),
        shares=_rounded(counts / len(present)),
        quantiles=tuple(np.quantile(present, np.linspace(0, 1, QUANTILES), method="inverted_cdf").tolist()),
    )


def reference(names: Sequence[str], values: NDArray[np.floating], predictions: NDArray[np.floating]) -> Reference:
    """Profiles the training batches.

    Args:
        names: k feature names.
        values: shape [n, k], NaN where missing.
        predictions: shape [n], the model's yields of the same batches.
    """
    columns = {name: profile(values[:, i]) for i, name in enumerate(names)}
    return Reference(rows=len(values), features=columns, prediction=profile(predictions))
