"""What happens to a few batches only: low charges, failures, blanks. Placed by quota, on the rows of the file."""

from dataclasses import dataclass

from batchyield.plant.simulator.campaigns import Period, Regime
from batchyield.plant.simulator.random_draws import Draws
from batchyield.plant.simulator.recipe import Recipe
from batchyield.plant.simulator.yield_level import OFF_LATTICE

LOW_CHARGES = 3_000
LOW_PRODUCT: tuple[tuple[Regime, int, int], ...] = (
    ("O", 370, 80_000),
    ("O", 280, 79_000),
    ("N1", 380, 75_000),
    ("O", 375, 79_000),
)
"""Regime, B14 and lattice step; they take turns, so that a small file is not a lottery."""
FAILURES = 720
LOST = (17_000, 20_000, 22_000)
"""Thousandths of a lattice step that a failed batch loses for no reason its readings show."""
OFF_THE_LATTICE = 32_000
FOUR_DECIMALS = 9_000

BLANKS = {
    ("B1",): 5_500,
    ("B1", "B2", "B3"): 1_000,
    ("A21",): 700,
    ("A23",): 700,
    ("A21", "A23"): 1_100,
    ("A25", "A27"): 600,
    ("A20",): 600,
    ("A24", "A26"): 500,
    ("A26",): 500,
    ("B5",): 600,
    ("B8",): 600,
    ("B12",): 600,
    ("B13",): 600,
}
"""Readings nobody wrote down, together where they go missing together."""


@dataclass(slots=True)
class Made:
    """A batch of the file while its row is being written."""

    number: int
    period: Period
    recipe: Recipe
    step: int
    decimals: int = 3


def befall(made: list[Made], seed: int) -> None:
    """Lets the rare things happen, in place. All rates are per million rows."""
    draws = Draws(seed, "exceptions")
    by_regime = {regime: [m for m in made if m.period.regime == regime] for regime in ("O", "N1")}
    turn = draws.below(len(LOW_PRODUCT))
    for k in range(draws.count(len(made), LOW_CHARGES)):
        regime, product, step = LOW_PRODUCT[(turn + k) % len(LOW_PRODUCT)]
        if by_regime[regime]:
            m = draws.pick(by_regime[regime])
            m.recipe.product, m.step = product, step
            m.recipe.cells["B14"] = str(product)
    usual = [m for m in by_regime["O"] if m.recipe.product == 400]
    for _ in range(draws.count(len(made), FAILURES)):
        if usual:
            draws.pick(usual).step -= draws.pick(LOST)
    for place in draws.quota(len(made), OFF_THE_LATTICE):
        made[place].step += draws.pick(OFF_LATTICE)
    for place in draws.quota(len(made), FOUR_DECIMALS):
        made[place].decimals = 4
    for columns, rate in BLANKS.items():
        for place in draws.quota(len(made), rate):
            for column in columns:
                made[place].recipe.cells.pop(column, None)
