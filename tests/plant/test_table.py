"""The plant's table: its checks, and the texts, limits and units that derive from its target."""

import pytest
from support.commands import ROOT

from batchyield.errors import ConfigError
from batchyield.monitoring.dashboard_units import DASHBOARD, RULES, dashboard, rules
from batchyield.plant import load_simulator, table
from batchyield.plant.features import catalogue
from batchyield.plant.rows import FeatureRow, Slice, ratio, total
from batchyield.plant.table import READINGS, TARGET

READING = table.READINGS[0]
MPA = {"word": "strength", "unit": "MPa", "factor": 1.0, "typical": 35.0, "scale": 15.0}


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


class TestTarget:
    @pytest.mark.parametrize(
        ("changes", "stored", "expected", "difference"),
        [
            ({}, "yield, as a fraction", "a yield is a fraction near 0.92", "points"),
            (MPA, "strength [MPa]", "a strength is a number near 35 MPa", "MPa"),
            (MPA | {"word": "index", "unit": ""}, "index", "an index is a number near 35", ""),
        ],
    )
    def test_texts(self, changes, stored, expected, difference):
        """Texts name the target with its unit."""
        target = TARGET._replace(**changes)
        assert (target.stored, target.expected, target.difference_unit) == (stored, expected, difference)

    @pytest.mark.parametrize(("word", "words"), [("yield", "yields"), ("density", "densities"), ("loss", "losses")])
    def test_plural(self, word, words):
        """The plural of the word follows the spelling."""
        assert TARGET._replace(word=word).words == words


class TestDashboardUnits:
    @pytest.mark.parametrize(("path", "rewrite"), [(DASHBOARD, dashboard), (RULES, rules)])
    def test_files(self, path, rewrite):
        """The committed dashboard and alerts are those of the table; another target changes its panels and limits."""
        text = (ROOT / path).read_text()
        assert rewrite(text, TARGET, len(READINGS)) == text
        other = rewrite(text, TARGET._replace(**MPA), 8)
        assert "MPa" in other
        assert "> 0.01" not in other
        assert rewrite(other, TARGET, len(READINGS)) == text


def test_no_simulator(monkeypatch):
    """Without a simulator, the sample is refused in one sentence with what to do instead."""
    monkeypatch.setattr(table, "SIMULATOR", None)
    with pytest.raises(ConfigError, match=r"this plant has no simulator .*\n.*make repro-real DATA="):
        load_simulator()
