"""The new process: three shifts, the same steps every day, two recipes of temperatures that cover most batches.

First the habits of a period: the values its people preferred and how often each is met, as shares of batches.
"""

from typing import NamedTuple

from batchyield.plant.simulator.campaigns import Period
from batchyield.plant.simulator.random_draws import Deck, Draws, weighted
from batchyield.plant.simulator.recipe import TYPICAL, Recipe, number_text
from batchyield.plant.simulator.timetable import Steps, timetable

Profile = tuple[int, int, int, int, int]
Ending = tuple[int, int, int]

ODD_SHIFTS = (18, 1, 8)
SHIFTS3 = weighted({(6, 14, 22): 15, ODD_SHIFTS: 2, (6, 14): 1})
SHIFTS1 = weighted({(6, 14, 21): 6, (6, 14, 22): 1})
"""Hours at which the lines start, three spins and one."""

STANDARD3: tuple[Profile, ...] = ((29, 101, 103, 104, 105), (29, 102, 103, 104, 105))
STANDARD1: tuple[Profile, ...] = weighted(
    {
        (29, 102, 103, 104, 105): 20,
        (30, 102, 103, 104, 105): 20,
        (27, 102, 104, 105, 106): 12,
        (30, 102, 104, 105, 106): 10,
        (27, 102, 103, 104, 105): 5,
        (30, 103, 103, 104, 105): 4,
    }
)
"""A6, A10, A12, A15 and A17 of a batch by the book."""

WAYS3: tuple[Profile, ...] = weighted(
    {
        (29, 101, 103, 105, 107): 18, (29, 102, 103, 105, 107): 13, (30, 101, 103, 105, 107): 13,
        (30, 101, 103, 104, 105): 10, (29, 101, 102, 104, 105): 10, (30, 102, 103, 104, 105): 10,
        (30, 101, 102, 104, 106): 9, (30, 101, 103, 105, 106): 6, (29, 102, 104, 105, 106): 6,
        (30, 100, 103, 105, 107): 6, (29, 101, 102, 103, 104): 6, (30, 100, 103, 105, 106): 5,
        (29, 102, 103, 105, 104): 5, (29, 100, 102, 103, 105): 4, (28, 102, 103, 104, 105): 4,
    }
)  # fmt: skip
"""The same of a batch run in a way of the crew's own; a crew has a few of them at a time."""
ENDS3: tuple[tuple[Ending, ...], ...] = (
    weighted({(79, 73, 80): 22, (80, 73, 79): 14, (80, 72, 80): 8, (78, 72, 80): 6, (78, 73, 79): 4}),
    weighted(
        {
            (79, 73, 80): 14, (80, 73, 79): 20, (79, 72, 80): 15, (80, 72, 79): 12, (80, 72, 80): 11, (78, 72, 80): 10,
            (80, 72, 78): 9, (78, 73, 78): 9, (80, 73, 78): 7, (79, 72, 78): 6, (79, 72, 79): 5,
        }
    ),
    weighted(
        {
            (78, 73, 75): 6, (78, 76, 74): 5, (80, 75, 80): 5, (79, 76, 75): 4, (78, 76, 75): 4, (79, 75, 74): 4,
            (80, 74, 80): 4, (78, 76, 79): 3, (79, 76, 80): 3, (80, 73, 74): 3, (79, 75, 80): 3, (78, 73, 73): 2,
        }
    ),
)  # fmt: skip
"""A25, A27 and B6 of such a batch, by how closely the book is followed: closely, usually, loosely."""

FREE_A10 = weighted({101: 45, 102: 30, 100: 22, 103: 3})
FREE_A12 = weighted({2: 50, 1: 25, 3: 22, 0: 3})
FREE_A15 = weighted({1: 55, 2: 42, 0: 3})
FREE_A17 = weighted({2: 36, 1: 54, 0: 6, -1: 4})
"""Neither: A10, and what each next check adds."""

START3 = (weighted({29: 90, 30: 10}), weighted({29: 74, 30: 24, 28: 2}), weighted({29: 70, 27: 12, 30: 10, 28: 8}))
START1 = (weighted({30: 45, 27: 30, 29: 25}), weighted({29: 50, 30: 40, 28: 10}), weighted({28: 36, 30: 40, 27: 24}))
CRYSTAL1 = weighted({(80,): 8, (78,): 4, (80, 78): 6})
CRYSTAL1_FREE = (
    weighted({80: 60, 78: 20, 79: 20}),
    weighted({80: 40, 78: 35, 79: 25}),
    weighted({78: 46, 80: 30, 79: 24}),
)
CRYSTAL2_FREE = (
    weighted({73: 82, 72: 14, 75: 4}),
    weighted({73: 60, 72: 36, 74: 4}),
    weighted({73: 34, 76: 32, 75: 18, 72: 6, 74: 5, 78: 5}),
)
DOSING_AT_FREE = (
    weighted({80: 84, 79: 12, 78: 4}),
    weighted({80: 62, 79: 24, 78: 14}),
    weighted({80: 32, 75: 26, 74: 18, 78: 12, 73: 5, 76: 5, 72: 2}),
)
"""A6, A25, A27 and B6 of the other batches, by how closely the book was followed: closely, usually, loosely."""

CRYSTAL2_LONG = weighted({73: 99, 75: 1})

CARE = weighted({0: 6, 1: 8, 2: 4})
BY_BOOK = (700, 400, 270)
CARE_LEAN = (-250, 0, 600)
"""How closely the book is followed in a period, how many batches in a thousand then are by the book, and what it does
to the yield in thousandths of a lattice step: the weak trace that the readings bear of the level."""
ODD_LEAN = -1_350
"""The same at the odd shifts."""

RICH_SHIFT = weighted({0: 1, 1: 4, 2: 5})
"""Which shift of the day starts the larger charge."""


class NewHabits(NamedTuple):
    """How the new process was run during one period.

    Attributes:
        shifts, turn: start hours, and how far the lines are turned against them.
        rich, rich_share, rich_line2: the line with the larger charge, how often it gets it (per mille), and whether the
            next line gets it too.
        by_book: per mille of the batches run by the book.
        ways, ends: what most of the others are run by; the other tuples are drawn from for the rest.
        long_spin3: per mille of third spins of 90 minutes.
        long_spin1: whether one line spins 150 and 120 minutes.
        late_dosing: whether the rich line waits a shift before dosing.
        short_line, short_spin: the line that cuts the one long spin short, and to how many minutes.
        lean, steady: see `Recipe`.
    """

    shifts: tuple[int, ...]
    turn: int
    rich: int
    rich_share: int
    rich_line2: bool
    by_book: int
    ways: tuple[Profile, ...]
    ends: tuple[Ending, ...]
    start_at: tuple[int, ...]
    crystal1: tuple[int, ...]
    crystal1_free: tuple[int, ...]
    crystal2_free: tuple[int, ...]
    dosing_at_free: tuple[int, ...]
    long_spin3: int
    long_spin1: bool
    late_dosing: bool
    short_line: int
    short_spin: int
    lean: int
    steady: bool


class NewDecks:
    """Deals the habits of one period after another."""

    def __init__(self, seed: int) -> None:
        draws = self._draws = Draws(seed, "new")
        self._shifts3, self._shifts1 = Deck(draws, SHIFTS3), Deck(draws, SHIFTS1)
        self._rich_shift, self._rich1 = Deck(draws, RICH_SHIFT), Deck(draws, (0, 0, 840, 840))
        self._care, self._crystal1 = Deck(draws, CARE), Deck(draws, CRYSTAL1)
        self._by_book1, self._start = Deck(draws, (960, 960, 900, 800)), Deck(draws, (0, 1, 2))
        self._spin3 = Deck(draws, (0,) * 7 + (120, 300, 400))
        self._spin1, self._dosing = Deck(draws, (False,) * 16 + (True,)), Deck(draws, (False,) * 6 + (True,))

    def habits(self, period: Period) -> NewHabits:
        """The habits of a period; lines keep to one shift while it lasts."""
        three = period.regime == "N3"
        care = self._care.deal() if three else 0
        rich = self._draws.below(3)
        shifts = (self._shifts3 if three else self._shifts1).deal()
        odd = shifts == ODD_SHIFTS
        return NewHabits(
            shifts=shifts,
            turn=(self._rich_shift.deal() if three else 1) - rich,
            rich=rich,
            rich_share=940 if three else self._rich1.deal(),
            rich_line2=three and self._draws.chance(40),
            by_book=BY_BOOK[care] if three else self._by_book1.deal(),
            ways=tuple(self._draws.pick(WAYS3 if three else STANDARD1) for _ in range(4)),
            ends=tuple(self._draws.pick(ENDS3[care]) for _ in range(3)) if three else ((80, 73, 80),),
            start_at=(START3 if three else START1)[self._start.deal()],
            crystal1=self._crystal1.deal() if three else (80,),
            crystal1_free=CRYSTAL1_FREE[care] if three else (80,),
            crystal2_free=CRYSTAL2_FREE[care] if three else CRYSTAL2_LONG,
            dosing_at_free=DOSING_AT_FREE[care] if three else (80,),
            long_spin3=self._spin3.deal() if three else 0,
            long_spin1=three and self._spin1.deal(),
            late_dosing=three and self._dosing.deal(),
            short_line=self._draws.below(3),
            short_spin=self._draws.pick((180, 180, 180, 210)),
            lean=ODD_LEAN if odd else CARE_LEAN[care],
            steady=odd,
        )


OWN_WAY = 620
"""Per mille of the batches not by the book that follow one of the crew's own ways."""
UNSETTLED = -1_900
"""What a batch loses while the crew comes back to the process, thousandths of a lattice step."""

ODD_B1 = (310, 300, 330, 260, 360, 340)
"""B1 of a batch in forty, kg."""
ODD_STEPS = (
    ("heat", 90), ("heat", 60), ("wait_quench", 10), ("quench", 30), ("crystal2", 30), ("wait_transfer", 30),
    ("dosing", 90), ("wait_cooling", 30), ("cooling", 60), ("cooling", 240), ("wait_spin1", 60),
)  # fmt: skip
"""Steps of a batch in twenty that did not go by the clock, minutes."""


class NewProcess:
    """Runs batches of the new process, one period after another."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._decks = NewDecks(seed)

    def begin(self, period: Period) -> None:
        """Takes up the habits of a period."""
        self._period = period
        self._draws = Draws(self._seed, "period", period.number)
        self._habits = self._decks.habits(period)

    def run(self, number: int) -> Recipe:
        """Batch `number`; lines take turns by number."""
        draws, h, period = self._draws, self._habits, self._period
        three, line = period.regime == "N3", number % 3
        unsettled = period.settling and three and number - period.first < 6 and draws.chance(400)
        hour = h.shifts[(line + h.turn) % len(h.shifts)]
        start = 60 * hour if draws.chance(975) else 30 * draws.below(48)
        s = _steps(draws, h, period, line)
        by_book = draws.chance(h.by_book)
        a6, a10, a12, a15, a17 = _profile(draws, h, by_book or draws.chance(280), three)
        a25, a27, b6 = _ending(draws, h, by_book or draws.chance(330))
        b1 = 320 if draws.chance(975) else draws.pick(ODD_B1)
        if unsettled:
            s = s._replace(heat=90, spin1=60, spin2=60, crystal2=30)
            a6, b1, b6 = draws.pick((17, 18, 20, 26)), 380, 70
        product = _product(draws, h, period, line)
        numbers = {"A6": a6, "A10": a10, "A12": a12, "A15": a15, "A17": a17, "A19": 200, "A25": a25, "A27": a27}
        numbers |= {"B1": b1, "B6": b6, "B8": 45 if draws.chance(992) else 46, "B12": 1200, "B14": product}
        if draws.chance(8):
            numbers |= {"A22": 8} if three else {"A21": 45}
        cells = TYPICAL | timetable(start, s) | {name: number_text(value) for name, value in numbers.items()}
        return Recipe(cells, 300, product, line, UNSETTLED if unsettled else h.lean, unsettled or h.steady)


def _steps(draws: Draws, h: NewHabits, period: Period, line: int) -> Steps:
    """Step lengths of one batch: by the clock but for a few."""
    s = Steps()
    if period.regime == "N1":
        short = line == h.short_line and draws.chance(280)
        s = s._replace(spin1=h.short_spin if short else 240, spin2=None, spin3=None)
    else:
        if h.long_spin1 and line == h.short_line:
            s = s._replace(spin1=150, spin2=120)
        if h.late_dosing and line == h.rich:
            s = s._replace(wait_dosing=480)
        if draws.chance(h.long_spin3):
            s = s._replace(spin3=90)
        if draws.chance(20):
            s = s._replace(spin1=60, spin2=60, wait_spin2=30)
    if draws.chance(45):
        name, minutes = draws.pick(ODD_STEPS)
        s = s._replace(**{name: minutes})
    return s


def _profile(draws: Draws, h: NewHabits, by_book: bool, three: bool) -> Profile:
    """A6 and the temperatures along the hydrolysis, °C."""
    if by_book:
        return draws.pick(STANDARD3 if three else STANDARD1)
    if draws.chance(OWN_WAY):
        return draws.pick(h.ways)
    a10 = draws.pick(FREE_A10)
    a12 = a10 + draws.pick(FREE_A12)
    a15 = a12 + draws.pick(FREE_A15)
    return draws.pick(h.start_at), a10, a12, a15, a15 + draws.pick(FREE_A17)


def _ending(draws: Draws, h: NewHabits, by_book: bool) -> Ending:
    """A25, A27 and B6, °C."""
    if by_book:
        return draws.pick(h.crystal1), 73, 80
    if draws.chance(OWN_WAY):
        return draws.pick(h.ends)
    return draws.pick(h.crystal1_free), draws.pick(h.crystal2_free), draws.pick(h.dosing_at_free)


def _product(draws: Draws, h: NewHabits, period: Period, line: int) -> int:
    """B14, kg: one line of three is charged more than the others."""
    rich = line == h.rich or (h.rich_line2 and line == (h.rich + 1) % 3)
    if period.variant == "heavy":
        return draws.pick((440, 420))
    if period.regime == "N3":
        return 420 if draws.chance(h.rich_share if rich else 10) else 400
    if draws.chance(25):
        return draws.pick((400, 420, 420, 420))
    return 460 if rich and draws.chance(h.rich_share) else 440
