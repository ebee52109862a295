"""The new process: three shifts, the same steps every day, two recipes of temperatures that cover most batches."""

from batchyield.simulate.campaigns import Period
from batchyield.simulate.draws import Draws
from batchyield.simulate.new_habits import (
    FREE_A10,
    FREE_A12,
    FREE_A15,
    FREE_A17,
    STANDARD1,
    STANDARD3,
    Ending,
    NewDecks,
    NewHabits,
    Profile,
)
from batchyield.simulate.recipe import TYPICAL, Recipe, number_text
from batchyield.simulate.timetable import Steps, timetable

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
