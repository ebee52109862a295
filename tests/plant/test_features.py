"""The feature matrix: values, repairs and documentation."""

import math
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchyield.plant import cells, features
from batchyield.plant.batch import READING_NAMES, READINGS, Batch
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features import FEATURES, GROUPS, INDEX, WARNING_KINDS, featurize, id_number
from batchyield.plant.features.catalogue import ROWS, STEPS
from batchyield.plant.features.columns import id_numbers
from batchyield.plant.features.data_dictionary import markdown
from batchyield.plant.features.single_row import compute_row
from batchyield.plant.simulator import simulate

USUAL = Batch(
    id="sample_7",
    **{"A1": 300, "A3": 405, "A4": 700, "A5": "22:00:00", "A6": 29, "A9": "0:00:00", "A10": 101, "A11": "1:00:00"},
    **{"A12": 103, "A13": 0.2, "A14": "2:00:00", "A15": 105, "A16": "3:00:00", "A17": 106, "A18": 0.2, "A19": 200},
    **{"A20": "3:30-4:30", "A21": 50, "A22": 9, "A23": 5, "A24": "4:40:00", "A25": 80, "A26": "5:40:00", "A27": 73},
    **{"A28": "6:00-7:00", "B1": 320, "B2": 3.5, "B3": 3.5, "B4": "7:05-8:05", "B5": "8:10:00", "B6": 79},
    **{"B7": "10:10:00", "B8": 45, "B9": "10:30-12:00", "B10": "12:20-13:50", "B11": "14:00-15:00", "B12": 1200},
    **{"B13": 0.15, "B14": 400},
)


def changed(**readings):
    return msgspec.structs.replace(USUAL, **readings)


def value(batch, name):
    return featurize([batch]).values[0, INDEX[name]]


def warned(batch):
    return [(w.field, w.kind) for w in featurize([batch]).warnings[0]]


number = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1000)
clocks = st.none() | st.text(max_size=12) | st.times().map(lambda t: f"{t.hour}:{t.minute:02d}:00")
ranges = (
    st.none()
    | st.text(max_size=12)
    | st.tuples(st.times(), st.times()).map(lambda t: f"{t[0].hour}:{t[0].minute:02d}-{t[1].hour}:{t[1].minute:02d}")
)
kinds = {"number": number, "clock": clocks, "range": ranges}
batches = st.fixed_dictionaries(
    {"id": st.none() | st.text(max_size=20)} | {r.name: kinds[r.kind] for r in READINGS}
).map(lambda fields: Batch(**fields))


clean_kinds = {
    "number": lambda r: st.none() | st.floats(*(r.plausible or r.usual)),
    "clock": lambda _: st.none() | st.integers(0, 1439).map(lambda t: f"{t // 60}:{t % 60:02d}:00"),
    "range": lambda _: (
        st.none()
        | st.tuples(st.integers(0, 1439), st.integers(1, 360)).map(
            lambda t: "-".join(f"{at % 1440 // 60}:{at % 60:02d}" for at in (t[0], sum(t)))
        )
    ),
}
nearly_clean = st.fixed_dictionaries({}, optional={r.name: clean_kinds[r.kind](r) for r in READINGS}).map(
    lambda fields: changed(**fields)
)


def later(text, minutes):
    def move(part):
        hour, minute, *rest = part.split(":")
        total = (int(hour) * 60 + int(minute) + minutes) % 1440
        return ":".join([str(total // 60), f"{total % 60:02d}", *rest])

    return "-".join(map(move, text.split("-")))


class TestMatrix:
    @given(st.lists(batches, max_size=4))
    def test_any_batch(self, given_batches):
        """Any batch has every feature, and none is infinite."""
        made = featurize(given_batches)
        assert made.values.shape == (len(given_batches), len(FEATURES))
        assert made.values.dtype == np.float32
        assert made.values.flags.c_contiguous
        assert not np.isinf(made.values).any()
        for warnings in made.warnings:
            for warning in warnings:
                assert warning.field in READING_NAMES
                assert warning.kind in WARNING_KINDS | cells.WARNING_KINDS
                assert warning.message

    @given(st.lists(batches, min_size=1, max_size=4))
    def test_independent_rows(self, given_batches):
        """The features of a batch do not depend on the other batches."""
        together = featurize(given_batches)
        for i, batch in enumerate(given_batches):
            alone = featurize([batch])
            np.testing.assert_array_equal(together.values[i], alone.values[0])
            assert together.warnings[i] == alone.warnings[0]

    @given(batches | nearly_clean)
    def test_single_row(self, batch):
        """The features of a batch that is computed without NumPy have the same bits, warnings and blanks."""
        alone, twice = featurize([batch]), featurize([batch, batch])
        assert alone.values.tobytes() * 2 == twice.values.tobytes()
        assert alone.warnings * 2 == twice.warnings
        assert (alone.blanks * 2 == twice.blanks).all()
        assert (alone.values.dtype, alone.blanks.dtype) == (twice.values.dtype, twice.blanks.dtype)

    def test_single_rows_of_the_plant(self):
        """Most batches, also with warnings, are computed without NumPy, with the same bits."""
        rows = read_sheet(simulate(2000, seed=5).csv()).batches
        made = featurize(rows)
        single = [compute_row(row) for row in rows]
        found = [at for at, one in enumerate(single) if one is not None]
        assert len(found) > 1900
        assert [single[at][1] for at in found] == [made.warnings[at] for at in found]
        assert np.concatenate([single[at][0] for at in found]).tobytes() == made.values[found].tobytes()

    def test_empty(self):
        """No batches give an empty matrix."""
        assert featurize([]).values.shape == (0, len(FEATURES))

    def test_clean_batch(self):
        """A clean batch has no warnings."""
        assert featurize([USUAL]).warnings == [()]

    def test_blank_batch(self):
        """A blank batch has no values but its flags."""
        made = featurize([Batch()])
        present = {FEATURES[i].name for i in np.flatnonzero(~np.isnan(made.values[0]))}
        assert present == {f.name for f in FEATURES if f.group == "missing"}
        assert set(made.values[0][~np.isnan(made.values[0])]) == {1.0}
        assert made.warnings == [()]

    def test_names(self):
        """Names are unique and groups are known."""
        assert len({f.name for f in FEATURES}) == len(FEATURES)
        assert {f.group for f in FEATURES} == set(GROUPS)
        assert all(f.description for f in FEATURES)

    def test_imports(self):
        """Features need neither pandas nor scikit-learn."""
        script = (
            "import sys, batchyield.plant.features;print({'pandas', 'sklearn', 'scipy', 'onnx'} & set(sys.modules))"
        )
        assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "set()"

    def test_docs(self):
        """docs/features.md is the generated data dictionary."""
        page = Path(__file__).parents[2] / "docs" / "features.md"
        assert page.read_text(encoding="utf-8") == markdown(), (
            "run `python -m batchyield.plant.features.data_dictionary`"
        )
        assert all(f"`{kind}`" in markdown() for kind in features.WARNING_KINDS)

    @pytest.mark.real_data
    def test_real_file(self, real_data):
        """The real file keeps its rows and gets the known repairs."""
        from batchyield.plant.csv_reader import read_sheet

        sheet = read_sheet((real_data / "jinnan_round1_train_20181227.csv").read_bytes())
        made = featurize(sheet.batches)
        assert len(made.values) == len(made.warnings) == 1396
        ratio = made.values[:, INDEX["B14_per_A1"]]
        assert np.isnan(ratio).sum() <= 2
        assert np.nanmin(ratio) >= 0.8
        assert np.nanmax(ratio) <= 1.55
        kinds = [w.kind for warnings in made.warnings for w in warnings]
        assert 3 <= kinds.count("charge_from_product") + kinds.count("charge_from_reagents") <= 6
        assert sum(map(bool, made.warnings)) < 0.15 * 1396


class TestValues:
    @pytest.mark.parametrize("name", [r.name for r in READINGS if r.kind == "number" and r.name not in ("A2", "A8")])
    def test_number(self, name):
        """A plausible number is unchanged."""
        assert value(USUAL, name) == np.float32(getattr(USUAL, name))

    @pytest.mark.parametrize(
        ("over", "under"), [row.of for row in ROWS if row.kind == "ratio" and "water" not in row.of]
    )
    def test_ratio(self, over, under):
        """A ratio is the quotient of two readings."""
        assert value(USUAL, f"{over}_per_{under}") == np.float32(getattr(USUAL, over) / getattr(USUAL, under))

    def test_product_per_water(self):
        """B14 is divided by the sum of all water."""
        assert value(USUAL, "B14_per_water") == np.float32(400 / (700 + 200 + 320 + 1200))

    @pytest.mark.parametrize(("first", "second"), [row.of for row in ROWS if row.kind == "difference"])
    def test_temperature_difference(self, first, second):
        """A difference is the first temperature minus the second."""
        assert value(USUAL, f"{first}_minus_{second}") == getattr(USUAL, first) - getattr(USUAL, second)

    def test_steps(self):
        """A step lasts from the end of one to the start of the next."""
        expected = {
            **{
                "A5_to_A9": 120,
                "A9_to_A11": 60,
                "A11_to_A14": 60,
                "A14_to_A16": 60,
                "A16_to_A20": 30,
                "A20_to_A24": 10,
            },
            **{"A24_to_A26": 60, "A26_to_A28": 20, "A28_to_B4": 5, "B4_to_B5": 5, "B5_to_B7": 120, "B7_to_B9": 20},
            **{"B9_to_B10": 20, "B10_to_B11": 10},
        }
        assert {name: value(USUAL, name) for name in expected} == expected
        assert {f"{a}_to_{b}" for a, b in STEPS} == set(expected) | {"A5_to_A7", "A7_to_A9"}
        holding = changed(A7="22:50:00")
        assert (value(holding, "A5_to_A7"), value(holding, "A7_to_A9")) == (50, 70)
        assert math.isnan(value(USUAL, "A5_to_A7"))

    def test_lengths(self):
        """Lengths of ranges and their sums."""
        expected = {
            "A20_length": 60,
            "A28_length": 60,
            "B4_length": 60,
            "B9_length": 90,
            "B10_length": 90,
            "B11_length": 60,
        }
        assert {name: value(USUAL, name) for name in expected} == expected
        assert value(USUAL, "spin_length") == 240
        assert value(changed(B11=None), "spin_length") == 180
        assert math.isnan(value(changed(B9=None, B10=None, B11=None), "spin_length"))
        assert value(USUAL, "reaction_length") == 180
        assert value(USUAL, "batch_length") == 14 * 60  # 22:00 to 12:00

    def test_clocks(self):
        """Times of day and minutes since the change of shift."""
        assert value(USUAL, "A5_clock") == 22 * 60
        assert value(USUAL, "B9_clock") == 10 * 60 + 30
        assert [value(changed(A5=text), "A5_in_shift") for text in ("6:00:00", "13:30:00", "22:00:00", "5:59:00")] == [
            *(0, 450, 0, 479)
        ]

    @pytest.mark.parametrize("name", ["A2", "A3", "A7", "B1", "B10", "B11"])
    def test_flag(self, name):
        """A flag is 1 for a blank reading."""
        assert value(changed(**{name: None}), f"{name}_missing") == 1
        assert (
            value(
                changed(**{name: "7:00:00" if name == "A7" else "7:00-8:00" if name in ("B10", "B11") else 300.0}),
                f"{name}_missing",
            )
            == 0
        )

    @given(st.integers(0, 1439))
    def test_time_shift(self, minutes):
        """Steps and lengths do not depend on the start of the batch."""
        moved = changed(
            **{
                r.name: later(text, minutes)
                for r in READINGS
                if r.kind != "number" and (text := getattr(USUAL, r.name))
            }
        )
        for i, feature in enumerate(FEATURES):
            if feature.group in ("steps", "lengths"):
                np.testing.assert_array_equal(featurize([moved]).values[0, i], featurize([USUAL]).values[0, i])

    @pytest.mark.parametrize(
        ("name", "number"),
        [("sample_1528", 1528), ("7", 7), ("batch-2024-0012", 12), ("sample", None), ("", None), (None, None),
         ("sample_1428367", 1428367), ("sample_20261128", None), ("sample_" + "9" * 60, None), ("sample_７", None),
         ("12a", None)],
    )  # fmt: skip
    def test_id_number(self, name, number):
        """The number at the end of an id, up to seven digits, which float32 holds exactly; a date is none."""
        np.testing.assert_equal(id_number(name), math.nan if number is None else number)


class TestRepairs:
    def test_long_step(self):
        """A step of 20 hours or more is missing with a warning."""
        wrong = changed(A11="23:30:00")
        assert math.isnan(value(wrong, "A9_to_A11"))
        assert warned(wrong) == [("A11", "long_step")]
        assert value(changed(A11="19:59:00", A14="20:00:00"), "A9_to_A11") == 1199

    @pytest.mark.parametrize("text", ["18:30-15:00", "2:00-17:00", "5:00-5:00"])
    def test_impossible_range(self, text):
        """An impossible range has no length and a warning."""
        wrong = changed(B11=text)
        assert math.isnan(value(wrong, "B11_length"))
        assert ("B11", "impossible_range") in warned(wrong)

    def test_cell_warnings(self):
        """Warnings of cells are returned."""
        dirty = changed(A20="3：30-4;30")
        assert value(dirty, "A20_length") == 60
        assert [field for field, kind in warned(dirty) if kind in cells.WARNING_KINDS] == ["A20"]

    @pytest.mark.parametrize(
        ("readings", "charge", "product", "warning"),
        [
            ({"A1": 200.0}, 300, 400, ("A1", "charge_from_reagents")),
            ({"A1": None}, 300, 400, ("A1", "charge_from_reagents")),
            ({"A1": 200.0, "A3": 270.0, "A4": 470.0, "B14": 420.0}, 300, 420, ("A1", "charge_from_product")),
            ({"A1": 200.0, "A3": 270.0, "A4": 470.0, "B14": 340.0}, 250, 340, ("A1", "charge_from_product")),
            ({"B14": 40.0}, 300, 400, ("B14", "product_tenfold")),
            ({"B14": 785.0}, 300, None, ("B14", "product_impossible")),
            ({"B14": 100.0}, 300, None, ("B14", "product_impossible")),
            ({"B14": -400.0}, 300, None, ("B14", "product_impossible")),
            ({"A1": 3.0, "A3": None}, None, 400, ("A1", "implausible_number")),
        ],
    )  # fmt: skip
    def test_charge_and_product(self, readings, charge, product, warning):
        """A1 and B14 are corrected from other readings."""
        batch = changed(**readings)
        np.testing.assert_equal(value(batch, "A1"), np.nan if charge is None else charge)
        np.testing.assert_equal(value(batch, "B14"), np.nan if product is None else product)
        known = charge is not None and product is not None
        np.testing.assert_equal(value(batch, "B14_per_A1"), np.float32(product / charge) if known else np.nan)
        assert warning in warned(batch)

    @pytest.mark.parametrize(
        "readings",
        [
            {"A1": 200.0, "A3": 270.0, "A4": 470.0, "B14": 280.0},
            {"A1": 250.0, "A3": 340.0, "A4": 590.0, "B14": 340.0},
            {"A2": 125.0, "A3": None, "A4": 980.0},
            {"B14": 280.0},
            {"B14": 460.0},
        ],
    )
    def test_real_recipes(self, readings):
        """Real recipes are unchanged."""
        batch = changed(**readings)
        assert warned(batch) == []
        assert [value(batch, n) for n in ("A1", "B14")] == [batch.A1, batch.B14]

    def test_contradicting_reagents(self):
        """Reagents that contradict each other repair nothing."""
        assert math.isnan(value(changed(A1=None, A3=1.0, A4=1.7), "A1"))
        assert math.isnan(value(changed(A1=None, A4=300.0), "A1"))

    @pytest.mark.parametrize(
        ("name", "slip"), [("B1", 1200.0), ("B2", 0.15), ("A19", 700.0), ("A17", 89.0), ("A22", 3.5)]
    )
    def test_implausible_number(self, name, slip):
        """An implausible number is missing with a warning."""
        batch = changed(**{name: slip})
        assert math.isnan(value(batch, name))
        assert warned(batch) == [(name, "implausible_number")]

    @pytest.mark.parametrize("slip", [math.nan, math.inf, -math.inf, 1e300, 1e7])
    def test_extreme_number(self, slip):
        """Extreme numbers are missing with a warning."""
        batch = changed(A4=slip)
        assert math.isnan(value(batch, "A4"))
        assert ("A4", "implausible_number") in warned(batch)


@given(st.lists(st.none() | st.text("0123456789a\u00e9\u0663\uff11\n\0 \ud800", max_size=12), max_size=20))
@example(["1234567", "12345678", "0", "x9999999", "b12"])
def test_id_numbers(names):
    """The numbers of many ids are those of each: the digits 0 to 9 at the end, seven at the most."""
    assert repr(id_numbers(names).tolist()) == repr([id_number(name) for name in names])
