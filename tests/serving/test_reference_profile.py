import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyield.serving.reference_profile import build_reference, profile_column


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=1, max_size=300))
def test_profile(values):
    """A profile accounts for every value."""
    column = np.array(values)
    profile = profile_column(column)
    present = column[~np.isnan(column)]
    assert profile.count == len(present)
    assert profile.missing == pytest.approx(1 - len(present) / len(column))
    if len(present):
        assert sum(profile.shares) == pytest.approx(1)
        assert len(profile.shares) == len(profile.edges) + 1
        assert list(profile.edges) == sorted(set(profile.edges))
        assert list(profile.quantiles) == sorted(profile.quantiles)
        assert profile.quantiles[0] == pytest.approx(present.min())
        assert profile.quantiles[-1] == pytest.approx(present.max())


def test_order_invariance():
    """A profile does not depend on the order of the batches."""
    column = np.random.default_rng(1).normal(size=500)
    assert profile_column(column) == profile_column(column[::-1])


def test_bins():
    """Equal-frequency bins hold equal shares."""
    assert set(profile_column(np.arange(1000.0)).shares) == {0.1}


def test_few_levels():
    """A reading with few levels has one bin per level."""
    profile = profile_column(np.array([300.0] * 96 + [250.0] * 30 + [200.0] * 30))
    assert profile.edges == (200.0, 250.0)
    assert profile.shares == pytest.approx((30 / 156, 30 / 156, 96 / 156))
    assert profile.levels == (200.0, 250.0, 300.0)
    assert profile.novelty == 0


def test_level_limit():
    """Levels are kept up to their maximum number."""
    assert profile_column(np.arange(50.0)).levels == tuple(np.arange(50.0))
    assert profile_column(np.arange(51.0)).levels == ()


def test_novelty():
    """Novelty is the share of values that occur once."""
    assert profile_column(np.array([1.0] * 8 + [2.0, 3.0])).novelty == 0.2
    assert profile_column(np.arange(99.0)).novelty == 0.02


def test_subgroups():
    """Subgroups follow time, not the order of the rows."""
    drifting = np.linspace(0.8, 1.0, 100)
    shuffled = np.random.default_rng(1).permutation(100)
    references = [build_reference(["a"], np.zeros((100, 1)), drifting[o], {}, o) for o in (np.arange(100), shuffled)]
    assert references[0].subgroups == references[1].subgroups
    assert references[0].subgroups.count == 4
    assert references[0].subgroups.sd > profile_column(drifting).sd / 5, "a wandering plant wanders more than chance"


def test_blank_reading():
    """A reading without values is all missing."""
    profile = profile_column(np.full(5, np.nan))
    assert (profile.count, profile.missing, profile.mean, profile.shares) == (0, 1.0, None, ())


def test_reference():
    """A reference has a profile for every feature."""
    values, yields = np.array([[1, np.nan], [2, 3]], dtype=np.float32), np.array([0.9, 0.92])
    reference = build_reference(["a", "b"], values, yields, {"A1": 0.5}, np.array([2, 1]))
    assert reference.blank == {"A1": 0.5}
    assert reference.subgroups is None, "two batches are no subgroup"
    assert reference.rows == 2
    assert reference.features["b"].missing == 0.5
    assert reference.prediction.mean == pytest.approx(0.91)
