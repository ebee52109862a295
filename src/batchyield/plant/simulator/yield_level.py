"""How a batch turns out: its yield on the lattice the plant weighs and dries on.

A yield is 0.6765 * B14 / A1 * step / 80 with a whole `step`: 80 is dry product as heavy as the wet one was weighed.
Everything that moves a yield moves the step. All arithmetic is in thousandths of a step, so no float is involved.
"""

from bisect import bisect_right
from typing import NamedTuple

from batchyield.plant.simulator.campaigns import Period
from batchyield.plant.simulator.random_draws import Draws
from batchyield.plant.simulator.recipe import Recipe

STEPS_PER_UNIT = 80
YIELD_PER_CHARGE = 6765
"""Ten-thousandths."""


class Slow(NamedTuple):
    """An AR(1) in fixed point: `keep` thousandths of the last value, plus a normal innovation."""

    keep: int
    innovation: int
    spread: int

    def start(self, draws: Draws) -> int:
        """A value as after a long time."""
        return draws.normal(self.spread)

    def next(self, value: int, draws: Draws) -> int:
        """The value that follows."""
        return value * self.keep // 1000 + draws.normal(self.innovation)


LINE = Slow(keep=940, innovation=205, spread=600)
"""What a line of N3 has for itself, per batch of that line."""
PERIOD, PERIOD_KEEP = 1_400, 200
"""Spread of what all lines share while habits last, and the thousandths of it that outlive them."""

CENTRE = {"": 81_700, "heavy": 75_200}
NOISE = {"": 600, "heavy": 600}
"""Mean and white noise of N3."""

LOWEST, HIGHEST = -2_000, 1_300
CEILING = 84_000
"""The slow part keeps within limits, and the step below a ceiling: product cannot be drier than dry."""

NOMINAL = 80_000
WRITES_NOMINAL = 300
"""Per mille of the weighings one step beside the nominal weight that are written down as the nominal."""

OLD_LADDER = (-2450, -1130, -270, 1800, 2400)
"""Where a standard normal (in thousandths) leaves step 77 for 78, 78 for 79 ..."""
NEW_LADDER = (-1950, 420, 1250, 2400)
"""The same for 74, 75, 76, 77 of the one long spin."""
OLD_HABIT, OLD_LUCK = 460, 870
"""Spread of the old process between periods and within."""
LIGHT = {380: 82, 385: 81, 387: 81, 390: 81, 392: 80, 395: 80}
"""Steps of the drier products under 400 kg."""
RICHER = 29
"""Thousandths that an extra kg of wet product costs: it holds more water."""

OFF_LATTICE = (-400, -350, -90, 250, 330, 90)


class Levels:
    """The slow state of the plant; ask it once for every batch, in time order."""

    def __init__(self, seed: int) -> None:
        self._draws = Draws(seed, "levels")
        self._campaign = -1
        self._period = -1
        self._shared = 0
        self._lines = [0, 0, 0]
        self._habit = 0

    def step(self, period: Period, recipe: Recipe) -> int:
        """Lattice step of the next batch, in thousandths."""
        draws = self._draws
        if period.number != self._period:
            self._period = period.number
            self._habit = draws.normal(OLD_HABIT)
            self._shared = self._shared * PERIOD_KEEP // 1000 + draws.normal(PERIOD)
        if period.campaign != self._campaign:
            self._campaign = period.campaign
            self._lines = [LINE.start(draws) for _ in self._lines]
        if period.regime == "N3":
            own = self._lines[recipe.line] = LINE.next(self._lines[recipe.line], draws)
            slow = 0 if recipe.steady or period.variant else max(LOWEST, min(self._shared + own, HIGHEST))
            lean = 0 if period.variant else recipe.lean
            step = (CENTRE[period.variant] + lean + slow + draws.normal(NOISE[period.variant]) + 500) // 1000 * 1000
            if abs(step - NOMINAL) == 1000 and draws.chance(WRITES_NOMINAL):
                return NOMINAL
            return min(step, CEILING)
        luck = draws.normal(1000)
        if period.regime == "N1":
            if recipe.product == 400:
                return 80_000
            return 1000 * (74 + bisect_right(NEW_LADDER, luck + (recipe.product - 440) * 12))
        if period.regime == "S":
            return 80_000
        if recipe.product in LIGHT:
            return 1000 * (LIGHT[recipe.product] - draws.chance(220))
        return 1000 * (
            77 + bisect_right(OLD_LADDER, self._habit + luck * OLD_LUCK // 1000 - (recipe.product - 400) * RICHER)
        )


def yield_text(step: int, recipe: Recipe, decimals: int = 3) -> str:
    """The yield as the plant prints it: rounded half up, no trailing zeros."""
    unit = 10**decimals
    numerator = YIELD_PER_CHARGE * recipe.product * step * unit
    denominator = 10_000 * recipe.charge * STEPS_PER_UNIT * 1000
    value = (2 * numerator + denominator) // (2 * denominator)
    return f"{value // unit}.{value % unit:0{decimals}d}".rstrip("0").rstrip(".")
