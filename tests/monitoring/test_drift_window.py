"""Drift of a window against the reference profile."""

from functools import cache

import msgspec
import numpy as np
import pytest

from batchyield.monitoring.drift_window import (
    FEATURE_OF_READING,
    MIN_BLANK_CHANGE,
    MIN_PSI,
    MIN_WINDOW_BATCHES,
    DriftVerdict,
    compute_window_drift,
)
from batchyield.plant.batch import READING_NAMES
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features import FEATURES, INDEX, featurize
from batchyield.plant.simulator import simulate
from batchyield.serving.reference_profile import build_reference

COLUMNS = [feature.name for feature in FEATURES]


@cache
def plant():
    """Training batches and later batches of a steady plant, drawn from one shuffled sample."""
    sheet = read_sheet(simulate(rows=2000).csv())
    order = np.random.default_rng(4).permutation(2000)
    rows = [sheet.batches[i] for i in order]
    return rows[:1200], rows[1200:]


def yields_of(batches):
    return 0.9 + 0.00001 * np.nan_to_num(featurize(batches).values[:, INDEX["B14"]])


@cache
def trained():
    rows, _ = plant()
    values = featurize(rows).values
    blank = {name: sum(getattr(row, name) is None for row in rows) / len(rows) for name in READING_NAMES}
    return build_reference(COLUMNS, values, yields_of(rows), blank, values[:, INDEX["id_number"]])


def window_drift(batches):
    return compute_window_drift(trained(), batches, featurize(batches).values, yields_of(batches))


def later_batches(count=400, **changes):
    """Batches of the steady plant; `changes` by reading: a value, or a function of the old value. Blanks stay."""

    def change(batch):
        values = {
            name: (value(getattr(batch, name)) if callable(value) else value)
            for name, value in changes.items()
            if getattr(batch, name) is not None
        }
        return msgspec.structs.replace(batch, **values)

    return [change(batch) for batch in plant()[1][:count]]


def drift_of(result, reading):
    return next(drift for drift in result.readings if drift.reading == reading)


def test_features_of_readings():
    """Each reading is tested by a feature of its own."""
    assert list(FEATURE_OF_READING) == list(READING_NAMES)
    assert len(set(FEATURE_OF_READING.values())) == len(READING_NAMES)
    assert set(FEATURE_OF_READING.values()) <= set(COLUMNS)


class TestWindowDrift:
    def test_reading_added_after_training(self):
        """A reading that the model was not trained with is not tested; the others are tested as before."""
        features = {name: profile for name, profile in trained().features.items() if name != "A1"}
        earlier = msgspec.structs.replace(trained(), features=features)
        batches = later_batches(200)
        found = compute_window_drift(earlier, batches, featurize(batches).values, yields_of(batches))
        assert [reading.reading for reading in found.readings] == [name for name in READING_NAMES if name != "A1"]
        assert drift_of(found, "A3").psi == drift_of(window_drift(batches), "A3").psi

    def test_steady_plant(self):
        """No reading of a steady plant has drifted, nor have the predictions."""
        result = window_drift(later_batches())
        assert result.drifted == ()
        assert result.prediction.verdict is DriftVerdict.STEADY
        assert [drift.reading for drift in result.readings] == list(READING_NAMES)

    @pytest.mark.parametrize(
        ("reading", "change"),
        [
            ("A6", lambda v: v + 8),
            ("A10", lambda v: v + 1.5),
            ("B14", lambda v: v - 30),
            ("A21", lambda v: v * 1.4),
            ("B8", None),
            ("A3", 377.0),
            ("B9", "9:00-9:20"),
        ],
    )
    def test_changed_reading(self, reading, change):
        """A changed reading has drifted; besides it, only one that shares a step with it may have."""
        result = window_drift(later_batches(**{reading: change}))
        assert reading in result.drifted
        assert drift_of(result, reading).p < 0.01
        assert len(set(result.drifted) - {reading}) <= 2

    def test_other_differences(self):
        """A few more blanks do not turn a chance difference of the values into drift: each must stand for itself."""
        batches = later_batches(150)
        for batch in range(7):
            batches[batch] = msgspec.structs.replace(batches[batch], A5=None)
        result = window_drift(batches)
        drift = drift_of(result, "A5")
        assert drift.p < 0.01, "the blanks are significant"
        assert drift.blank - drift.blank_trained < MIN_BLANK_CHANGE, "and too few to matter"
        assert drift.psi > MIN_PSI, "the values differ by chance"
        assert result.drifted == ()

    def test_new_level(self):
        """A value that does not occur in the training is counted as new."""
        result = window_drift(later_batches(B12=lambda v: 950.0 if v == 1200.0 else v))
        drift = drift_of(result, "B12")
        assert drift.new > 0.3
        assert drift.verdict is DriftVerdict.DRIFTED

    def test_changed_predictions(self):
        """Lower predictions have drifted and have a negative z score."""
        prediction = window_drift(later_batches(B14=lambda v: v - 40)).prediction
        assert prediction.verdict is DriftVerdict.DRIFTED
        assert prediction.z < -10
        assert prediction.mean < prediction.mean_trained

    def test_too_few_batches(self):
        """Below the minimum there is no verdict."""
        result = window_drift(later_batches(MIN_WINDOW_BATCHES - 1, A6=lambda v: v + 30))
        assert result.drifted == ()
        assert {drift.verdict for drift in result.readings} == {DriftVerdict.TOO_FEW}
        assert result.prediction.verdict is DriftVerdict.TOO_FEW
        assert result.needed == MIN_WINDOW_BATCHES

    @pytest.mark.parametrize("count", [0, 1])
    def test_empty_window(self, count):
        """Windows of no or one batch are valid."""
        result = window_drift(later_batches(count))
        assert result.batches == count
        assert all(0 <= drift.p <= 1 for drift in result.readings)
        assert (result.prediction.mean is None) == (count == 0)

    def test_reading_absent_from_training(self):
        """A reading that was always blank in the training has drifted when values come."""
        rows, more = plant()
        without = [msgspec.structs.replace(row, A23=None) for row in rows]
        values = featurize(without).values
        reference = build_reference(COLUMNS, values, yields_of(without), {"A23": 1.0}, values[:, INDEX["id_number"]])
        result = compute_window_drift(reference, more, featurize(more).values, yields_of(more))
        assert "A23" in result.drifted
