"""The reference profile: distributions of the training batches, small enough to be pinned with the model.

Drift monitoring compares live batches with it: shares per bin for the population stability index, quantiles for the
Kolmogorov-Smirnov distance, mean and standard deviation for control charts, missing shares for readings that stop.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from batchyield.errors import ArtifactError

BINS = 10
QUANTILES = 101
MAX_LEVELS = 50
SUBGROUP_BATCHES = 25
"""Consecutive batches behind one point of the control chart: some four days of the plant."""

PROFILE_DECIMALS = 9
"""Decimals of computed statistics: finer than any reading, coarser than the last bits in which CPUs differ."""


class Profile(msgspec.Struct, frozen=True):
    """The distribution of one number over the training batches.

    Attributes:
        count: values present.
        missing: share of batches without the value, 0..1.
        mean, sd: of the values present; None if there are none.
        edges: inner bin edges, ascending and distinct; bin i holds edges[i-1] < value <= edges[i].
        shares: share of the values present in each bin [len(edges) + 1]; empty if there are no values.
        quantiles: the 0, 1, ..., 100 percent quantiles; empty if there are no values.
        levels: every distinct value, ascending, if there are at most `MAX_LEVELS`; otherwise empty.
        novelty: probability that the next value is not one of the levels, or is out of range if `levels` is empty.
    """

    count: int
    missing: float
    mean: float | None
    sd: float | None
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    quantiles: tuple[float, ...]
    levels: tuple[float, ...]
    novelty: float


class Subgroups(msgspec.Struct, frozen=True):
    """Mean and standard deviation (None if there is only one) of the mean predictions of `count` subgroups.

    A subgroup is `size` consecutive batches; their spread is that of a steady plant, for the control chart.
    """

    size: int
    count: int
    mean: float
    sd: float | None


class Reference(msgspec.Struct, frozen=True):
    """Profiles of the training batches' features and predicted yields, the content of `reference.json`.

    Attributes:
        rows: training batches.
        blank: share of training batches without the reading, for each reading.
        subgroups: of the predictions in time order; None if there are fewer batches than one subgroup.
    """

    rows: int
    features: dict[str, Profile]
    prediction: Profile
    blank: dict[str, float]
    subgroups: Subgroups | None


def read_reference(data: bytes, source: str = "reference.json") -> Reference:
    """Parse `reference.json`; raise ArtifactError, which calls it `source`, if it is not a reference profile."""
    try:
        return msgspec.json.decode(data, type=Reference)
    except (msgspec.MsgspecError, ValueError) as error:
        problem = f"is not a reference profile: {error}"
        raise ArtifactError(source, problem, "use the code of the commit that trained it") from None


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(values, PROFILE_DECIMALS).tolist())


def profile_column(values: NDArray[np.floating]) -> Profile:
    """Return the profile of one column of values [n], NaN where missing."""
    column = np.asarray(values, dtype=np.float64)
    present = np.sort(column[~np.isnan(column)])
    if not len(present):
        return Profile(0, 1.0, None, None, (), (), (), (), 1.0)
    # Equal-frequency bins; a value more frequent than one bin merges its bins.
    edges = np.unique(np.quantile(present, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    edges = edges[edges < present[-1]]
    counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
    mean, sd = _rounded(np.array([present.mean(), present.std()]))
    levels, frequencies = np.unique(present, return_counts=True)
    is_discrete = len(levels) <= MAX_LEVELS
    # Good-Turing estimate of unseen values: the share of values seen once. Outside a range: two of n + 1 gaps.
    novelty = (frequencies == 1).sum() / len(present) if is_discrete else 2 / (len(present) + 1)
    return Profile(
        count=len(present),
        missing=round(1 - len(present) / len(column), PROFILE_DECIMALS),
        mean=mean,
        sd=sd,
        edges=tuple(edges.tolist()),
        shares=_rounded(counts / len(present)),
        quantiles=tuple(np.quantile(present, np.linspace(0, 1, QUANTILES), method="inverted_cdf").tolist()),
        levels=tuple(levels.tolist()) if is_discrete else (),
        novelty=round(float(novelty), PROFILE_DECIMALS),
    )


def subgroup_means(predictions: NDArray[np.floating], size: int = SUBGROUP_BATCHES) -> NDArray[np.float64]:
    """Return the means [n // size] of consecutive predictions [n] in time order; the remainder is dropped."""
    whole = len(predictions) // size * size
    means: NDArray[np.float64] = np.asarray(predictions[:whole], dtype=np.float64).reshape(-1, size).mean(axis=1)
    return means


def build_reference(
    names: Sequence[str],
    values: NDArray[np.floating],
    predictions: NDArray[np.floating],
    blank: dict[str, float],
    order: NDArray[np.floating],
) -> Reference:
    """Return the reference profile of the training batches.

    Args:
        names: feature names [k].
        values: features [n, k], NaN where missing.
        predictions: the model's yields of the same batches [n].
        blank: reading -> share of the batches without it.
        order: ascending with time [n]; batches with NaN come last.
    """
    columns = {name: profile_column(values[:, i]) for i, name in enumerate(names)}
    subgroups = None
    if len(means := subgroup_means(predictions[np.argsort(order, kind="stable")])):
        sd = round(float(means.std(ddof=1)), PROFILE_DECIMALS) if len(means) > 1 else None
        subgroups = Subgroups(SUBGROUP_BATCHES, len(means), round(float(means.mean()), PROFILE_DECIMALS), sd)
    return Reference(len(values), columns, profile_column(predictions), blank, subgroups)
