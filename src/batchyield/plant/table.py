"""The table of this plant: all that another plant replaces, together with `conf/`.

Everything else derives from these rows: `Batch` and its JSON schema, the CSV header, the limits of the data contract,
the features, the data dictionary, examples, words, units and scales. Rows are checked at import; an error names this
file. The plant's file names its columns by letter and number only; the meanings here are inferred from values and
position.
"""

from itertools import pairwise

from batchyield.plant.mass_balance import MassBalance
from batchyield.plant.rows import (
    FeatureRow,
    Reading,
    RepairRule,
    Slice,
    Target,
    clock,
    difference,
    id_number,
    length,
    missing,
    ratio,
    shift,
    step,
    total,
)

ID_COLUMN = "样本id"
"""Header of the batches' names; empty: the file has none, and a batch is named by its row."""

ENCODING = "GB18030"
"""Encoding of the plant's own files, tried after UTF-8."""

TARGET = Target(
    column="收率",
    word="yield",
    word_zh="收率",
    unit="%",
    factor=100.0,
    decimals=2,
    typical=0.92,
    usual=(0.82, 1.0),
    bounds=(0.0, 1.2),
    limits=(0.0, 1.1),  # a yield is not negative, and the mass balance allows no more
    scale=0.03,
)

MAX_READING = 1e6
"""Largest magnitude of a reading: a larger one is a typing error and could overflow float32 features."""

MISTYPED: dict[str, float | str | None] = {"A17": None, "B9": "17；00-18:30", "B14": 420}
"""What differs in the second example of the API, with a blank and a typing error that is repaired."""

POSSIBLE: dict[str, tuple[float, float]] = {
    "kg": (0, 20_000), "°C": (-50, 20_000), "MPa": (0, 20_000), "pH": (0, 20_000),
}  # fmt: skip
"""Bounds by unit, wide enough for a reading in a wrong column or with a digit too many."""

# name, kind, unit, meaning, meaning_zh, usual, plausible, may be blank, example; since
READINGS: tuple[Reading, ...] = (
    Reading("A1", "number", "kg", "charge of the starting material", "起始原料投料量",
            (200, 300), (50, 2000), False, 300),
    Reading("A2", "number", "kg", "alternative charge, given where A3 is not", "替代投料量，未投 A3 时填写",
            (100, 150), None, True, None),
    Reading("A3", "number", "kg", "first reagent", "第一种试剂", (270, 405), None, False, 405),
    Reading("A4", "number", "kg", "solvent or water", "溶剂或水", (470, 980), None, False, 700),
    Reading("A5", "clock", "", "hydrolysis starts", "水解开始", None, None, False, "6:00:00"),
    Reading("A6", "number", "°C", "temperature at the start", "开始时的温度", (15, 100), None, False, 29),
    Reading("A7", "clock", "", "optional holding step starts", "可选保温步骤开始", None, None, True, None),
    Reading("A8", "number", "°C", "temperature of the optional holding step", "可选保温步骤的温度",
            (70, 85), None, True, None),
    Reading("A9", "clock", "", "heating starts", "升温开始", None, None, False, "8:00:00"),
    Reading("A10", "number", "°C", "temperature at A9", "A9 时的温度", (98, 105), (90, 120), False, 101),
    Reading("A11", "clock", "", "first check", "第一次检查", None, None, False, "9:00:00"),
    Reading("A12", "number", "°C", "temperature at A11", "A11 时的温度", (98, 108), (90, 120), False, 103),
    Reading("A13", "number", "MPa", "pressure at A11", "A11 时的压力", (0.1, 0.3), None, False, 0.2),
    Reading("A14", "clock", "", "second check", "第二次检查", None, None, False, "10:00:00"),
    Reading("A15", "number", "°C", "temperature at A14", "A14 时的温度", (98, 110), (90, 120), False, 104),
    Reading("A16", "clock", "", "third check", "第三次检查", None, None, False, "11:00:00"),
    Reading("A17", "number", "°C", "temperature at A16", "A16 时的温度", (98, 110), (90, 120), False, 105),
    Reading("A18", "number", "MPa", "pressure at A16", "A16 时的压力", (0.1, 0.3), None, False, 0.2),
    Reading("A19", "number", "kg", "water for the quench", "淬灭用水", (100, 350), (50, 600), False, 200),
    Reading("A20", "range", "", "quench", "淬灭", None, None, False, "11:00-12:00"),
    Reading("A21", "number", "kg", "acid, first dose", "酸，第一次加入", (20, 90), None, False, 50),
    Reading("A22", "number", "pH", "pH after the first dose", "第一次加入后的 pH", (7, 11), (5, 14), False, 9),
    Reading("A23", "number", "kg", "acid, second dose", "酸，第二次加入", (4, 10), None, False, 5),
    Reading("A24", "clock", "", "first crystallisation step starts", "第一结晶步骤开始",
            None, None, False, "12:00:00"),
    Reading("A25", "number", "°C", "temperature at A24", "A24 时的温度", (65, 90), (60, 95), False, 79),
    Reading("A26", "clock", "", "second crystallisation step starts", "第二结晶步骤开始",
            None, None, False, "13:00:00"),
    Reading("A27", "number", "°C", "temperature at A26", "A26 时的温度", (45, 80), (40, 95), False, 73),
    Reading("A28", "range", "", "transfer", "转料", None, None, False, "13:00-14:00"),
    Reading("B1", "number", "kg", "water of the second vessel", "第二釜用水", (190, 400), (100, 600), False, 320),
    Reading("B2", "number", "pH", "pH before dosing", "滴加前的 pH", (3, 4), (1, 14), False, 3.5),
    Reading("B3", "number", "pH", "pH after dosing", "滴加后的 pH", (3, 4), (1, 14), False, 3.5),
    Reading("B4", "range", "", "dosing", "滴加", None, None, False, "14:00-15:00"),
    Reading("B5", "clock", "", "cooling starts", "降温开始", None, None, False, "15:00:00"),
    Reading("B6", "number", "°C", "temperature at B5", "B5 时的温度", (40, 80), None, False, 78),
    Reading("B7", "clock", "", "cooling ends", "降温结束", None, None, False, "17:00:00"),
    Reading("B8", "number", "°C", "temperature at B7", "B7 时的温度", (20, 60), (10, 60), False, 45),
    Reading("B9", "range", "", "first spin", "第一次离心", None, None, False, "17:00-18:30"),
    Reading("B10", "range", "", "second spin", "第二次离心", None, None, True, "18:30-20:00"),
    Reading("B11", "range", "", "third spin", "第三次离心", None, None, True, "20:00-21:00"),
    Reading("B12", "number", "kg", "wash water", "洗涤用水", (400, 1200), None, False, 1200),
    Reading("B13", "number", "MPa", "pressure of the spin", "离心压力", (0.03, 0.2), (0.01, 1), False, 0.15),
    Reading("B14", "number", "kg", "wet product out of the spin", "离心后的湿产品", (250, 460), None, False, 400,
            settable=False),
)  # fmt: skip
"""The columns of the file between id and target, in its order: to add a reading, add a row, with `since` the version
that first knows it; files without the column are then read."""

REMOVED: dict[str, str] = {}
"""Reading that earlier versions knew -> the version that removed it. Clients and files may still send it; it is
ignored with a warning that has this text."""

GROUPS: dict[str, str] = {
    "readings": "the numbers as the plant writes them, after the repairs",
    "ratios": "doses relative to the charge and to each other",
    "steps": "time from the end of one process step to the start of the next, across midnight",
    "lengths": "how long a range lasts, and sums of them",
    "temperatures": "differences between consecutive temperatures",
    "missing": "1 where a reading that tells recipes apart is blank, else 0",
    "clocks": "the time of day at which a step starts",
    "order": "the batch number inside the id: the time order of the batches",
}
"""Groups of features: `conf/features/` selects those that a model uses."""

SHIFT_MINUTES, FIRST_SHIFT_MINUTES = 480.0, 360.0
MAX_STEP_MINUTES = 1200.0
MAX_RANGE_MINUTES = 360.0
LEAST_DIVISOR = 1.0
"""A ratio to less than this, in the unit of the divisor, is missing."""

PROCESS: tuple[str, ...] = (
    *("A5", "A9", "A11", "A14", "A16", "A20", "A24", "A26"),
    *("A28", "B4", "B5", "B7", "B9", "B10", "B11"),
)
"""The timed steps of every recipe, in process order; the optional A7 has steps of its own."""

FEATURES: tuple[FeatureRow, ...] = (
    *(ratio(name, "A1") for name in ("B14", "A3", "A4", "A19", "A21", "B1", "B12")),
    *(ratio("B14", name) for name in ("A4", "A19", "B1", "B12")),
    ratio("B1", "A19"),
    total("water", ("A4", "A19", "B1", "B12")),
    ratio("B14", "water", "wet product per all water: A4, A19, B1 and B12"),
    *(step(earlier, later) for earlier, later in pairwise(PROCESS)),
    step("A5", "A7"),
    step("A7", "A9"),
    *(length(reading.name) for reading in READINGS if reading.kind == "range"),
    total(
        "spin_length",
        ("B9_length", "B10_length", "B11_length"),
        "all spins together: B9, B10 and B11 as far as they are given",
        "lengths",
        known=True,
    ),
    total("reaction_length", ("A9_to_A11", "A11_to_A14", "A14_to_A16"), "from A9 to A16", "lengths"),
    total(
        "batch_length",
        (
            *(f"{earlier}_to_{later}" for earlier, later in pairwise(PROCESS[: PROCESS.index("B9") + 1])),
            *("A20_length", "A28_length", "B4_length", "B9_length"),
        ),
        "from A5 to the end of the first spin",
        "lengths",
    ),
    *(difference(later, earlier) for earlier, later in pairwise(("A6", "A10", "A12", "A15", "A17"))),
    difference("A17", "A10"),
    difference("A25", "A27"),
    difference("B6", "A27"),
    difference("B6", "B8"),
    *(missing(name) for name in ("A2", "A3", "A7", "B1", "B10", "B11")),
    *(clock(name) for name in ("A5", "A9", "A20", "A24", "A28", "B4", "B5", "B7", "B9", "B10", "B11")),
    shift("A5", "A5 since the last change of shift at 6:00, 14:00 or 22:00"),
    id_number("the number at the end of the id"),
)
"""The features after the number readings, which come first by themselves: to add a feature, add a row."""

LINE_FEATURE: str | None = "B14_per_A1"
"""Feature to which the target is nearly proportional, for the models on the mass line; None: no such feature."""

INTERVAL_FLAGS: tuple[str, ...] = ("B10_missing", "B11_missing")
"""Flags whose combinations have prediction intervals of their own: the number of spins separates the processes."""

RECIPE: tuple[str, ...] = ("B10", "B11", "B14")
"""Readings that tell recipes apart for the bias update: a text by whether it is blank, a number by its value."""

LINES = 3
"""Production lines, which take the batches in turn."""

BATCHES_PER_DAY = 12.0
"""Pace of the plant, which turns the start of a batch into its place in the order."""

SLICES: tuple[Slice, ...] = (
    Slice("period", ("id_number",), lambda n: f"{n // 200 * 200:04.0f}-{n // 200 * 200 + 199:04.0f}"),
    Slice("spins", INTERVAL_FLAGS, lambda second, third: f"{3 - second - third:.0f}"),
    Slice("charge", ("A1",), lambda charge: f"{charge:g} kg"),
    Slice("reagent", ("A2_missing",), lambda blank: "A3" if blank else "A2"),
)
"""Aspects of the evaluation by slice; a batch without one of the features is `unknown`."""

REPAIRS: tuple[RepairRule, ...] = (
    MassBalance(
        charge="A1",
        reagent="A3",
        solvent="A4",
        product="B14",
        usual_charges=(200.0, 250.0, 300.0),
        reagent_per_charge=1.35,
        reagent_bounds=(1.2, 1.5),
        solvent_per_reagent=(1.6, 1.9),
        product_bounds=(0.8, 1.55),
    ),
)

SIMULATOR: str | None = "batchyield.plant.simulator"
"""Package with `simulate`, `DEFAULT_ROWS` and `DEFAULT_SEED` of a sample plant; None: no demo data."""
