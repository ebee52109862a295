import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from support.batches import params, plant, small, trained

from batchyield.modelling import metrics
from batchyield.modelling.train import Predictions
from batchyield.plant.features import FEATURES, INDEX

yields = st.floats(0.5, 1.1)
rows = st.lists(st.tuples(yields, yields, st.floats(0, 0.1), st.floats(0, 0.1)), min_size=1, max_size=40)


def answered(given_rows):
    measured, answer, below, above = np.array(given_rows).T
    return measured, Predictions(answer, answer - below, answer + above)


def spread(n=300, seed=0, noise=0.02):
    rng = np.random.default_rng(seed)
    measured = rng.normal(0.92, 0.03, n)
    answer = measured + rng.normal(0, noise, n)
    return measured, Predictions(answer, answer - 0.03, answer + 0.03)


@given(rows)
def test_the_figures_are_those_of_scikit_learn(given_rows):
    measured, answers = answered(given_rows)
    found = metrics.compute_metrics(measured, answers)
    assert found["score"] == pytest.approx(mean_squared_error(measured, answers.yields) / 2, abs=1e-9)
    assert found["rmse"] == pytest.approx(mean_squared_error(measured, answers.yields) ** 0.5, abs=1e-8)
    assert found["mae"] == pytest.approx(mean_absolute_error(measured, answers.yields), abs=1e-8)
    assert found["bias"] == pytest.approx((answers.yields - measured).mean(), abs=1e-8)
    assert found["width"] == pytest.approx((answers.upper - answers.lower).mean(), abs=1e-8)
    assert found["coverage"] == pytest.approx(
        np.mean([low <= y <= high for y, low, high in zip(measured, answers.lower, answers.upper, strict=True)])
    )
    if measured.var() > 1e-6:
        assert found["r2"] == pytest.approx(r2_score(measured, answers.yields), rel=1e-5, abs=1e-6)


def test_yields_that_are_all_alike_have_no_r2():
    assert metrics.compute_metrics(np.full(3, 0.9), Predictions(*np.full((3, 3), 0.8)))["r2"] == 0


def test_no_rows_give_no_figures():
    with pytest.raises(ValueError, match="no measured yields"):
        metrics.compute_metrics(np.array([]), Predictions(*np.empty((3, 0))))


def test_the_bootstrap_holds_the_value_and_repeats_itself():
    measured, answers = spread()
    found = metrics.bootstrap(measured, answers, 500, 0.9, 1)
    assert found == metrics.bootstrap(measured, answers, 500, 0.9, 1)
    assert found != metrics.bootstrap(measured, answers, 500, 0.9, 2)
    for name, estimate in found.items():
        assert estimate.value == metrics.compute_metrics(measured, answers)[name]
        assert estimate.low <= estimate.value <= estimate.high


def test_the_bootstrap_narrows_with_more_batches_and_widens_with_more_confidence():
    def width(n, confidence=0.9):
        estimate = metrics.bootstrap(*spread(n), 500, confidence, 1)["score"]
        return estimate.high - estimate.low

    assert width(1600) < 0.7 * width(200)
    assert width(200, 0.99) > 1.3 * width(200, 0.8)


def test_the_bootstrap_interval_holds_the_truth_about_as_often_as_it_says():
    truth = 0.02**2 / 2
    hits = 0
    for seed in range(200):
        found = metrics.bootstrap(*spread(150, seed), 200, 0.9, 1)["score"]
        hits += found.low <= truth <= found.high
    assert 0.8 < hits / 200 < 0.97


def test_cross_validation_of_the_mean_is_what_one_computes_by_hand():
    features, measured = plant()
    chosen = small("mean", "evaluation.repeats=3", "intervals=random")
    found = metrics.cross_validate(features.values, measured, chosen)
    assert found.figures["score"] == pytest.approx(measured.var() / 2, rel=0.02)
    assert found.figures["r2"] == pytest.approx(0, abs=0.02)
    # Yields come in steps, so the interval holds whole ties more than it must.
    assert 0.87 < found.figures["coverage"] < 0.98
    assert 0 < found.spread < 0.02 * found.figures["score"]
    assert len(found.yields) == len(measured)
    assert found == metrics.cross_validate(features.values, measured, chosen)


def test_cross_validation_never_judges_a_batch_by_a_model_that_has_seen_it():
    features, measured = plant()
    noise = np.random.default_rng(0).permutation(measured)
    chosen = small("extra_trees", "model.min_samples_leaf=1", "evaluation.repeats=1")
    assert metrics.cross_validate(features.values, noise, chosen).figures["r2"] < 0.1


def test_the_forward_figures_are_those_of_the_latest_batches():
    features, measured = plant()
    late = features.values[:, INDEX["id_number"]] >= np.quantile(features.values[:, INDEX["id_number"]], 0.8)
    moved = np.where(late, measured - 0.05, measured)
    found = metrics.evaluate_forward(features.values, moved, small("mean"), 0.2)
    assert found["bias"] == pytest.approx(0.05, abs=0.02)
    assert abs(metrics.evaluate_forward(features.values, measured, small("mean"), 0.2)["bias"]) < 0.02


def test_forward_leaves_out_batches_without_a_number():
    """One id without a number is left out; if no id has one, there are no forward metrics."""
    features, measured = plant()
    nameless = features.values.copy()
    nameless[3, INDEX["id_number"]] = np.nan
    rest = np.arange(len(measured)) != 3
    expected = metrics.evaluate_forward(features.values[rest], measured[rest], small("mean"), 0.2)
    assert metrics.evaluate_forward(nameless, measured, small("mean"), 0.2) == expected
    nameless[:, INDEX["id_number"]] = np.nan
    assert metrics.evaluate_forward(nameless, measured, small("mean"), 0.2) == {}


def test_the_slices_of_an_aspect_make_the_whole():
    features, measured = plant()
    answers = trained("line_trees").predict(features.values)
    whole = metrics.compute_metrics(measured, answers)
    found = metrics.slice_metrics(measured, answers, metrics.slice_labels(features))
    aspects = {part.by for part in found}
    assert aspects == {"period", "spins", "charge", "reagent", "cells"}
    for aspect in aspects:
        parts = [part for part in found if part.by == aspect]
        assert sum(part.rows for part in parts) == len(measured)
        for figure in ("score", "coverage", "bias", "width"):
            mean = sum(part.figures[figure] * part.rows for part in parts) / len(measured)
            assert mean == pytest.approx(whole[figure], abs=1e-8)
    assert {part.label for part in found if part.by == "cells"} == {"clean", "warned"}
    assert len([part for part in found if part.by == "spins"]) >= 2


def test_the_learning_curve_ends_with_all_batches():
    features, measured = plant()
    train, test = slice(0, 300), slice(300, None)
    curve = metrics.learning_curve(
        features.values[train],
        measured[train],
        features.values[test],
        measured[test],
        small("line_trees"),
        (0.1, 0.5, 1),
    )
    assert [size for size, _ in curve] == [50, 150, 300]
    assert curve[-1][1]["score"] < curve[0][1]["score"]


def test_importance_finds_what_the_model_uses():
    features, measured = plant()
    made = trained("line_trees")
    grown = metrics.permutation_importance(
        made.model.predict, features.values, measured, metrics.feature_blocks(), 2, 1
    )
    assert set(grown) == {feature.name for feature in FEATURES}
    assert next(iter(grown)) == "B14_per_A1"
    assert list(grown.values()) == sorted(grown.values(), reverse=True)
    unseen = [i.name for i in FEATURES if i.group not in params().features.groups]
    assert unseen
    assert all(grown[name] == 0 for name in unseen)


def test_the_columns_of_a_block_are_shuffled_together():
    values = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 2, axis=1)
    measured = np.zeros(50)
    grown = metrics.permutation_importance(
        lambda x: x[:, 0] - x[:, 1], values, measured, {"both": [0, 1], "one": [0]}, 3, 1
    )
    assert grown["both"] == 0
    assert grown["one"] > 0.5


def test_the_groups_share_out_all_columns():
    assert sorted(i for block in metrics.group_blocks().values() for i in block) == list(range(len(FEATURES)))
