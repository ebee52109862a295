"""`simulate` runs the plant and returns the rows of its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from sys import intern

from batchyield.errors import ParamsError
from batchyield.plant.batch import READING_NAMES
from batchyield.plant.simulator.campaigns import ROUND_BATCHES, Period, Regime, periods
from batchyield.plant.simulator.dirty_cells import DirtPass
from batchyield.plant.simulator.new_process import NewProcess
from batchyield.plant.simulator.old_process import OldProcess
from batchyield.plant.simulator.random_draws import Draws
from batchyield.plant.simulator.recipe import Recipe
from batchyield.plant.simulator.rows import Dirt, Plant, Row
from batchyield.plant.simulator.yield_level import OFF_LATTICE, YieldLevel, yield_text

DEFAULT_ROWS = 1396
DEFAULT_SEED = 10

# Rates of rare events, per million rows. All are placed by quota, so that a small file is not a lottery.
LOW_CHARGES = 3_000
FAILURES = 720
OFF_LATTICE_WEIGHTS = 32_000
FOUR_DECIMALS = 9_000

LOW_PRODUCT: tuple[tuple[Regime, int, int], ...] = (
    ("O", 370, 80_000), ("O", 280, 79_000), ("N1", 380, 75_000), ("O", 375, 79_000),
)  # fmt: skip
"""Regime, B14 [kg] and lattice step of the batches with a low charge; they take turns."""
FAILURE_LOSSES = (17_000, 20_000, 22_000)
"""Thousandths of a lattice step that a failed batch loses without a cause in its readings."""

BLANKS = {
    ("B1",): 5_500, ("B1", "B2", "B3"): 1_000, ("A21",): 700, ("A23",): 700, ("A21", "A23"): 1_100,
    ("A25", "A27"): 600, ("A20",): 600, ("A24", "A26"): 500, ("A26",): 500, ("B5",): 600, ("B8",): 600,
    ("B12",): 600, ("B13",): 600,
}  # fmt: skip
"""Readings that are missing together, and how often, per million rows."""


@dataclass(frozen=True)
class ProcessChange:
    """A change of the plant at some point of its history, for tests of drift.

    Attributes:
        after: share of the history before the change, 0..1.
        warmer: added to A25, A27 and B6, °C.
        richer: added to B14, kg.
        steps: added to the lattice step of the yield, with the readings as they were; one is 0.0113 at B14 = 400.
    """

    after: float = 0.8
    warmer: int = 0
    richer: int = 0
    steps: int = 0


@dataclass(slots=True)
class _SimulatedBatch:
    """A batch of the file before its row is written; `step` is its lattice step in thousandths."""

    number: int
    period: Period
    recipe: Recipe
    step: int
    decimals: int = 3


def simulate(rows: int = DEFAULT_ROWS, seed: int = DEFAULT_SEED, *, change: ProcessChange | None = None) -> Plant:
    """Simulate the plant and draw a file from its history. Equal arguments give equal bytes on every machine.

    The default resembles the 1,396 training rows out of batches 1..1994. Other sizes shorten that history or continue
    it with further rounds of campaigns.

    Raises:
        ParamsError: `rows` is below 1.
    """
    if rows < 1:
        raise ParamsError("rows", f"must be at least 1, got {rows}", "simulate one batch or more")
    count = max(rows, (rows * ROUND_BATCHES + DEFAULT_ROWS // 2) // DEFAULT_ROWS)
    draws = Draws(seed, "file")
    batches = _history(seed, count, set(draws.sample(count, rows)), change)
    _apply_rare_events(batches, seed)
    dirt = DirtPass([b.recipe.cells for b in batches], seed)
    dirt.run([b.number for b in batches], [b.period.regime == "N3" for b in batches])
    out = [_row(b, dirty, marks) for b, dirty, marks in zip(batches, dirt.dirty, dirt.dirt, strict=True)]
    return Plant(tuple(out[i] for i in draws.sample(rows, rows)), count)


def _history(seed: int, count: int, kept: set[int], change: ProcessChange | None) -> list[_SimulatedBatch]:
    """Run all batches in time order, because levels and clocks carry over, and return those of the file."""
    changed = count + 1 if change is None else round(count * change.after) + 1
    old, new = OldProcess(seed), NewProcess(seed)
    processes: dict[Regime, OldProcess | NewProcess] = {"O": old, "S": old, "N3": new, "N1": new}
    level, batches = YieldLevel(seed), []
    for period in periods(seed, count):
        process = processes[period.regime]
        process.begin(period)
        for number in range(period.first, period.last + 1):
            recipe = process.run(number)
            step = level.next_step(period, recipe)
            if change is not None and number >= changed:
                step += 1000 * change.steps
                recipe.set_product(recipe.product + change.richer)
                for column in ("A25", "A27", "B6"):
                    recipe.cells[column] = str(int(recipe.cells[column]) + change.warmer)
            if number - 1 in kept:
                batches.append(_SimulatedBatch(number, period, recipe, step))
    return batches


def _apply_rare_events(batches: Sequence[_SimulatedBatch], seed: int) -> None:
    """Apply low charges, failures, odd weights and blanks, in place."""
    draws, count = Draws(seed, "exceptions"), len(batches)
    by_regime = {regime: [b for b in batches if b.period.regime == regime] for regime in ("O", "N1")}
    turn = draws.below(len(LOW_PRODUCT))
    for k in range(draws.count(count, LOW_CHARGES)):
        regime, product, step = LOW_PRODUCT[(turn + k) % len(LOW_PRODUCT)]
        if by_regime[regime]:
            batch = draws.pick(by_regime[regime])
            batch.step = step
            batch.recipe.set_product(product)
    usual = [b for b in by_regime["O"] if b.recipe.product == 400]
    for _ in range(draws.count(count, FAILURES)):
        if usual:
            draws.pick(usual).step -= draws.pick(FAILURE_LOSSES)
    for place in draws.quota(count, OFF_LATTICE_WEIGHTS):
        batches[place].step += draws.pick(OFF_LATTICE)
    for place in draws.quota(count, FOUR_DECIMALS):
        batches[place].decimals = 4
    for columns, rate in BLANKS.items():
        for place in draws.quota(count, rate):
            for column in columns:
                batches[place].recipe.cells.pop(column, None)


def _row(batch: _SimulatedBatch, dirty_cells: dict[str, str], marks: tuple[Dirt, ...]) -> Row:
    clean = tuple(intern(batch.recipe.cells.get(name, "")) for name in READING_NAMES)
    dirty = tuple(intern(dirty_cells.get(name, "")) for name in READING_NAMES) if marks else clean
    outcome = yield_text(batch.step, batch.recipe, batch.decimals)
    return Row(batch.number, batch.period.regime, clean, dirty, outcome, marks)
