"""The old process: a batch may start at any half hour, and steps wait for staff.

The constants are the values a crew may prefer and their weights, as shares of batches. A key that is a tuple holds the
values that one crew draws from.
"""

from batchyield.plant.cells import DAY_MINUTES
from batchyield.plant.simulator.campaigns import Period
from batchyield.plant.simulator.random_draws import Deck, Draws, weighted
from batchyield.plant.simulator.recipe import TYPICAL, Recipe, Steps, number_text, timetable

Profile = tuple[int, int, int]
Waits = tuple[int, ...]

START = {
    "low": weighted({21: 46, 24: 20, 22: 9, 23: 9, 20: 6, 19: 3, 18: 3, 25: 2, 26: 1, 27: 1}),
    "hold": weighted({38: 40, 39: 12, 21: 20, 37: 8, 40: 6, 36: 4, 41: 3, 35: 3, 42: 1, 28: 2, 47: 1}),
    "mild": weighted({21: 40, 30: 12, 34: 9, 35: 11, 28: 10, 37: 8, 33: 4, 26: 4, 36: 2}),
    "cold": weighted({18: 60, 20: 30, 19: 10}),
    "hot": weighted({21: 50, 24: 20, 80: 14, 65: 5, 60: 5, 50: 4, 97: 1, 70: 1}),
}
"""A6, °C."""

FLAT: tuple[Profile, ...] = weighted(
    {
        (102, 103, 104): 17, (102, 104, 105): 13, (101, 103, 105): 13, (102, 104, 106): 7, (102, 103, 105): 8,
        (102, 102, 102): 6, (102, 102, 103): 4, (102, 103, 103): 4, (102, 104, 104): 5, (101, 103, 103): 4,
        (102, 102, 104): 4, (101, 102, 102): 4, (101, 103, 104): 3, (101, 102, 103): 2, (101, 102, 105): 2,
        (103, 103, 103): 2, (100, 103, 107): 2,
    }
)  # fmt: skip
STEEP: tuple[Profile, ...] = weighted(
    {
        (103, 105, 107): 5, (104, 106, 107): 5, (103, 105, 108): 4, (105, 107, 107): 4, (104, 106, 106): 4,
        (105, 106, 107): 3, (102, 104, 107): 3, (106, 106, 107): 2, (104, 105, 105): 3, (104, 106, 108): 3,
        (103, 104, 105): 3, (105, 105, 106): 3, (100, 104, 108): 2, (102, 103, 102): 3,
    }
)  # fmt: skip
HELD: tuple[Profile, ...] = weighted(
    {
        (102, 103, 102): 22, (102, 103, 104): 12, (103, 102, 102): 10, (102, 104, 103): 11, (102, 102, 104): 6,
        (102, 104, 102): 7, (103, 103, 102): 7, (103, 104, 103): 5, (103, 103, 104): 5, (102, 102, 102): 6,
        (102, 103, 103): 5, (103, 104, 104): 4,
    }
)  # fmt: skip
"""A12, A15 and A17, °C."""

ACID = weighted(
    {
        (50,): 11, (50,) * 20 + (60,) * 3: 2, (50,) * 6 + (40,) * 3 + (35,): 3,
        (40,) * 6 + (50,) * 3 + (30,) * 3 + (35,): 3, (50,) * 6 + (20, 30): 1,
    }
)  # fmt: skip
"""A21, kg."""
SECOND_PH = (0, 60, 200, 300, 300, 350, 350, 400, 450, 450)
"""A22 of 10 instead of 9, per mille."""
WATER = weighted({(300,): 13, (200,): 4, (300, 200): 2, (200, 100): 2})
"""A19, kg."""
COOLING = weighted(
    {
        (70, 78): 12, (70, 77): 1, (70, 76): 1, (70, 74): 1, (80, 78): 1, (75, 70): 1, (80, 70): 1, (70, 75): 2,
        (71, 79): 1,
    }
)  # fmt: skip
"""A25 and A27, °C; single batches deviate by a degree or two."""
VESSEL = weighted(
    {(300, 300, 310): 5, (290, 300, 280): 5, (340, 340, 350, 330): 4, (350, 360): 4, (380, 370): 1, (310, 300, 320): 2}
)
VESSEL_HELD = weighted({(330, 340): 2, (370,): 3, (350,): 3, (300,): 1})
"""B1, kg."""
DOSING_AT = weighted(
    {(60, 65): 6, (65,): 8, (60, 60, 65): 4, (67, 68, 70, 65): 1, (70, 75, 72, 76): 1, (66, 62, 69): 1}
)
DOSING_AT_HELD = weighted({65: 44, 50: 15, 60: 14, 45: 8, 52: 5, 40: 3, 54: 2, 56: 2, 48: 2, 75: 3, 80: 1, 58: 1})
"""B6, °C."""
COOLED_TO = weighted({(40, 40, 45): 9, (45,): 7, (45, 50): 4, (40, 46, 45): 1})
COOLED_TO_HELD = weighted({45: 50, 28: 11, 30: 10, 27: 7, 40: 6, 37: 4, 35: 3, 36: 3, 39: 2, 26: 2, 25: 1, 22: 1})
"""B8, °C."""
PRODUCT = weighted(
    {
        (400,) * 30 + (420,): 8, (420,) * 12 + (400,) * 5 + (440,): 5, (400,) * 9 + (420,) * 6 + (440,) * 2: 4,
        (400,) * 14 + (385,) * 4 + (390,): 3, (440,) * 6 + (400,) * 5 + (420,) * 4: 1,
    }
)  # fmt: skip
PRODUCT_SUBSTITUTE = (400,) * 9 + (390,) * 2
"""B14, kg."""

NIGHT = (300, 330, 360, 390, 390, 420, 420, 450, 450, 480, 480, 510, 510, 540, 570, 240)
QUENCH_WAIT: tuple[Waits, ...] = (
    (0, 0, 30, 30, 60, 90, 120, 120, 150, 180, 210, 210, 240, 270, 270, 300),
    (0, 0, 0, 30, 30, 90, 120, 150, 150, 180, 210, 240, 270),
    (30,) * 6 + (120, 180),
)
HEAT_HELD = weighted({120: 30, 90: 22, 110: 14, 150: 10, 100: 9, 105: 7, 130: 4, 135: 2, 140: 2})
HEAT_PROMPT: tuple[Waits, ...] = ((60,), (60, 90), (120, 90, 60))
HEAT_PLAIN: tuple[Waits, ...] = ((90, 90, 90, 90, 60), (90,), (90, 60))
COOLING_PROMPT = (120, 120, 120, 120, 60, 150)
COOLING_PLAIN = (90, 120, 120, 150, 150, 180, 180, 210, 240, 270)
"""Minutes."""

MORNING_MINUTES = 480
"""The day crew starts at 8:00; a vessel that is cold earlier waits for it."""

HOLD_AT = weighted({80: 78, 73: 11, 74: 6, 82: 3, 81: 2})
"""A8, °C."""

ODD_PRODUCT = (380, 380, 395, 392, 387, 405, 418, 380)
"""B14 of one batch in seventy, kg."""

TRIAL = weighted({(200, 270, 470, (256, 260, 280, 280, 280)): 6, (250, 340, 590, (340, 340, 350)): 4})
"""A1, A3, A4 and the possible B14 of the small trial charges, kg."""


class OldProcess:
    """Simulates batches of the old process, one period after another; each period gets new habits."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        draws = self._habit_draws = Draws(seed, "old")
        self._way = Deck(draws, weighted({"held": 5, "prompt": 6, "plain": 9}))
        self._start = Deck(draws, weighted({"low": 9, "mild": 4, "hot": 2, "cold": 1}))
        self._acid, self._second_ph, self._water = Deck(draws, ACID), Deck(draws, SECOND_PH), Deck(draws, WATER)
        self._cooling, self._product = Deck(draws, COOLING), Deck(draws, PRODUCT)
        self._vessel, self._vessel_held = Deck(draws, VESSEL), Deck(draws, VESSEL_HELD)
        self._dosing_at, self._cooled_to = Deck(draws, DOSING_AT), Deck(draws, COOLED_TO)
        self._wash = Deck(draws, (800,) * 20 + (900,))
        self._minute = 0

    def begin(self, period: Period) -> None:
        """Draw the habits of a period: values, or tuples from which each batch draws one."""
        self.period, self.draws = period, Draws(self._seed, "period", period.number)
        draws = self._habit_draws
        special = period.variant == "substitute" or period.regime == "S"
        way = "plain" if special else self._way.deal()
        held, prompt = self.held, self.prompt = way == "held", way == "prompt"
        steep = prompt and draws.chance(650)
        self.start_at = START["hold" if held else "low" if special else self._start.deal()]
        self.profile = HELD if held else STEEP if steep else FLAT
        self.acid = (50,) if held else self._acid.deal()
        self.second_ph = draws.pick((0, 100, 200)) if held else self._second_ph.deal()
        self.water = (300,) if held or special else self._water.deal()
        self.cooling = (70, 75) if held else self._cooling.deal()
        self.vessel = (self._vessel_held if held else self._vessel).deal()
        self.dosing_at = DOSING_AT_HELD if held else self._dosing_at.deal()
        self.cooled_to = COOLED_TO_HELD if held else self._cooled_to.deal()
        self.product = PRODUCT_SUBSTITUTE if special else self._product.deal()
        self.wash = self._wash.deal()
        self.heat = HEAT_HELD if held else draws.pick(HEAT_PROMPT if prompt else HEAT_PLAIN)
        self.quench_wait = (0, 0, 30, 10) if prompt else QUENCH_WAIT[0] if held else draws.pick(QUENCH_WAIT)
        self.grid = 10 if prompt and draws.chance(350) else 30  # minutes to which clocks are rounded
        self.spacing = (360, 360, 480) if prompt else (540, 570, 600, 630, 660, 720, 480)  # between batches, minutes

    def run(self, _: int) -> Recipe:
        """Return the recipe of the next batch; its number has no effect here."""
        draws, period = self.draws, self.period
        self._minute += draws.pick(self.spacing)
        steps = self._steps(self._minute)
        charge, product = 300, draws.pick(ODD_PRODUCT) if draws.chance(14) else draws.pick(self.product)
        a12, a15, a17 = draws.pick(self.profile)
        a25, a27 = self.cooling
        numbers = {
            "A6": draws.pick(self.start_at),
            "A10": 101 if draws.chance(33) else 100,
            "A12": a12,
            "A15": a15 if draws.chance(850) else a15 + 1,
            "A17": a17 if draws.chance(850) else a17 + draws.pick((1, -1)),
            "A19": draws.pick(self.water),
            "A21": draws.pick(self.acid),
            "A22": 10 if draws.chance(self.second_ph) else 9,
            "A25": a25 if draws.chance(955) else a25 + draws.pick((1, 1, 2, 5)),
            "A27": a27 if draws.chance(890) else a27 + draws.pick((-1, -1, 1, 2, -4)),
            "B1": draws.pick(self.vessel),
            "B6": draws.pick(self.dosing_at),
            "B8": draws.pick(self.cooled_to),
            "B12": self.wash,
        }
        cells = TYPICAL.copy()
        if self.held:
            numbers["A8"] = draws.pick(HOLD_AT)
        if period.variant == "substitute":
            del cells["A3"]
            numbers |= {"A2": 125, "A4": 980}
        if period.regime == "S":
            charge, a3, a4, products = draws.pick(TRIAL)
            product = draws.pick(products)
            steps = steps._replace(spin1=120, spin2=None)
            numbers |= {"A1": charge, "A3": a3, "A4": a4, "A21": draws.pick((30, 30, 30, 25))}
            numbers |= {"B1": draws.pick((190, 200, 230, 240)), "B12": 400}
            cells["B13"] = "0.03"
        numbers["B14"] = product
        cells |= {name: number_text(value) for name, value in numbers.items()}
        return Recipe(cells | timetable(self._minute, steps), charge, product)

    def _steps(self, start: int) -> Steps:
        """Step lengths of a batch that starts at minute `start`."""
        draws, prompt = self.draws, self.prompt
        jitter = 10 * (draws.below(5) - 2) if self.grid == 10 else 0
        heat = draws.pick(self.heat) + jitter
        steps = Steps(
            hold=min(draws.pick((10, 10, 10, 10, 15, 15, 20, 30, 30)), heat) if self.held else None,
            heat=heat,
            check1=60 if draws.chance(975) else 90,
            check2=60 if draws.chance(985) else 90,
            wait_quench=abs(jitter) if self.grid == 10 else draws.pick(self.quench_wait),
            quench=60
            if draws.chance(280 if prompt else 60)
            else 30
            if self.grid == 30
            else draws.pick((20, 30, 30, 40)),
            wait_crystal1=draws.pick((0, 20, 30, 30, 30) if prompt else (0, 30)),
            crystal2=30 if draws.chance(955) else 60,
            wait_transfer=0 if prompt and draws.chance(920) else draws.pick(NIGHT),
            transfer=30 if draws.chance(930 if self.held else 60) else 60 if draws.chance(950) else 70,
            wait_dosing=0 if draws.chance(880) else draws.pick((30, 30, 60)),
            dosing=draws.pick(
                (120, 120, 120, 60, 90) if self.held else (60, 60, 60, 60, 90) if prompt else (60, 90, 90)
            ),
            wait_cooling=0 if draws.chance(975) else 30,
            cooling=draws.pick(COOLING_PROMPT if prompt else COOLING_PLAIN),
            wait_spin1=draws.pick((0, 0, 0, 10) if prompt else (0, 0, 0, 0, 30, 60, 90, 120)),
            spin1=90 if draws.chance(850) else draws.pick((60, 60, 120, 70, 80)),
            wait_spin2=draws.pick((30, 30, 30, 30, 60, 60, 60, 60, 90, 0)),
            spin2=90 if draws.chance(770) else draws.pick((60, 60, 120, 70, 80)),
            spin3=None,
        )
        cold = (start + sum(steps[1:15])) % DAY_MINUTES
        if MORNING_MINUTES - 240 <= cold < MORNING_MINUTES and draws.chance(500):
            steps = steps._replace(cooling=steps.cooling + MORNING_MINUTES - cold, wait_spin1=0)
        return steps
