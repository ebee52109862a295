"""The reference profile: what the model was trained on, small enough to be pinned with it.

A window of live traffic is later laid beside it: shares per bin for the population stability index, the quantiles for
Kolmogorov-Smirnov, mean and standard deviation for control charts, the missing share for cells that stop arriving.
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
        levels: every distinct value, ascending, where there are at most `MAX_LEVELS`; empty where there are more.
        novelty: chance that the next value is none of the levels, or outside the range where there are none.
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
    """Mean predictions of consecutive batches: how far a steady plant wanders, which single batches do not tell.

    Attributes:
        size: batches in a subgroup.
        count: subgroups.
        mean, sd: of their means; `sd` is None where there is only one.
    """

    size: int
    count: int
    mean: float
    sd: float | None


class Reference(msgspec.Struct, frozen=True):
    """What live traffic is laid beside.

    Attributes:
        rows: training batches.
        features: profile of every feature.
        prediction: profile of the predicted yields.
        blank: share of training batches without the reading, for each reading.
        subgroups: of the predictions in time order; None where there are fewer batches than one subgroup.
    """

    rows: int
    features: dict[str, Profile]
    prediction: Profile
    blank: dict[str, float]
    subgroups: Subgroups | None


def read_reference(data: bytes, source: str = "reference.json") -> Reference:
    """The profile that is pinned with a model.

    Args:
        data: the bytes of its file.
        source: what errors call it.

    Raises:
        ArtifactError: it cannot be read.
    """
    try:
        return msgspec.json.decode(data, type=Reference)
    except (msgspec.MsgspecError, ValueError) as error:
        problem = f"is no reference profile: {error}"
        raise ArtifactError(source, problem, "use the code of the commit that trained it") from None


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(values, PROFILE_DECIMALS).tolist())


def profile_column(values: NDArray[np.floating]) -> Profile:
    """Summarises one column.

    Args:
        values: shape [n], NaN where missing.
    """
    column = np.asarray(values, dtype=np.float64)
    present = np.sort(column[~np.isnan(column)])
    if not len(present):
        return Profile(0, 1.0, None, None, (), (), (), (), 1.0)
    # Equal-frequency edges; a value that holds more than one bin's worth of batches merges its bins.
    edges = np.unique(np.quantile(present, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    edges = edges[edges < present[-1]]
    counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
    mean, sd = _rounded(np.array([present.mean(), present.std()]))
    levels, times = np.unique(present, return_counts=True)
    few = len(levels) <= MAX_LEVELS
    # Good and Turing: what came once is as likely as what has not come yet. The ends of a range are two of n+1 gaps.
    novel = (times == 1).sum() / len(present) if few else 2 / (len(present) + 1)
    return Profile(
        count=len(present),
        missing=round(1 - len(present) / len(column), PROFILE_DECIMALS),
        mean=mean,
        sd=sd,
        edges=tuple(edges.tolist()),
        shares=_rounded(counts / len(present)),
        quantiles=tuple(np.quantile(present, np.linspace(0, 1, QUANTILES), method="inverted_cdf").tolist()),
        levels=tuple(levels.tolist()) if few else (),
        novelty=round(float(novel), PROFILE_DECIMALS),
    )


def subgroup_means(predictions: NDArray[np.floating], size: int = SUBGROUP_BATCHES) -> NDArray[np.float64]:
    """Means of consecutive predictions, `size` at a time; the rest at the end is left out.

    Args:
        predictions: shape [n], in time order.
        size: batches in a subgroup.
    """
    whole = len(predictions) // size * size
    means: NDArray[np.float64] = np.asarray(predictions[:whole], dtype=np.float64).reshape(-1, size).mean(axis=1)
    return means


def _subgroups(predictions: NDArray[np.floating]) -> Subgroups | None:
    means = subgroup_means(predictions)
    if not len(means):
        return None
    sd = round(float(means.std(ddof=1)), PROFILE_DECIMALS) if len(means) > 1 else None
    return Subgroups(SUBGROUP_BATCHES, len(means), round(float(means.mean()), PROFILE_DECIMALS), sd)


def build_reference(
    names: Sequence[str],
    values: NDArray[np.floating],
    predictions: NDArray[np.floating],
    blank: dict[str, float],
    order: NDArray[np.floating],
) -> Reference:
    """Profiles the training batches.

    Args:
        names: k feature names.
        values: shape [n, k], NaN where missing.
        predictions: shape [n], the model's yields of the same batches.
        blank: share of the batches without the reading, for each reading.
        order: shape [n], ascending with time; NaN where that is not known: those batches come last.
    """
    columns = {name: profile_column(values[:, i]) for i, name in enumerate(names)}
    in_time = predictions[np.argsort(order, kind="stable")]
    return Reference(len(values), columns, profile_column(predictions), blank, _subgroups(in_time))
