"""What changes when one model answers in place of another: shadow, replay and comparison of pins say it alike."""

import math
from collections.abc import Mapping, Sequence

import msgspec

from batchyield.replies import PREDICTION_DECIMALS, Prediction

TOLERANCE = 1e-6
"""Yields nearer than this are the same answer: float32 on another CPU, and nothing more."""


class Differences(msgspec.Struct, frozen=True):
    """How the answers of a candidate differ from those of a baseline to the same batches; yields are fractions.

    Attributes:
        batches: compared.
        changed: whose yield moved by more than `TOLERANCE`.
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


def differences(baseline: Sequence[Prediction], candidate: Sequence[Prediction]) -> Differences:
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
    return Differences(
        batches=len(pairs),
        changed=sum(size > TOLERANCE for size in sizes),
        mean=_mean(moves),
        mean_absolute=_mean(sizes),
        p95=round(sorted(sizes)[math.ceil(0.95 * len(sizes)) - 1], PREDICTION_DECIMALS),
        largest=round(moves[most], PREDICTION_DECIMALS),
        at=most if sizes[most] > TOLERANCE else None,
        outside=sum(not before.lower <= after.yield_ <= before.upper for before, after in pairs),
        width=_mean(widths),
    )


class SliceDifferences(msgspec.Struct, frozen=True):
    """The differences of the batches that share one label of one aspect, such as `spins` `2`."""

    by: str
    label: str
    differences: Differences


def by_slice(
    baseline: Sequence[Prediction], candidate: Sequence[Prediction], labels: Mapping[str, Sequence[str]]
) -> list[SliceDifferences]:
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
            part = differences([baseline[row] for row in of], [candidate[row] for row in of])
            found.append(SliceDifferences(aspect, label, part))
    return sorted(found, key=lambda one: (-one.differences.mean_absolute, one.by, one.label))


def _mean(numbers: Sequence[float]) -> float:
    return round(math.fsum(numbers) / len(numbers), PREDICTION_DECIMALS)
