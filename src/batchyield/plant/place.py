"""The place of a batch in the plant's order, and what makes two batches alike: for the bias update."""

from datetime import datetime
from typing import NamedTuple

from batchyield.plant.batch import READINGS, Batch
from batchyield.plant.features.matrix import id_number
from batchyield.plant.table import BATCHES_PER_DAY, LINES, RECIPE

DAY_SECONDS = 86_400

Recipe = tuple[bool | float | None, ...]
"""For each reading of `table.RECIPE` its number, or whether its text is missing."""

_NUMBERS = {reading.name: reading.kind == "number" for reading in READINGS}
_RECIPE = tuple((name, _NUMBERS[name]) for name in RECIPE)


class Place(NamedTuple):
    """Where a batch stands in the plant's order.

    Attributes:
        at: in batches; of two batches, the later one has the greater value.
        recipe: equal for batches made in the same way.
        line: number of the production line; -1 if unknown.
    """

    at: float
    recipe: Recipe
    line: int


def find_place(batch: Batch) -> Place | None:
    """Return the place of a batch: its `sequence`, else its `started_at`, else the number in its id; None without."""
    numbered = isinstance(batch.sequence, int | float)
    number = float(batch.sequence) if numbered else id_number(batch.id)  # type: ignore[arg-type]
    line = int(number) % LINES if number == number else -1
    if not numbered and isinstance(batch.started_at, datetime):
        number = batch.started_at.timestamp() / DAY_SECONDS * BATCHES_PER_DAY
    if number != number:
        return None
    cells = ((getattr(batch, name), is_number) for name, is_number in _RECIPE)
    return Place(number, tuple(cell if is_number else cell is None for cell, is_number in cells), line)
