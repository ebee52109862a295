"""Differences of two models' answers summed as they come: shadowed rows arrive one by one, in several workers."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from batchyield.differences import differences
from batchyield.replies import PREDICTION_DECIMALS, Prediction

EDGES = (-0.05, -0.02, -0.01, -0.005, -0.002, -0.001, -0.0001, 0.0001, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""Of the histogram of moves, in yield: bin i holds EDGES[i-1] < move <= EDGES[i]."""


class Totals(msgspec.Struct, frozen=True):
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
    histogram: Annotated[tuple[int, ...], Meta(description="batches in each bin of moves")] = (0,) * (len(EDGES) + 1)

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.batches + other.batches,
            self.changed + other.changed,
            round(self.moved + other.moved, PREDICTION_DECIMALS),
            round(self.moved_absolute + other.moved_absolute, PREDICTION_DECIMALS),
            max(self.largest, other.largest, key=_size),
            self.outside + other.outside,
            round(self.widened + other.widened, PREDICTION_DECIMALS),
            tuple(mine + theirs for mine, theirs in zip(self.histogram, other.histogram, strict=True)),
        )


def moves(baseline: Sequence[Prediction], candidate: Sequence[Prediction]) -> list[float]:
    """How far each batch's yield moved [n], at the answers' own decimals."""
    return [
        round(after.yield_ - before.yield_, PREDICTION_DECIMALS)
        for before, after in zip(baseline, candidate, strict=True)
    ]


def totals(baseline: Sequence[Prediction], candidate: Sequence[Prediction]) -> Totals:
    """The sums for answers [n] to the same batches, in the same order; n at least 1."""
    found = differences(baseline, candidate)
    moved = moves(baseline, candidate)
    histogram = [0] * (len(EDGES) + 1)
    for move in moved:
        histogram[bisect_left(EDGES, move)] += 1
    pairs = zip(baseline, candidate, strict=True)
    widened = math.fsum((after.upper - after.lower) - (before.upper - before.lower) for before, after in pairs)
    return Totals(
        found.batches,
        found.changed,
        round(math.fsum(moved), PREDICTION_DECIMALS),
        round(math.fsum(map(abs, moved)), PREDICTION_DECIMALS),
        max(moved, key=_size),
        found.outside,
        round(widened, PREDICTION_DECIMALS),
        tuple(histogram),
    )


def _size(move: float) -> tuple[float, float]:
    return abs(move), move  # of two that go as far, one is taken whatever the order
