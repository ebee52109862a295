"""The simulator: bytes, form of the file, dirt and changes of the process."""

import hashlib
import itertools
import re
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batchyield.errors import ParamsError
from batchyield.plant.batch import READING_NAMES, READINGS
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features import featurize
from batchyield.plant.simulator import ProcessChange, simulate
from batchyield.plant.simulator.dirty_cells import serial_date


@cache
def default():
    return simulate()


def column(plant, name):
    i = READING_NAMES.index(name)
    return [row.clean[i] for row in plant.rows]


class TestFile:
    @pytest.mark.parametrize(
        ("arguments", "md5"),
        [((), "9152eeef39a74cfb33a5dad8a99d8d06"), ((50, 7), "9d5ee289c62fc4d538c5edc145717232")],
    )
    def test_pinned_bytes(self, arguments, md5):
        """Default arguments and a seed give known bytes."""
        data = simulate(*arguments).csv()
        assert hashlib.md5(data, usedforsecurity=False).hexdigest() == md5

    def test_seed(self):
        """Equal seeds give equal bytes, other seeds others."""
        assert simulate(60, 3).csv() == simulate(60, 3).csv()
        assert simulate(60, 3).csv() != simulate(60, 4).csv()

    @hypothesis_settings(deadline=None, max_examples=25)
    @given(rows=st.integers(1, 400), seed=st.integers(0, 2**32))
    def test_any_size_and_seed(self, rows, seed):
        """Every size and seed gives the form of the plant's file."""
        plant = simulate(rows, seed)
        data = plant.csv()
        assert b"\r" not in data
        assert data.endswith(b"\n")
        header, *lines = data.decode("GB18030").removesuffix("\n").split("\n")
        assert header == ",".join(("样本id", *READING_NAMES, "收率"))
        cells = [line.split(",") for line in lines]
        assert len(cells) == rows == len({line[0] for line in cells})
        for line in cells:
            assert len(line) == 44
            assert 1 <= int(line[0].removeprefix("sample_")) <= plant.batches
            assert re.fullmatch(r"[01](\.\d{0,3}[1-9])?", line[-1])
            assert not {"NaN", "nan", "None"} & set(line)

    def test_no_rows(self):
        """Fewer than one row is refused."""
        with pytest.raises(ParamsError, match="rows: must be at least 1, got 0"):
            simulate(0)


class TestClean:
    def test_cell_forms(self):
        """Clean cells have the forms of the plant."""
        forms = {
            "clock": r"(1?\d|2[0-3]):[0-5]\d:00",
            "range": r"(1?\d|2[0-3]):[0-5]\d-(1?\d|2[0-3]):[0-5]\d",
            "number": r"[1-9]\d*(\.5)?|0\.\d*[1-9]",
        }
        for reading in READINGS:
            for text in filter(None, column(default(), reading.name)):
                assert re.fullmatch(forms[reading.kind], text), (reading.name, text)

    def test_rows(self):
        """Clean rows are read without warnings."""
        plant = default()
        sheet = read_sheet(plant.csv(clean=True))
        assert sheet.batches == [row.batch() for row in plant.rows]
        assert sheet.yields == plant.yields
        assert not any(sheet.warnings)

    def test_step_order(self):
        """A clean batch never runs backwards: steps follow each other within a day."""
        order = ("A9", "A11", "A14", "A16", "A20", "A24", "A26", "A28", "B4", "B5", "B7", "B9", "B10", "B11")
        for cells in default().clean:
            ends = [re.findall(r"(\d+):(\d\d)", cells[name]) for name in order if cells[name]]
            for before, after in itertools.pairwise(ends):
                wait = (int(after[0][0]) * 60 + int(after[0][1])) - (int(before[-1][0]) * 60 + int(before[-1][1]))
                assert wait % 1440 <= 1110


class TestDirt:
    def test_marks(self):
        """Every dirty cell is marked with its kind."""
        for row, clean, dirty in zip(default().rows, default().clean, default().dirty, strict=True):
            assert {name for name in READING_NAMES if clean[name] != dirty[name]} == {dirt.column for dirt in row.dirt}
            assert len(row.dirt) == len({dirt.column for dirt in row.dirt})
            assert (row.clean is row.dirty) == (not row.dirt)

    def test_rates(self):
        """Counts in 14,000 rows resemble those of the real plant's 1,844; half to double for rare kinds."""
        plant = simulate(14_000, 5)
        counts = Counter(dirt.kind for row in plant.rows for dirt in row.dirt)
        real = {
            "one_digit_minute": 33, "semicolon": 27, "fullwidth_semicolon": 18, "excel_date": 9, "stray_colon": 4,
            "double_colon": 4, "trailing_character": 3, "no_colon": 2, "twenty_four": 2, "quote": 1,
            "three_digit_minute": 1, "no_hour": 1, "impossible_range": 12, "key_slip": 12, "wrong_scale": 4.5,
        }  # fmt: skip
        for kind, count in real.items():
            assert counts[kind] == pytest.approx(count * 14_000 / 1844, rel=0.1, abs=1.5), kind
        malformed = sum(any(d.kind not in ("backward_step", "wrong_column") for d in row.dirt) for row in plant.rows)
        assert 0.045 < malformed / 14_000 < 0.07
        assert 0.033 < np.mean([any(d.kind == "backward_step" for d in row.dirt) for row in plant.rows]) < 0.047
        swapped = {row.number for row in default().rows if any(d.kind == "wrong_column" for d in row.dirt)}
        assert swapped <= set(range(159, 186))
        assert 14 <= len(swapped) <= 26

    def test_features(self):
        """Unambiguous dirt gives the features of the clean row, with a warning for each dirty cell."""
        plant = simulate(14_000, 5)
        meant = {"one_digit_minute", "semicolon", "fullwidth_semicolon", "double_colon", "trailing_character", "quote"}
        batches = read_sheet(plant.csv()).batches
        scored = [
            (row, b)
            for row, b in zip(plant.rows, batches, strict=True)
            if row.dirt and {d.kind for d in row.dirt} <= meant
        ]
        read = featurize([batch for _, batch in scored])
        truth = featurize([row.batch() for row, _ in scored])
        assert {dirt.kind for row, _ in scored for dirt in row.dirt} == meant
        assert np.array_equal(read.values, truth.values, equal_nan=True)
        for (row, _), warnings in zip(scored, read.warnings, strict=True):
            assert {dirt.column for dirt in row.dirt} <= {warning.field for warning in warnings}

    @pytest.mark.parametrize(
        ("serial", "shown"), [(21, "1900/1/21 0:00"), (70, "1900/3/10 0:00"), (73, "1900/3/13 0:00")]
    )
    def test_serial_date(self, serial, shown):
        """Serial dates are those of a spreadsheet."""
        assert serial_date(serial) == shown


class TestProcessChange:
    def test_change(self):
        """A change applies from its batch on and leaves earlier ones."""
        plain = {row.number: row for row in simulate(600, 3).rows}
        plant = simulate(600, 3, change=ProcessChange(after=0.5, warmer=4, steps=-2))
        turned = round(plant.batches * 0.5)
        changed = [row for row in plant.rows if row.number > turned]
        assert all(row.clean == plain[row.number].clean for row in plant.rows if row.number <= turned)
        warmth = [
            int(row.clean[READING_NAMES.index("B6")]) - int(plain[row.number].clean[READING_NAMES.index("B6")])
            for row in changed
        ]
        assert set(warmth) == {4}
        fall = np.mean([float(row.outcome) - float(plain[row.number].outcome) for row in changed])
        assert fall == pytest.approx(-2 * 0.0113, abs=0.003)
        richer = simulate(600, 3, change=ProcessChange(after=0.0, richer=20))
        gain = [
            float(row.clean[READING_NAMES.index("B14")]) - float(plain[row.number].clean[READING_NAMES.index("B14")])
            for row in richer.rows
        ]
        assert np.median(gain) == 20
