"""A window is judged by what has moved, never by what chance moves."""

from functools import cache

import msgspec
import numpy as np
import pytest

from batchyield.monitoring.drift_window import (
    FEATURE_OF_READING,
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
    """A steady plant: what it was trained on, and later batches in the same state, drawn from one shuffled sample."""
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


def window(batches):
    return compute_window_drift(trained(), batches, featurize(batches).values, yields_of(batches))


def later(count=400, **changes):
    """Batches of the steady plant, with readings changed by name: a value, or a function of the old one."""

    def changed(batch):
        made = {
            name: (how(getattr(batch, name)) if callable(how) else how)
            for name, how in changes.items()
            if getattr(batch, name) is not None
        }
        return msgspec.structs.replace(batch, **made)

    return [changed(batch) for batch in plant()[1][:count]]


def test_every_reading_is_watched_by_a_feature_of_its_own():
    assert list(FEATURE_OF_READING) == list(READING_NAMES)
    assert len(set(FEATURE_OF_READING.values())) == len(READING_NAMES)
    assert set(FEATURE_OF_READING.values()) <= set(COLUMNS)


def test_a_steady_plant_is_steady():
    found = window(later())
    assert found.drifted == ()
    assert found.prediction.verdict is DriftVerdict.STEADY
    assert [r.reading for r in found.readings] == list(READING_NAMES)


@pytest.mark.parametrize(
    ("reading", "how"),
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
def test_a_reading_that_moved_is_named(reading, how):
    found = window(later(**{reading: how}))
    assert reading in found.drifted
    shift = next(r for r in found.readings if r.reading == reading)
    assert shift.p < 0.01
    others = {r for r in found.drifted if r != reading}
    assert len(others) <= 2, "a clock or range shares a step with its neighbour; nothing else may be blamed"


def test_a_new_level_is_told():
    found = window(later(B12=lambda v: 950.0 if v == 1200.0 else v))
    shift = next(r for r in found.readings if r.reading == "B12")
    assert shift.new > 0.3
    assert shift.verdict is DriftVerdict.DRIFTED


def test_yields_that_moved_are_told_with_their_z():
    found = window(later(B14=lambda v: v - 40))
    assert found.prediction.verdict is DriftVerdict.DRIFTED
    assert found.prediction.z < -10
    assert found.prediction.mean < found.prediction.mean_trained


def test_nothing_is_said_of_too_few():
    found = window(later(MIN_WINDOW_BATCHES - 1, A6=lambda v: v + 30))
    assert found.drifted == ()
    assert {r.verdict for r in found.readings} == {DriftVerdict.TOO_FEW}
    assert found.prediction.verdict is DriftVerdict.TOO_FEW
    assert found.needed == MIN_WINDOW_BATCHES


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_window_is_no_error(count):
    found = window(later(count))
    assert found.batches == count
    assert all(0 <= r.p <= 1 for r in found.readings)
    assert (found.prediction.mean is None) == (count == 0)


def test_a_reading_that_never_came_in_training_is_new_when_it_comes():
    rows, more = plant()
    without = [msgspec.structs.replace(row, A23=None) for row in rows]
    values = featurize(without).values
    made = build_reference(COLUMNS, values, yields_of(without), {"A23": 1.0}, values[:, INDEX["id_number"]])
    found = compute_window_drift(made, more, featurize(more).values, yields_of(more))
    assert "A23" in found.drifted
