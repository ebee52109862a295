"""The place of a batch in the plant's order, and what makes two batches alike: for the bias update."""

from datetime import datetime
from operator import attrgetter, is_

import msgspec
from msgspec import UNSET

from batchyield.plant.batch import READINGS, Batch
from batchyield.plant.features.columns import id_number
from batchyield.plant.table import BATCHES_PER_DAY, LINES, RECIPE

DAY_SECONDS = 86_400

Recipe = tuple[bool | float | None, ...]
"""Of the readings of `table.RECIPE`: for each text whether it is missing, then each number."""

_TEXTS, _NUMBERS = (
    tuple(reading.name for reading in READINGS if reading.name in RECIPE and (reading.kind == "number") is is_number)
    for is_number in (False, True)
)
_NONES = (None,) * len(_TEXTS)
_FIRST, _FIRST_NUMBER = 2, 2 + len(_TEXTS)
# With the id twice, since `attrgetter` returns no tuple for a single name.
_recipe_of = attrgetter("id", "id", *_TEXTS, *_NUMBERS)


class Place(msgspec.Struct, frozen=True, gc=False):
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
    sequence = batch.sequence
    if sequence is UNSET or sequence is None:
        at = number = id_number(batch.id)
        if isinstance(batch.started_at, datetime):
            at = batch.started_at.timestamp() / DAY_SECONDS * BATCHES_PER_DAY
    else:
        at = number = float(sequence)
    if at != at:
        return None
    line = int(number) % LINES if number == number else -1
    cells = _recipe_of(batch)
    recipe = (*map(is_, cells[_FIRST:_FIRST_NUMBER], _NONES), *cells[_FIRST_NUMBER:])
    return Place(at, recipe, line)
