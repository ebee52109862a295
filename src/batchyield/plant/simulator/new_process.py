"""The new process: three shifts, the same steps every day, two temperature profiles that cover most batches.

The constants are the values a crew may prefer and their weights, as shares of batches. A batch is run by the book, by
one of the crew's own few profiles, or freely.
"""

from batchyield.plant.simulator.campaigns import Period
from batchyield.plant.simulator.random_draws import Deck, Draws, weighted
from batchyield.plant.simulator.recipe import TYPICAL, Recipe, Steps, number_text, timetable

Profile = tuple[int, int, int, int, int]
Ending = tuple[int, int, int]

ODD_SHIFTS = (18, 1, 8)
SHIFTS3 = weighted({(6, 14, 22): 15, ODD_SHIFTS: 2, (6, 14): 1})
SHIFTS1 = weighted({(6, 14, 21): 6, (6, 14, 22): 1})
"""Hours at which the lines start, three spins and one."""

STANDARD3: tuple[Profile, ...] = ((29, 101, 103, 104, 105), (29, 102, 103, 104, 105))
STANDARD1: tuple[Profile, ...] = weighted(
    {
        (29, 102, 103, 104, 105): 20, (30, 102, 103, 104, 105): 20, (27, 102, 104, 105, 106): 12,
        (30, 102, 104, 105, 106): 10, (27, 102, 103, 104, 105): 5, (30, 103, 103, 104, 105): 4,
    }
)  # fmt: skip
"""A6, A10, A12, A15 and A17 of a batch run by the book, °C."""

PROFILES3: tuple[Profile, ...] = weighted(
    {
        (29, 101, 103, 105, 107): 18, (29, 102, 103, 105, 107): 13, (30, 101, 103, 105, 107): 13,
        (30, 101, 103, 104, 105): 10, (29, 101, 102, 104, 105): 10, (30, 102, 103, 104, 105): 10,
        (30, 101, 102, 104, 106): 9, (30, 101, 103, 105, 106): 6, (29, 102, 104, 105, 106): 6,
        (30, 100, 103, 105, 107): 6, (29, 101, 102, 103, 104): 6, (30, 100, 103, 105, 106): 5,
        (29, 102, 103, 105, 104): 5, (29, 100, 102, 103, 105): 4, (28, 102, 103, 104, 105): 4,
    }
)  # fmt: skip
"""The same for a batch run by one of the crew's own profiles."""
ENDINGS3: tuple[tuple[Ending, ...], ...] = (
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
"""A25, A27 and B6 of such a batch, °C; one entry for each level of care: close, usual, loose."""

FREE_A10 = weighted({101: 45, 102: 30, 100: 22, 103: 3})
FREE_A12 = weighted({2: 50, 1: 25, 3: 22, 0: 3})
FREE_A15 = weighted({1: 55, 2: 42, 0: 3})
FREE_A17 = weighted({2: 36, 1: 54, 0: 6, -1: 4})
"""A free batch: A10, and the increase at each following check, °C."""

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
"""A6, A25, A27 and B6 of a free batch, °C; one entry for each level of care: close, usual, loose."""

CRYSTAL2_LONG = weighted({73: 99, 75: 1})

CARE = weighted({0: 6, 1: 8, 2: 4})
"""Level of care in a period."""
BY_BOOK = (700, 400, 270)
"""Per mille of the batches run by the book, for each level of care."""
CARE_YIELD, ODD_SHIFTS_YIELD = (-250, 0, 600), -1_350
"""Effect of care, or of the odd shifts, on the yield, thousandths of a lattice step: the weak trace of the yield level
in the readings."""

RICH_SHIFT = weighted({0: 1, 1: 4, 2: 5})
"""The shift of the day that starts the larger charge."""

OWN_WAY = 620
"""Per mille of the batches not by the book that follow one of the crew's own profiles."""
UNSETTLED_YIELD = -1_900
"""Effect on the yield of a batch run while the crew returns to this process, thousandths of a lattice step."""

ODD_B1 = (310, 300, 330, 260, 360, 340)
"""B1 of one batch in forty, kg."""
ODD_STEPS = (
    ("heat", 90), ("heat", 60), ("wait_quench", 10), ("quench", 30), ("crystal2", 30), ("wait_transfer", 30),
    ("dosing", 90), ("wait_cooling", 30), ("cooling", 60), ("cooling", 240), ("wait_spin1", 60),
)  # fmt: skip
"""Steps of one batch in twenty that took another time, minutes."""


class NewProcess:
    """Simulates batches of the new process, one period after another; each period gets new habits."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        draws = self._habit_draws = Draws(seed, "new")
        self._shifts3, self._shifts1 = Deck(draws, SHIFTS3), Deck(draws, SHIFTS1)
        self._rich_shift, self._rich1 = Deck(draws, RICH_SHIFT), Deck(draws, (0, 0, 840, 840))
        self._care, self._crystal1 = Deck(draws, CARE), Deck(draws, CRYSTAL1)
        self._by_book1, self._start = Deck(draws, (960, 960, 900, 800)), Deck(draws, (0, 1, 2))
        self._spin3 = Deck(draws, (0,) * 7 + (120, 300, 400))
        self._spin1, self._dosing = Deck(draws, (False,) * 16 + (True,)), Deck(draws, (False,) * 6 + (True,))

    def begin(self, period: Period) -> None:
        """Draw the habits of a period; lines keep to one shift while it lasts."""
        self.period, self.draws = period, Draws(self._seed, "period", period.number)
        draws = self._habit_draws
        three = self.three_spins = period.regime == "N3"
        care = self._care.deal() if three else 0
        self.rich_line = draws.below(3)  # the line with the larger charge
        self.shifts = (self._shifts3 if three else self._shifts1).deal()
        self.turn = (self._rich_shift.deal() if three else 1) - self.rich_line  # offset of the lines against the shifts
        self.rich_share = 940 if three else self._rich1.deal()  # per mille of its batches
        self.two_rich_lines = three and draws.chance(40)
        self.by_book = BY_BOOK[care] if three else self._by_book1.deal()  # per mille
        self.profiles = tuple(draws.pick(PROFILES3 if three else STANDARD1) for _ in range(4))
        self.endings = tuple(draws.pick(ENDINGS3[care]) for _ in range(3)) if three else ((80, 73, 80),)
        self.start_at = (START3 if three else START1)[self._start.deal()]
        self.crystal1 = self._crystal1.deal() if three else (80,)
        self.crystal1_free = CRYSTAL1_FREE[care] if three else (80,)
        self.crystal2_free = CRYSTAL2_FREE[care] if three else CRYSTAL2_LONG
        self.dosing_at_free = DOSING_AT_FREE[care] if three else (80,)
        self.long_spin3 = self._spin3.deal() if three else 0  # per mille of third spins of 90 minutes
        self.long_spin1 = three and self._spin1.deal()  # one line spins 150 and 120 minutes
        self.late_dosing = three and self._dosing.deal()  # the rich line waits a shift before dosing
        self.short_line = draws.below(3)  # the line that shortens the one long spin
        self.short_spin = draws.pick((180, 180, 180, 210))  # and to how many minutes
        self.odd_shifts = self.shifts == ODD_SHIFTS
        self.yield_effect = ODD_SHIFTS_YIELD if self.odd_shifts else CARE_YIELD[care]

    def run(self, number: int) -> Recipe:
        """Return the recipe of batch `number`; the three lines take turns by number."""
        draws, period = self.draws, self.period
        line = number % 3
        unsettled = period.settling and self.three_spins and number - period.first < 6 and draws.chance(400)
        hour = self.shifts[(line + self.turn) % len(self.shifts)]
        start = 60 * hour if draws.chance(975) else 30 * draws.below(48)
        steps = self._steps(line)
        by_book = draws.chance(self.by_book)
        a6, a10, a12, a15, a17 = self._profile(by_book or draws.chance(280))
        a25, a27, b6 = self._ending(by_book or draws.chance(330))
        b1 = 320 if draws.chance(975) else draws.pick(ODD_B1)
        if unsettled:
            steps = steps._replace(heat=90, spin1=60, spin2=60, crystal2=30)
            a6, b1, b6 = draws.pick((17, 18, 20, 26)), 380, 70
        product = self._product(line)
        numbers = {"A6": a6, "A10": a10, "A12": a12, "A15": a15, "A17": a17, "A19": 200, "A25": a25, "A27": a27}
        numbers |= {"B1": b1, "B6": b6, "B8": 45 if draws.chance(992) else 46, "B12": 1200, "B14": product}
        if draws.chance(8):
            numbers |= {"A22": 8} if self.three_spins else {"A21": 45}
        cells = TYPICAL | timetable(start, steps) | {name: number_text(value) for name, value in numbers.items()}
        effect = UNSETTLED_YIELD if unsettled else self.yield_effect
        return Recipe(cells, 300, product, line, effect, unsettled or self.odd_shifts)

    def _steps(self, line: int) -> Steps:
        """Step lengths of one batch: the same every day, except for a few."""
        draws, steps = self.draws, Steps()
        if self.three_spins:
            if self.long_spin1 and line == self.short_line:
                steps = steps._replace(spin1=150, spin2=120)
            if self.late_dosing and line == self.rich_line:
                steps = steps._replace(wait_dosing=480)
            if draws.chance(self.long_spin3):
                steps = steps._replace(spin3=90)
            if draws.chance(20):
                steps = steps._replace(spin1=60, spin2=60, wait_spin2=30)
        else:
            short = line == self.short_line and draws.chance(280)
            steps = steps._replace(spin1=self.short_spin if short else 240, spin2=None, spin3=None)
        if draws.chance(45):
            name, minutes = draws.pick(ODD_STEPS)
            steps = steps._replace(**{name: minutes})
        return steps

    def _profile(self, by_book: bool) -> Profile:
        """A6 and the temperatures along the hydrolysis, °C."""
        draws = self.draws
        if by_book:
            return draws.pick(STANDARD3 if self.three_spins else STANDARD1)
        if draws.chance(OWN_WAY):
            return draws.pick(self.profiles)
        a10 = draws.pick(FREE_A10)
        a12 = a10 + draws.pick(FREE_A12)
        a15 = a12 + draws.pick(FREE_A15)
        return draws.pick(self.start_at), a10, a12, a15, a15 + draws.pick(FREE_A17)

    def _ending(self, by_book: bool) -> Ending:
        """A25, A27 and B6, °C."""
        draws = self.draws
        if by_book:
            return draws.pick(self.crystal1), 73, 80
        if draws.chance(OWN_WAY):
            return draws.pick(self.endings)
        return draws.pick(self.crystal1_free), draws.pick(self.crystal2_free), draws.pick(self.dosing_at_free)

    def _product(self, line: int) -> int:
        """B14, kg: one line of three is charged more than the others."""
        draws = self.draws
        rich = line == self.rich_line or (self.two_rich_lines and line == (self.rich_line + 1) % 3)
        if self.period.variant == "heavy":
            return draws.pick((440, 420))
        if self.three_spins:
            return 420 if draws.chance(self.rich_share if rich else 10) else 400
        if draws.chance(25):
            return draws.pick((400, 420, 420, 420))
        return 460 if rich and draws.chance(self.rich_share) else 440
