"""The checks of the plant's table: each case is a table that is wrong in one place."""

import pytest

from batchyield.errors import ConfigError
from batchyield.plant import table
from batchyield.plant.features import catalogue
from batchyield.plant.rows import FeatureRow, Slice, ratio, total

READING = table.READINGS[0]


class TestCheckTable:
    @pytest.mark.parametrize(
        ("name", "value", "problem"),
        [
            ("READINGS", (*table.READINGS, READING), "READINGS: A1 is named 2 times"),
            ("READINGS", (*table.READINGS, READING._replace(name="C1", kind="clock")), "no row of FEATURES uses C1"),
            ("ROWS", (*catalogue.ROWS, ratio("A3", "A1")), "FEATURES: A3_per_A1 is named 2 times"),
            ("ROWS", (*catalogue.ROWS, ratio("A3", "C1")), "FEATURES: A3_per_C1 needs C1, which is no"),
            ("ROWS", (*catalogue.ROWS, ratio("A3", "A4", group="colours")), "in the group colours, which GROUPS"),
            ("ROWS", (*catalogue.ROWS, total("unused", ("A3", "A4"))), "no row uses unused"),
            ("ROWS", (*catalogue.ROWS, FeatureRow("length", ("A1",), "x", "lengths")), "x needs A1, which is no"),
            ("ROWS", tuple(row for row in catalogue.ROWS if row.kind != "id_number"), "needs one row id_number"),
            ("INTERVAL_FLAGS", ("C1_missing",), "INTERVAL_FLAGS needs C1_missing"),
            ("LINE_FEATURE", "C1", "LINE_FEATURE needs C1"),
            ("SLICES", (Slice("colour", ("C1",), str),), "SLICES: colour needs C1"),
        ],
    )
    def test_wrong(self, monkeypatch, name, value, problem):
        """A wrong row is refused, and the error names the table and the row."""
        monkeypatch.setattr(catalogue, name, value)
        with pytest.raises(ConfigError, match=problem) as caught:
            catalogue.check_table()
        assert catalogue.TABLE in str(caught.value)
