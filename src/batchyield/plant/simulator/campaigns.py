"""Campaigns of one process, cut into periods with constant habits.

The regime belongs to a campaign, never to a single batch. Within a campaign the habits of the operators (start hours,
doses, temperatures, which line gets the larger charge) hold for some weeks: one `Period`.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from batchyield.plant.simulator.random_draws import Draws

Regime = Literal["O", "N3", "N1", "S"]
"""O: old process. N3: new, three spins. N1: new, one long spin. S: small trial charges of the old process."""

Variant = Literal["", "substitute", "heavy"]
"""substitute: A2 is charged in place of A3. heavy: N3 with the charges of N1, as after an N1 campaign."""

LAYOUT: tuple[tuple[Regime, Variant, int], ...] = (
    ("O", "", 71), ("N3", "", 48), ("O", "", 11), ("N3", "", 110), ("N1", "", 43), ("O", "substitute", 22),
    ("O", "", 116), ("O", "substitute", 13), ("O", "", 120), ("N3", "", 28), ("O", "", 23), ("N3", "", 116),
    ("N1", "", 118), ("O", "substitute", 21), ("O", "", 179), ("S", "", 10), ("O", "", 53), ("N3", "", 179),
    ("N1", "", 115), ("N3", "heavy", 7), ("O", "", 194), ("S", "", 12), ("O", "", 16), ("N3", "", 83),
    ("O", "", 12), ("N3", "", 199), ("N1", "", 50), ("N3", "heavy", 25),
)  # fmt: skip
"""One round of campaigns with their batches; a longer history repeats it with other lengths."""

ROUND_BATCHES = sum(length for *_, length in LAYOUT)

PERIOD_BATCHES: dict[Regime, tuple[int, int]] = {"O": (22, 50), "N3": (36, 64), "N1": (24, 50), "S": (20, 20)}
"""Shortest and longest period."""


class Period(NamedTuple):
    """Consecutive batches with the same habits.

    Attributes:
        number: counts from 0 over the whole history; seeds the habits.
        first, last: batch numbers, both included.
        campaign: counts from 0; a new one starts where the regime changes.
        settling: True for the first period of a campaign that follows another process.
    """

    number: int
    regime: Regime
    variant: Variant
    first: int
    last: int
    campaign: int
    settling: bool


def periods(seed: int, batches: int) -> Iterator[Period]:
    """Yield the periods that cover batch numbers `1 .. batches`, in time order."""
    draws = Draws(seed, "campaigns")
    number = campaign = 0
    first, previous, turn = 1, "", 0
    while first <= batches:
        for regime, variant, length in LAYOUT:
            end = first + (length if turn == 0 else max(1, length * (800 + draws.below(401)) // 1000))
            opens = regime != previous
            campaign += opens and previous != ""
            low, high = PERIOD_BATCHES[regime]
            while first < end:
                stop = min(first + low + draws.below(high - low + 1), end)
                if end - stop < low // 2:
                    stop = end
                yield Period(number, regime, variant, first, min(stop - 1, batches), campaign, opens and first > 1)
                number, first, opens = number + 1, stop, False
                if first > batches:
                    return
            previous = regime
        turn += 1
