"""The old process: any half hour may be a start, and steps wait for people."""

from batchyield.simulate.campaigns import Period
from batchyield.simulate.draws import Draws, weighted
from batchyield.simulate.old_habits import NIGHT, OldDecks, OldHabits
from batchyield.simulate.recipe import TYPICAL, Recipe, number_text
from batchyield.simulate.timetable import DAY, Steps, timetable

MORNING = 480
"""The day crew starts at 8:00; a vessel that is cold in the small hours is left for it."""

HOLD_AT = weighted({80: 78, 73: 11, 74: 6, 82: 3, 81: 2})
"""A8, °C."""

ODD_PRODUCT = (380, 380, 395, 392, 387, 405, 418, 380)
"""B14 of a batch in seventy, kg."""

TRIAL = weighted({(200, 270, 470, (256, 260, 280, 280, 280)): 6, (250, 340, 590, (340, 340, 350)): 4})
"""A1, A3, A4 and the B14 that goes with them in the small trial charges, kg."""


class OldProcess:
    """Runs batches of the old process, one period after another."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._decks = OldDecks(seed)
        self._now = 0

    def begin(self, period: Period) -> None:
        """Takes up the habits of a period."""
        self._period = period
        self._draws = Draws(self._seed, "period", period.number)
        self._habits = self._decks.habits(period)

    def run(self, _: int) -> Recipe:
        """The next batch; its number tells nothing here."""
        draws, h = self._draws, self._habits
        self._now += draws.pick(h.spacing)
        s = _steps(draws, h, self._now)
        cells = dict(TYPICAL)
        charge, product = 300, draws.pick(ODD_PRODUCT) if draws.chance(14) else draws.pick(h.product)
        a12, a15, a17 = draws.pick(h.profile)
        a25, a27 = h.cooling
        cells |= {
            "A6": number_text(draws.pick(h.start_at)),
            "A10": "101" if draws.chance(33) else "100",
            "A12": number_text(a12),
            "A15": number_text(a15 if draws.chance(850) else a15 + 1),
            "A17": number_text(a17 if draws.chance(850) else a17 + draws.pick((1, -1))),
            "A19": number_text(draws.pick(h.water)),
            "A21": number_text(draws.pick(h.acid)),
            "A22": "10" if draws.chance(h.second_ph) else "9",
            "A25": number_text(a25 if draws.chance(955) else a25 + draws.pick((1, 1, 2, 5))),
            "A27": number_text(a27 if draws.chance(890) else a27 + draws.pick((-1, -1, 1, 2, -4))),
            "B1": number_text(draws.pick(h.vessel)),
            "B6": number_text(draws.pick(h.dosing_at)),
            "B8": number_text(draws.pick(h.cooled_to)),
            "B12": h.wash,
        }
        if h.held:
            cells["A8"] = number_text(draws.pick(HOLD_AT))
        if self._period.variant == "substitute":
            del cells["A3"]
            cells |= {"A2": "125", "A4": "980"}
        if self._period.regime == "S":
            charge, a3, a4, products = draws.pick(TRIAL)
            product = draws.pick(products)
            s = s._replace(spin1=120, spin2=None)
            cells |= {
                "A1": number_text(charge),
                "A3": number_text(a3),
                "A4": number_text(a4),
                "A21": number_text(draws.pick((30, 30, 30, 25))),
            }
            cells |= {"B1": number_text(draws.pick((190, 200, 230, 240))), "B12": "400", "B13": "0.03"}
        cells["B14"] = number_text(product)
        return Recipe(cells | timetable(self._now, s), charge, product)


def _steps(draws: Draws, h: OldHabits, start: int) -> Steps:
    """Step lengths of a batch that starts at `start`."""
    jitter = 10 * (draws.below(5) - 2) if h.grid == 10 else 0
    heat = draws.pick(h.heat) + jitter
    s = Steps(
        hold=min(draws.pick((10, 10, 10, 10, 15, 15, 20, 30, 30)), heat) if h.held else None,
        heat=heat,
        check1=60 if draws.chance(975) else 90,
        check2=60 if draws.chance(985) else 90,
        wait_quench=abs(jitter) if h.grid == 10 else draws.pick(h.quench_wait),
        quench=60 if draws.chance(280 if h.prompt else 60) else 30 if h.grid == 30 else draws.pick((20, 30, 30, 40)),
        wait_crystal1=draws.pick((0, 20, 30, 30, 30) if h.prompt else (0, 30)),
        crystal2=30 if draws.chance(955) else 60,
        wait_transfer=0 if h.prompt and draws.chance(920) else draws.pick(NIGHT),
        transfer=30 if draws.chance(930 if h.held else 60) else 60 if draws.chance(950) else 70,
        wait_dosing=0 if draws.chance(880) else draws.pick((30, 30, 60)),
        dosing=draws.pick((120, 120, 120, 60, 90) if h.held else (60, 60, 60, 60, 90) if h.prompt else (60, 90, 90)),
        wait_cooling=0 if draws.chance(975) else 30,
        cooling=draws.pick(
            (120, 120, 120, 120, 60, 150) if h.prompt else (90, 120, 120, 150, 150, 180, 180, 210, 240, 270)
        ),
        wait_spin1=draws.pick((0, 0, 0, 10) if h.prompt else (0, 0, 0, 0, 30, 60, 90, 120)),
        spin1=90 if draws.chance(850) else draws.pick((60, 60, 120, 70, 80)),
        wait_spin2=draws.pick((30, 30, 30, 30, 60, 60, 60, 60, 90, 0)),
        spin2=90 if draws.chance(770) else draws.pick((60, 60, 120, 70, 80)),
        spin3=None,
    )
    cold = (start + sum(s[1:15])) % DAY
    if MORNING - 240 <= cold < MORNING and draws.chance(500):
        s = s._replace(cooling=s.cooling + MORNING - cold, wait_spin1=0)
    return s
