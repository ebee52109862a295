"""Differences between two models' predictions for the same batches: of a list at once, or as a running sum."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from batchyield.plant.table import TARGET
from batchyield.serving.artifact import PREDICTION_TOLERANCE
from batchyield.serving.prediction import PREDICTION_DECIMALS, Prediction

_SIZES = tuple(float(f"{edge}e{TARGET.order - 4}") for edge in (1, 10, 20, 50, 100, 200, 500))
HISTOGRAM_EDGES = (*(-edge for edge in reversed(_SIZES)), *_SIZES)
"""Bin edges of the histogram of changes: bin i holds HISTOGRAM_EDGES[i-1] < change <= HISTOGRAM_EDGES[i]."""

NO_CHANGES = (0,) * (len(HISTOGRAM_EDGES) + 1)


class DiffSummary(msgspec.Struct, frozen=True):
    """How a candidate's predictions differ from a baseline's for the same batches; yields are fractions.

    Attributes:
        changed: batches whose yield changed by more than `PREDICTION_TOLERANCE`.
        mean: mean of candidate minus baseline.
        p95: 95 % quantile of the absolute changes.
        largest: the largest absolute change, with its sign.
        at: index of that batch; None if no yield changed.
        outside: batches whose yield left the baseline's interval.
        width: mean interval width of the candidate minus that of the baseline.
    """

    batches: int
    changed: int
    mean: float
    mean_absolute: float
    p95: float
    largest: float
    at: int | None
    outside: int
    width: float

    def __str__(self) -> str:
        if not self.changed:
            return f"{self.batches} batches, none changed"
        return (
            f"{self.batches} batches, {self.changed} changed: mean {self.mean:+.5f}, 95 % within {self.p95:.5f}, "
            f"largest {self.largest:+.5f}, {self.outside} outside the baseline's interval, "
            f"intervals {self.width:+.5f} wide"
        )


def summarize_diff(baseline: Sequence[Prediction], candidate: Sequence[Prediction]) -> DiffSummary:
    """Return the differences between two models' predictions [n] for the same batches in the same order; n >= 1."""
    pairs = list(zip(baseline, candidate, strict=True))
    changes = [after.yield_ - before.yield_ for before, after in pairs]
    sizes = [abs(change) for change in changes]
    most = max(range(len(sizes)), key=sizes.__getitem__)
    widths = [(after.upper - after.lower) - (before.upper - before.lower) for before, after in pairs]
    return DiffSummary(
        batches=len(pairs),
        changed=sum(size > PREDICTION_TOLERANCE for size in sizes),
        mean=_mean(changes),
        mean_absolute=_mean(sizes),
        p95=round(sorted(sizes)[math.ceil(0.95 * len(sizes)) - 1], PREDICTION_DECIMALS),
        largest=round(changes[most], PREDICTION_DECIMALS),
        at=most if sizes[most] > PREDICTION_TOLERANCE else None,
        outside=sum(not before.lower <= after.yield_ <= before.upper for before, after in pairs),
        width=_mean(widths),
    )


class SliceDiff(msgspec.Struct, frozen=True):
    """The differences of the batches with one label of one aspect, such as `spins` `2`."""

    by: str
    label: str
    differences: DiffSummary


def diff_by_slice(
    baseline: Sequence[Prediction], candidate: Sequence[Prediction], labels: Mapping[str, Sequence[str]]
) -> list[SliceDiff]:
    """Return the differences for each label of each aspect, by descending mean absolute change.

    `labels` maps each aspect to the label of each batch [n], from `modelling.metrics`.
    """
    slices = []
    for aspect, row_labels in labels.items():
        rows_of: dict[str, list[int]] = {}
        for row, label in enumerate(row_labels):
            rows_of.setdefault(label, []).append(row)
        for label, rows in rows_of.items():
            diff = summarize_diff([baseline[row] for row in rows], [candidate[row] for row in rows])
            slices.append(SliceDiff(aspect, label, diff))
    return sorted(slices, key=lambda part: (-part.differences.mean_absolute, part.by, part.label))


class RunningDiff(msgspec.Struct, frozen=True):
    """Running sums over the batches that both models predicted; a change is candidate minus baseline yield.

    Predictions have seven decimals and sums keep as many, so the result does not depend on the order of adding.
    """

    batches: Annotated[int, Meta(description="predicted by both models")] = 0
    changed: Annotated[int, Meta(description="whose prediction changed by more than float rounding")] = 0
    moved: Annotated[float, Meta(description="sum of the changes")] = 0.0
    moved_absolute: Annotated[float, Meta(description="sum of the absolute changes")] = 0.0
    largest: Annotated[float, Meta(description="largest absolute change, with its sign")] = 0.0
    outside: Annotated[int, Meta(description="whose prediction left the baseline's interval")] = 0
    widened: Annotated[float, Meta(description="sum of the interval widths minus the baseline's")] = 0.0
    histogram: Annotated[tuple[int, ...], Meta(description="batches in each bin of changes")] = NO_CHANGES

    def __add__(self, other: "RunningDiff") -> "RunningDiff":
        return RunningDiff(
            self.batches + other.batches,
            self.changed + other.changed,
            round(self.moved + other.moved, PREDICTION_DECIMALS),
            round(self.moved_absolute + other.moved_absolute, PREDICTION_DECIMALS),
            max(self.largest, other.largest, key=_size_then_sign),
            self.outside + other.outside,
            round(self.widened + other.widened, PREDICTION_DECIMALS),
            tuple(mine + theirs for mine, theirs in zip(self.histogram, other.histogram, strict=True)),
        )


def yield_changes(baseline: Sequence[Prediction], candidate: Sequence[Prediction]) -> list[float]:
    """Return candidate minus baseline yield of each batch [n], at the decimals of predictions."""
    pairs = zip(baseline, candidate, strict=True)
    return [round(after.yield_ - before.yield_, PREDICTION_DECIMALS) for before, after in pairs]


def running_diff(baseline: Sequence[Prediction], candidate: Sequence[Prediction]) -> RunningDiff:
    """Return the sums for predictions [n] of the same batches in the same order; n >= 1."""
    summary = summarize_diff(baseline, candidate)
    changes = yield_changes(baseline, candidate)
    histogram = [*NO_CHANGES]
    for change in changes:
        histogram[bisect_left(HISTOGRAM_EDGES, change)] += 1
    pairs = zip(baseline, candidate, strict=True)
    widened = math.fsum((after.upper - after.lower) - (before.upper - before.lower) for before, after in pairs)
    return RunningDiff(
        summary.batches,
        summary.changed,
        round(math.fsum(changes), PREDICTION_DECIMALS),
        round(math.fsum(map(abs, changes)), PREDICTION_DECIMALS),
        max(changes, key=_size_then_sign),
        summary.outside,
        round(widened, PREDICTION_DECIMALS),
        tuple(histogram),
    )


def _mean(numbers: Sequence[float]) -> float:
    return round(math.fsum(numbers) / len(numbers), PREDICTION_DECIMALS)


def _size_then_sign(change: float) -> tuple[float, float]:
    return abs(change), change  # makes the maximum independent of the order
