"""The yield of a batch, on the lattice on which the plant weighs and dries.

A yield is 0.6765 * B14 / A1 * step / 80 with a whole `step`; step 80 is dry product as heavy as the wet one was
weighed. Every effect on a yield is an effect on the step. All arithmetic is in thousandths of a step, without floats.
"""

from bisect import bisect_right

from batchyield.plant.simulator.campaigns import Period
from batchyield.plant.simulator.random_draws import Draws
from batchyield.plant.simulator.recipe import Recipe

STEPS_PER_UNIT = 80
YIELD_PER_CHARGE = 6765
"""Ten-thousandths."""

LINE_KEEP, LINE_INNOVATION, LINE_SPREAD = 940, 205, 600
"""The level of each line of N3 is an AR(1): thousandths kept per batch, innovation and stationary deviation."""
PERIOD_SPREAD, PERIOD_KEEP = 1_400, 200
"""Deviation of the level that all lines share within a period, and the thousandths of it kept by the next period."""

MEAN = {"": 81_700, "heavy": 75_200}
NOISE = 600
"""Mean of N3, by variant, and its white noise."""

LOWEST_LEVEL, HIGHEST_LEVEL = -2_000, 1_300
CEILING = 84_000
"""Limits of the slow level, and of the step: product cannot be drier than dry."""

NOMINAL = 80_000
WRITES_NOMINAL = 300
"""Per mille of the weighings one step from the nominal weight that are recorded as nominal."""

OLD_LADDER = (-2450, -1130, -270, 1800, 2400)
"""Thresholds of a standard normal, in thousandths, between steps 77, 78, 79 ... of the old process."""
NEW_LADDER = (-1950, 420, 1250, 2400)
"""The same for steps 74, 75, 76, 77 of the one long spin."""
OLD_PERIOD, OLD_NOISE = 460, 870
"""Deviation of the old process between periods and within."""
LIGHT = {380: 82, 385: 81, 387: 81, 390: 81, 392: 80, 395: 80}
"""Steps of the drier products below 400 kg."""
RICHER = 29
"""Thousandths that each further kg of wet product costs: it holds more water."""

OFF_LATTICE = (-400, -350, -90, 250, 330, 90)


class YieldLevel:
    """The slowly drifting yield level of the plant; call `next_step` once for every batch, in time order."""

    def __init__(self, seed: int) -> None:
        self._draws = Draws(seed, "levels")
        self._campaign = self._period = -1
        self._shared = self._habit = 0
        self._lines = [0, 0, 0]

    def next_step(self, period: Period, recipe: Recipe) -> int:
        """Return the lattice step of the next batch, in thousandths."""
        draws, product = self._draws, recipe.product
        if period.number != self._period:
            self._period = period.number
            self._habit = draws.normal(OLD_PERIOD)
            self._shared = self._shared * PERIOD_KEEP // 1000 + draws.normal(PERIOD_SPREAD)
        if period.campaign != self._campaign:
            self._campaign = period.campaign
            self._lines = [draws.normal(LINE_SPREAD) for _ in self._lines]
        if period.regime == "N3":
            return self._three_spins(period.variant, recipe)
        noise = draws.normal(1000)
        if period.regime == "S" or (period.regime == "N1" and product == 400):
            return NOMINAL
        if period.regime == "N1":
            return 1000 * (74 + bisect_right(NEW_LADDER, noise + (product - 440) * 12))
        if product in LIGHT:
            return 1000 * (LIGHT[product] - draws.chance(220))
        level = self._habit + noise * OLD_NOISE // 1000 - (product - 400) * RICHER
        return 1000 * (77 + bisect_right(OLD_LADDER, level))

    def _three_spins(self, variant: str, recipe: Recipe) -> int:
        draws = self._draws
        line = self._lines[recipe.line] * LINE_KEEP // 1000 + draws.normal(LINE_INNOVATION)
        self._lines[recipe.line] = line
        slow = max(LOWEST_LEVEL, min(self._shared + line, HIGHEST_LEVEL))
        level = MEAN[variant] + (0 if variant else recipe.yield_effect + (0 if recipe.steady else slow))
        step = (level + draws.normal(NOISE) + 500) // 1000 * 1000
        if abs(step - NOMINAL) == 1000 and draws.chance(WRITES_NOMINAL):
            return NOMINAL
        return min(step, CEILING)


def yield_text(step: int, recipe: Recipe, decimals: int = 3) -> str:
    """Return the yield as the plant prints it: rounded half up, without trailing zeros."""
    unit = 10**decimals
    numerator = YIELD_PER_CHARGE * recipe.product * step * unit
    denominator = 10_000 * recipe.charge * STEPS_PER_UNIT * 1000
    value = (2 * numerator + denominator) // (2 * denominator)
    return f"{value // unit}.{value % unit:0{decimals}d}".rstrip("0").rstrip(".")
