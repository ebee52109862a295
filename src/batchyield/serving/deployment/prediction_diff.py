"""Differences between two models' predictions for the same batches, of one list or summed as they come."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from batchyield.serving.artifact import PREDICTION_TOLERANCE
from batchyield.serving.responses import PREDICTION_DECIMALS, Prediction

HISTOGRAM_EDGES = (-0.05, -0.02, -0.01, -0.005, -0.002, -0.001, -0.0001, 0.0001, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""Bin edges of the histogram of yield changes: bin i holds HISTOGRAM_EDGES[i-1] < change <= HISTOGRAM_EDGES[i]."""

HISTOGRAM_BINS = len(HISTOGRAM_EDGES) + 1


class DiffSummary(msgspec.Struct, frozen=True):
    """How the answers of a candidate differ from those of a baseline to the same batches; yields are fractions.

    Attributes:
        batches: compared.
        changed: whose yield moved by more than `PREDICTION_TOLERANCE`.
        mean: of candidate less baseline.
        mean_absolute: of the same, without its sign.
        p95: 95 % of the batches moved by no more, without the sign.
        largest: the greatest move, with its sign.
        at: index of the batch that moved most; None where none did.
        outside: batches whose yield left the baseline's interval.
        width: mean width of the candidate's intervals less that of the baseline's.
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
    """Compares two models' answers to the same batches, in the same order.

    Args:
        baseline: answers [n], n at least 1.
        candidate: answers [n].
    """
    pairs = list(zip(baseline, candidate, strict=True))
    moves = [after.yield_ - before.yield_ for before, after in pairs]
    sizes = [abs(move) for move in moves]
    most = max(range(len(sizes)), key=sizes.__getitem__)
    widths = [(after.upper - after.lower) - (before.upper - before.lower) for before, after in pairs]
    return DiffSummary(
        batches=len(pairs),
        changed=sum(size > PREDICTION_TOLERANCE for size in sizes),
        mean=_mean(moves),
        mean_absolute=_mean(sizes),
        p95=round(sorted(sizes)[math.ceil(0.95 * len(sizes)) - 1], PREDICTION_DECIMALS),
        largest=round(moves[most], PREDICTION_DECIMALS),
        at=most if sizes[most] > PREDICTION_TOLERANCE else None,
        outside=sum(not before.lower <= after.yield_ <= before.upper for before, after in pairs),
        width=_mean(widths),
    )


class SliceDiff(msgspec.Struct, frozen=True):
    """The differences of the batches that share one label of one aspect, such as `spins` `2`."""

    by: str
    label: str
    differences: DiffSummary


def diff_by_slice(
    baseline: Sequence[Prediction], candidate: Sequence[Prediction], labels: Mapping[str, Sequence[str]]
) -> list[SliceDiff]:
    """The differences within each label of each aspect, those that moved most first.

    Args:
        baseline: answers [n].
        candidate: answers [n].
        labels: aspect -> label of each batch [n], as `evaluation.labels` gives them.
    """
    found = []
    for aspect, given in labels.items():
        rows: dict[str, list[int]] = {}
        for row, label in enumerate(given):
            rows.setdefault(label, []).append(row)
        for label, of in rows.items():
            part = summarize_diff([baseline[row] for row in of], [candidate[row] for row in of])
            found.append(SliceDiff(aspect, label, part))
    return sorted(found, key=lambda one: (-one.differences.mean_absolute, one.by, one.label))


class RunningDiff(msgspec.Struct, frozen=True):
    """Sums over the batches that both models answered; a move is the candidate's yield less the baseline's.

    Answers have seven decimals and sums are kept at as many, so that they do not depend on the order of adding.
    """

    batches: Annotated[int, Meta(description="answered by both models")] = 0
    changed: Annotated[int, Meta(description="whose yield moved by more than float noise")] = 0
    moved: Annotated[float, Meta(description="sum of the moves")] = 0.0
    moved_absolute: Annotated[float, Meta(description="sum of the moves without their sign")] = 0.0
    largest: Annotated[float, Meta(description="the greatest move, with its sign")] = 0.0
    outside: Annotated[int, Meta(description="whose yield left the baseline's interval")] = 0
    widened: Annotated[float, Meta(description="sum of the intervals' widths less the baseline's")] = 0.0
    histogram: Annotated[tuple[int, ...], Meta(description="batches in each bin of moves")] = (0,) * (
        len(HISTOGRAM_EDGES) + 1
    )

    def __add__(self, other: "RunningDiff") -> "RunningDiff":
        return RunningDiff(
            self.batches + other.batches,
            self.changed + other.changed,
            round(self.moved + other.moved, PREDICTION_DECIMALS),
            round(self.moved_absolute + other.moved_absolute, PREDICTION_DECIMALS),
            max(self.largest, other.largest, key=_size),
            self.outside + other.outside,
            round(self.widened + other.widened, PREDICTION_DECIMALS),
            tuple(mine + theirs for mine, theirs in zip(self.histogram, other.histogram, strict=True)),
        )


def yield_changes(baseline: Sequence[Prediction], candidate: Sequence[Prediction]) -> list[float]:
    """How far each batch's yield moved [n], at the answers' own decimals."""
    return [
        round(after.yield_ - before.yield_, PREDICTION_DECIMALS)
        for before, after in zip(baseline, candidate, strict=True)
    ]


def running_diff(baseline: Sequence[Prediction], candidate: Sequence[Prediction]) -> RunningDiff:
    """The sums for answers [n] to the same batches, in the same order; n at least 1."""
    found = summarize_diff(baseline, candidate)
    moved = yield_changes(baseline, candidate)
    histogram = [0] * HISTOGRAM_BINS
    for move in moved:
        histogram[bisect_left(HISTOGRAM_EDGES, move)] += 1
    pairs = zip(baseline, candidate, strict=True)
    widened = math.fsum((after.upper - after.lower) - (before.upper - before.lower) for before, after in pairs)
    return RunningDiff(
        found.batches,
        found.changed,
        round(math.fsum(moved), PREDICTION_DECIMALS),
        round(math.fsum(map(abs, moved)), PREDICTION_DECIMALS),
        max(moved, key=_size),
        found.outside,
        round(widened, PREDICTION_DECIMALS),
        tuple(histogram),
    )


def _mean(numbers: Sequence[float]) -> float:
    return round(math.fsum(numbers) / len(numbers), PREDICTION_DECIMALS)


def _size(move: float) -> tuple[float, float]:
    return abs(move), move  # of two that go as far, one is taken whatever the order
