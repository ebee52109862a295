"""The dirt pass, separate from the plant and separately seeded: how often which cell is spoilt."""

from batchyield.batch import NAMES
from batchyield.simulate.campaigns import ROUND
from batchyield.simulate.draws import Deck, Draws
from batchyield.simulate.rows import Dirt, Kind
from batchyield.simulate.slips import CHANGES, PRODUCT_SLIPS, Cells, Spoil, product_slip

RATES: dict[Kind, int] = {
    "backward_step": 50_000,
    "impossible_range": 6_500,
    "key_slip": 3_800,
    "other_charge": 8_500,
    "wrong_scale": 2_400,
    "one_digit_minute": 17_900,
    "semicolon": 14_650,
    "fullwidth_semicolon": 9_750,
    "excel_date": 4_900,
    "stray_colon": 2_150,
    "double_colon": 2_150,
    "trailing_character": 1_650,
    "no_colon": 1_100,
    "twenty_four": 1_100,
    "quote": 550,
    "three_digit_minute": 550,
    "no_hour": 550,
}
"""Cells per million rows."""
PRODUCT_SLIP = 2_700
CARELESS = 300
"""Per mille of the dirty cells that are sought in the row spoilt last: a careless writer errs more than once."""

SWAPPED = (159, 185)
"""Batches of each round in which B1 and B2 were filled with B12 and B13."""


class DirtPass:
    """Spoils rows of clean cells.

    Args:
        clean: cells of every row, blanks left out, in any fixed order.
        seed: of this pass alone.
    """

    def __init__(self, clean: list[Cells], seed: int) -> None:
        self.dirty: list[Cells] = clean.copy()
        self.dirt: list[tuple[Dirt, ...]] = [() for _ in clean]
        self._clean = clean
        self._draws = Draws(seed, "dirt")
        self._last = 0

    def run(self, numbers: list[int], swapped: list[bool]) -> None:
        """Puts the dirt on.

        Args:
            numbers: batch number of each row.
            swapped: whether a row can have B1 and B2 filled with B12 and B13.
        """
        for place, (number, can) in enumerate(zip(numbers, swapped, strict=True)):
            cells = self._clean[place]
            if can and SWAPPED[0] <= (number - 1) % ROUND + 1 <= SWAPPED[1]:
                self._apply(place, "wrong_column", {"B1": cells.get("B12", ""), "B2": cells.get("B13", "")})
        slips = Deck(self._draws, PRODUCT_SLIPS)
        for _ in range(self._draws.count(len(numbers), PRODUCT_SLIP)):
            self._somewhere("key_slip", product_slip(*slips.deal()))
        for kind, rate in RATES.items():
            for _ in range(self._draws.count(len(numbers), rate)):
                self._somewhere(kind, CHANGES[kind])

    def _somewhere(self, kind: Kind, spoil: Spoil) -> None:
        """Spoils the first row, from a drawn one on, that offers such a cell which is still clean."""
        careless = self._draws.chance(CARELESS)
        start = self._last if careless else self._draws.below(len(self._clean))
        for step in range(len(self._clean)):
            place = (start + step) % len(self._clean)
            change = spoil(self._clean[place], self._draws)
            if change and self._apply(place, kind, change):
                self._last = place
                return

    def _apply(self, place: int, kind: Kind, change: dict[str, str]) -> bool:
        clean, taken = self._clean[place], {dirt.column for dirt in self.dirt[place]}
        change = {c: text for c, text in change.items() if clean.get(c, "") != text}
        if not change or taken & change.keys():
            return False
        self.dirty[place] = self.dirty[place] | change
        self.dirt[place] += tuple(Dirt(column, kind) for column in sorted(change, key=NAMES.index))
        return True
