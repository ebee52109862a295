import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyield.serving.deployment.prediction_diff import diff_by_slice, summarize_diff
from batchyield.serving.prediction import Prediction

yields = st.lists(st.floats(0.5, 1.02).map(lambda y: round(y, 6)), min_size=1, max_size=30)


def answers(values, half=0.02):
    return [Prediction(str(i), y, y - half, y + half) for i, y in enumerate(values)]


def test_summary():
    """The summary counts and measures changed predictions."""
    diff = summarize_diff(answers([0.9, 0.8, 0.7]), answers([0.9, 0.81, 0.65], half=0.03))
    assert (diff.batches, diff.changed, diff.at, diff.outside) == (3, 2, 2, 1)
    assert diff.largest == pytest.approx(-0.05)
    assert diff.mean == pytest.approx(-0.04 / 3, abs=1e-7)
    assert diff.width == pytest.approx(0.02)
    assert "2 changed" in str(diff)


@given(yields)
def test_equal_predictions(values):
    """Equal predictions do not differ."""
    diff = summarize_diff(answers(values), answers(values))
    assert (diff.changed, diff.largest, diff.at, diff.outside) == (0, 0, None, 0)
    assert "none changed" in str(diff)


@given(yields, st.data())
def test_slices(values, data):
    """Every batch is in one slice per label, sorted by difference."""
    moved = answers([y + data.draw(st.floats(-0.1, 0.1)) for y in values])
    labels = {"spins": [data.draw(st.sampled_from("123")) for _ in values], "all": ["x"] * len(values)}
    slices = diff_by_slice(answers(values), moved, labels)
    for aspect in labels:
        assert sum(one.differences.batches for one in slices if one.by == aspect) == len(values)
    whole = next(one.differences for one in slices if one.by == "all")
    assert whole == summarize_diff(answers(values), moved)
    sizes = [one.differences.mean_absolute for one in slices]
    assert sizes == sorted(sizes, reverse=True)


def test_other_length():
    """Predictions of different length raise ValueError."""
    with pytest.raises(ValueError, match="argument"):
        summarize_diff(answers([0.9]), answers([0.9, 0.8]))
