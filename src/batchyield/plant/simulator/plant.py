"""The public door: `simulate` runs the plant and keeps the rows of the file."""

from dataclasses import dataclass
from sys import intern

from batchyield.errors import ParamsError
from batchyield.plant.batch import READING_NAMES
from batchyield.plant.simulator.campaigns import ROUND, Regime, periods
from batchyield.plant.simulator.dirty_cells import DirtPass
from batchyield.plant.simulator.new_process import NewProcess
from batchyield.plant.simulator.old_process import OldProcess
from batchyield.plant.simulator.random_draws import Draws
from batchyield.plant.simulator.rare_events import Made, befall
from batchyield.plant.simulator.recipe import Recipe
from batchyield.plant.simulator.rows import Dirt, Plant, Row
from batchyield.plant.simulator.yield_level import Levels, yield_text

DEFAULT_ROWS = 1396
DEFAULT_SEED = 10


@dataclass(frozen=True)
class ProcessChange:
    """A change of the plant at some point of its history, for tests of drift.

    Attributes:
        after: share of the history that stays as it was, 0..1.
        warmer: added to A25, A27 and B6, °C.
        richer: added to B14, kg.
        steps: added to the yield's lattice step, with the readings as they were; one is 0.0113 at B14 = 400.
    """

    after: float = 0.8
    warmer: int = 0
    richer: int = 0
    steps: int = 0


def simulate(rows: int = DEFAULT_ROWS, seed: int = DEFAULT_SEED, *, change: ProcessChange | None = None) -> Plant:
    """Simulates the plant and draws a file from its history.

    The default stands for the 1,396 training rows out of batches 1..1994. Other sizes cut that history short or go on
    with further rounds of campaigns. Equal arguments give equal bytes on every machine.

    Args:
        rows: rows of the file, at least 1.
        seed: of everything; the dirt has a stream of its own.
        change: what changes in the plant, and when.

    Returns:
        The rows in file order, each with what was typed and what was meant.

    Raises:
        ParamsError: fewer than one row.
    """
    if rows < 1:
        raise ParamsError("rows", f"must be at least 1, got {rows}", "ask for one batch or more")
    batches = max(rows, (rows * ROUND + DEFAULT_ROWS // 2) // DEFAULT_ROWS)
    draws = Draws(seed, "file")
    kept = set(draws.sample(batches, rows))
    made = _history(seed, batches, kept, change)
    befall(made, seed)
    cells = [m.recipe.cells for m in made]
    dirt = DirtPass(cells, seed)
    dirt.run([m.number for m in made], [m.period.regime == "N3" for m in made])
    out = [_row(m, dirty, marks) for m, dirty, marks in zip(made, dirt.dirty, dirt.dirt, strict=True)]
    return Plant(tuple(out[i] for i in draws.sample(rows, rows)), batches)


def _history(seed: int, batches: int, kept: set[int], change: ProcessChange | None) -> list[Made]:
    """Every batch is run, in time order, because levels and clocks carry on; only those of the file are kept."""
    changed = batches + 1 if change is None else round(batches * change.after) + 1
    old, new = OldProcess(seed), NewProcess(seed)
    process: dict[Regime, OldProcess | NewProcess] = {"O": old, "S": old, "N3": new, "N1": new}
    levels, made = Levels(seed), []
    for period in periods(seed, batches):
        running = process[period.regime]
        running.begin(period)
        for number in range(period.first, period.last + 1):
            recipe = running.run(number)
            step = levels.step(period, recipe)
            if change is not None and number >= changed:
                step += 1000 * change.steps
                _change(recipe, change)
            if number - 1 in kept:
                made.append(Made(number, period, recipe, step))
    return made


def _change(recipe: Recipe, change: ProcessChange) -> None:
    recipe.product += change.richer
    recipe.cells["B14"] = str(recipe.product)
    for column in ("A25", "A27", "B6"):
        recipe.cells[column] = str(int(recipe.cells[column]) + change.warmer)


def _row(m: Made, dirty: dict[str, str], marks: tuple[Dirt, ...]) -> Row:
    clean = tuple(intern(m.recipe.cells.get(name, "")) for name in READING_NAMES)
    typed = tuple(intern(dirty.get(name, "")) for name in READING_NAMES) if marks else clean
    return Row(m.number, m.period.regime, clean, typed, yield_text(m.step, m.recipe, m.decimals), marks)
