"""Adds typing errors to clean rows, from a random stream of its own: kinds, rates and the cells they change."""

import re
from collections.abc import Callable

from batchyield.plant.batch import READING_NAMES
from batchyield.plant.cells import DAY_MINUTES
from batchyield.plant.simulator.campaigns import ROUND_BATCHES
from batchyield.plant.simulator.random_draws import Deck, Draws, weighted
from batchyield.plant.simulator.recipe import clock_text, range_text
from batchyield.plant.simulator.rows import Dirt, Kind

Cells = dict[str, str]
Change = dict[str, str] | None
"""New texts by column, or None if the row has no cell for this kind of dirt."""
Spoil = Callable[[Cells, Draws], Change]

RANGES = ("A20", "A28", "B4", "B9", "B10", "B11")
ORDER = ("A5", "A9", "A11", "A14", "A16", "A20", "A24", "A26", "A28", "B4", "B5", "B7", "B9", "B10", "B11")


def minutes(text: str) -> tuple[int, int]:
    """Return start and end of a clean clock or range, in minutes after midnight."""
    parts = [int(h) * 60 + int(m) for h, m in re.findall(r"(\d+):(\d\d)", text)]
    return parts[0], parts[-1]


def _some_range(cells: Cells, draws: Draws, pattern: str) -> str | None:
    fit = [c for c in RANGES if c in cells and re.search(pattern, cells[c])]
    return draws.pick(fit) if fit else None


def _respell(pattern: str, replacement: str) -> Spoil:
    """Replace one match of a pattern in one range, drawn among all."""

    def change(cells: Cells, draws: Draws) -> Change:
        column = _some_range(cells, draws, pattern)
        if column is None:
            return None
        text = cells[column]
        place = draws.pick(list(re.finditer(pattern, text)))
        return {column: text[: place.start()] + place.expand(replacement) + text[place.end() :]}

    return change


def _colons(mark: str) -> Spoil:
    """Replace the first, the second or both colons of a range."""

    def change(cells: Cells, draws: Draws) -> Change:
        column = _some_range(cells, draws, ":")
        if column is None:
            return None
        start, end = cells[column].split("-")
        which = draws.pick((1, 2, 2, 3))
        start = start.replace(":", mark) if which & 1 else start
        return {column: f"{start}-{end.replace(':', mark) if which & 2 else end}"}

    return change


def serial_date(serial: int) -> str:
    """Return the date that a spreadsheet shows for a small number; 1900 is a leap year there."""
    for month, days in enumerate((31, 29, 31, 30), start=1):
        if serial <= days:
            return f"1900/{month}/{serial} 0:00"
        serial -= days
    raise ValueError(f"serial {serial} lies beyond April 1900")


def _excel_date(cells: Cells, draws: Draws) -> Change:
    form = draws.below(10)
    if form == 0 and "A25" in cells:
        return {"A25": serial_date(int(cells["A25"]))}
    if form == 1 and "A27" in cells and "A26" in cells:
        return {"A26": serial_date(int(cells["A27"]))}
    column = draws.pick(("A5", "A9", "A11", "A16"))
    minute, _ = minutes(cells[column])
    if form > 3 and minute % 60 == 0 and minute:
        return {column: serial_date(minute // 60)}
    doubled = int(str(minute // 60)[0] + str(minute // 60))
    return {column: f"1900/1/{doubled // 24} {doubled % 24}:{minute % 60:02d}"}


def _no_colon(cells: Cells, draws: Draws) -> Change:
    if draws.chance(500):
        column = draws.pick(("A9", "A11", "A14"))
        return {column: cells[column].removesuffix(":00").replace(":", "")}
    return _respell(r"(\d+):(\d\d)$", r"\1\2")(cells, draws)


def _no_hour(cells: Cells, draws: Draws) -> Change:
    fit = [c for c in ("A9", "A11", "A14", "A16") if cells[c].startswith("0:")]
    return {c: cells[c][1:] for c in [draws.pick(fit)]} if fit else None


_BACKWARD = weighted(
    {"B4": 17, "B10": 15, "A24": 10, "A20": 8, "A28": 7, "B5": 6, "B9": 5, "A11": 1, "A14": 1, "B7": 1}
)


def _backward_step(cells: Cells, draws: Draws) -> Change:
    column = draws.pick(_BACKWARD)
    before = ORDER[ORDER.index(column) - 1]
    if column not in cells or before not in cells:
        return None
    (start, end), earliest = minutes(cells[column]), minutes(cells[before])[1]
    if (start - earliest) % DAY_MINUTES > 60:
        return None
    start = earliest - draws.pick((30, 30, 30, 30, 60, 60, 10, 90))
    return {column: range_text(start, end) if column in RANGES else clock_text(start)}


def _impossible_range(cells: Cells, draws: Draws) -> Change:
    column = _some_range(cells, draws, "-")
    if column is None:
        return None
    start, end = minutes(cells[column])
    return {column: range_text(start, draws.pick((end + DAY_MINUTES // 2, start - 60, start - 90, start - 210)))}


PRODUCT_SLIPS = (("400", "40"), ("385", "785"), ("380", "280"), ("390", "290"), ("440", "340"))
"""B14 as it should be and as typed: a digit lost, or another first digit."""

USUAL_PRODUCTS = {"400": {"B14": "420"}, "420": {"B14": "400"}}


def _product_slip(correct: str, typed: str) -> Spoil:
    return lambda cells, _: {"B14": typed} if cells["B14"] == correct else None


_SLIPS = (
    ("A19", ("700", "310", "320")), ("A25", ("50",)), ("A22", ("3.5",)), ("B1", ("3.5",)), ("A17", ("89",)),
    ("B8", ("73",)),
)  # fmt: skip


def _key_slip(cells: Cells, draws: Draws) -> Change:
    column, texts = draws.pick(_SLIPS)
    text = draws.pick(texts)
    return {column: text} if cells.get(column, text) != text else None


_STRAY_COLONS = (_respell(r"-", ":-"), _respell(r":00-", ":-"))

DIRT: dict[Kind, tuple[int, Spoil]] = {
    "backward_step": (50_000, _backward_step),
    "impossible_range": (6_500, _impossible_range),
    "key_slip": (3_800, _key_slip),
    "other_charge": (8_500, lambda cells, _: USUAL_PRODUCTS.get(cells["B14"])),
    "wrong_scale": (2_400, lambda cells, _: {"A1": "200"} if cells["A1"] != "200" and "A3" in cells else None),
    "one_digit_minute": (17_900, _respell(r":00", ":0")),
    "semicolon": (14_650, _colons(";")),
    "fullwidth_semicolon": (9_750, _colons("；")),
    "excel_date": (4_900, _excel_date),
    "stray_colon": (2_150, lambda cells, draws: draws.pick(_STRAY_COLONS)(cells, draws)),
    "double_colon": (2_150, _respell(r":", "::")),
    "trailing_character": (1_650, _respell(r"$", "分")),
    "no_colon": (1_100, _no_colon),
    "twenty_four": (1_100, _respell(r"\b0:00", "24:00")),
    "quote": (550, _respell(r"^(\d+):", r'\1"')),
    "three_digit_minute": (550, _respell(r"$", "2")),
    "no_hour": (550, _no_hour),
}
"""Kind -> cells per million rows, and the function that changes one; applied in this order."""
PRODUCT_SLIP_RATE = 2_700
CARELESS = 300
"""Per mille of the dirty cells that start their search at the last dirty row: a careless writer errs more than once."""

SWAPPED = (159, 185)
"""Batches of each round in which B1 and B2 were filled with B12 and B13."""


class DirtPass:
    """Makes dirty copies of clean rows (cells without blanks), from a stream of its own."""

    def __init__(self, clean: list[Cells], seed: int) -> None:
        self.dirty: list[Cells] = clean.copy()
        self.dirt: list[tuple[Dirt, ...]] = [() for _ in clean]
        self._clean = clean
        self._draws = Draws(seed, "dirt")
        self._last = 0

    def run(self, numbers: list[int], swapped: list[bool]) -> None:
        """Apply all dirt: to `dirty`, the cells, and `dirt`, the list of changes of each row.

        `numbers` are the batch numbers; `swapped` marks rows whose B1 and B2 can be filled with B12 and B13.
        """
        for place, (number, can) in enumerate(zip(numbers, swapped, strict=True)):
            cells = self._clean[place]
            if can and SWAPPED[0] <= (number - 1) % ROUND_BATCHES + 1 <= SWAPPED[1]:
                self._apply(place, "wrong_column", {"B1": cells.get("B12", ""), "B2": cells.get("B13", "")})
        slips = Deck(self._draws, PRODUCT_SLIPS)
        for _ in range(self._draws.count(len(numbers), PRODUCT_SLIP_RATE)):
            self._somewhere("key_slip", _product_slip(*slips.deal()))
        for kind, (rate, spoil) in DIRT.items():
            for _ in range(self._draws.count(len(numbers), rate)):
                self._somewhere(kind, spoil)

    def _somewhere(self, kind: Kind, spoil: Spoil) -> None:
        """Change a cell of the first row, from a random one on, that has a clean cell for this kind of dirt."""
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
        self.dirt[place] += tuple(Dirt(column, kind) for column in sorted(change, key=READING_NAMES.index))
        return True
