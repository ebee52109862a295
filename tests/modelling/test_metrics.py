"""Metrics, bootstrap, cross-validation, slices and permutation importance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from support.batches import params, plant, small, trained

from batchyield.modelling import metrics
from batchyield.modelling.card_metrics import Metric
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


class TestComputeMetrics:
    @given(rows)
    def test_scikit_learn(self, given_rows):
        """The metrics equal those of scikit-learn."""
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

    def test_constant_yields(self):
        """Equal yields have an r2 of 0."""
        assert metrics.compute_metrics(np.full(3, 0.9), Predictions(*np.full((3, 3), 0.8)))["r2"] == 0

    def test_no_rows(self):
        """No rows are an error."""
        with pytest.raises(ValueError, match="no measured values"):
            metrics.compute_metrics(np.array([]), Predictions(*np.empty((3, 0))))


class TestMetrics:
    def test_whole_sample(self, monkeypatch):
        """A metric of the whole sample, such as a median, needs one row: it has a value and a confidence interval."""
        median = Metric("medae", lambda s: np.median(np.abs(s.error), axis=-1), "lower", "target", "median error")
        monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, median))
        measured, answers = spread()
        assert metrics.compute_metrics(measured, answers)["medae"] == pytest.approx(
            np.median(np.abs(answers.yields - measured)), abs=1e-9
        )
        found = metrics.bootstrap(measured, answers, 200, 0.9, 1)["medae"]
        assert found.low < found.value < found.high


class TestBootstrap:
    def test_repeatable(self):
        """The interval contains the value, and a repetition is equal."""
        measured, answers = spread()
        found = metrics.bootstrap(measured, answers, 500, 0.9, 1)
        assert found == metrics.bootstrap(measured, answers, 500, 0.9, 1)
        assert found != metrics.bootstrap(measured, answers, 500, 0.9, 2)
        for name, estimate in found.items():
            assert estimate.value == metrics.compute_metrics(measured, answers)[name]
            assert estimate.low <= estimate.value <= estimate.high

    def test_width(self):
        """The interval is narrower with more batches and wider with more confidence."""

        def width(n, confidence=0.9):
            estimate = metrics.bootstrap(*spread(n), 500, confidence, 1)["score"]
            return estimate.high - estimate.low

        assert width(1600) < 0.7 * width(200)
        assert width(200, 0.99) > 1.3 * width(200, 0.8)

    def test_coverage(self):
        """The interval contains the true value about as often as its confidence."""
        truth = 0.02**2 / 2
        hits = 0
        for seed in range(200):
            found = metrics.bootstrap(*spread(150, seed), 200, 0.9, 1)["score"]
            hits += found.low <= truth <= found.high
        assert 0.8 < hits / 200 < 0.97


class TestCrossValidation:
    def test_mean_model(self):
        """The mean model gives the values computed by hand."""
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

    def test_out_of_fold(self):
        """No batch is predicted by a model fitted with it."""
        features, measured = plant()
        noise = np.random.default_rng(0).permutation(measured)
        chosen = small("extra_trees", "model.min_samples_leaf=1", "evaluation.repeats=1")
        assert metrics.cross_validate(features.values, noise, chosen).figures["r2"] < 0.1

    def test_forward(self):
        """Forward metrics are those of the latest batches."""
        features, measured = plant()
        late = features.values[:, INDEX["id_number"]] >= np.quantile(features.values[:, INDEX["id_number"]], 0.8)
        moved = np.where(late, measured - 0.05, measured)
        found = metrics.evaluate_forward(features.values, moved, small("mean"), 0.2)
        assert found["bias"] == pytest.approx(0.05, abs=0.02)
        assert abs(metrics.evaluate_forward(features.values, measured, small("mean"), 0.2)["bias"]) < 0.02

    def test_forward_without_numbers(self):
        """Forward metrics leave out batches without a number."""
        features, measured = plant()
        nameless = features.values.copy()
        nameless[3, INDEX["id_number"]] = np.nan
        rest = np.arange(len(measured)) != 3
        expected = metrics.evaluate_forward(features.values[rest], measured[rest], small("mean"), 0.2)
        assert metrics.evaluate_forward(nameless, measured, small("mean"), 0.2) == expected
        nameless[:, INDEX["id_number"]] = np.nan
        assert metrics.evaluate_forward(nameless, measured, small("mean"), 0.2) == {}

    def test_learning_curve(self):
        """The last point of the learning curve uses all batches."""
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


class TestLargeData:
    def test_resamples_in_parts(self, monkeypatch):
        """The bootstrap is the same in whatever parts the rows are drawn."""
        measured, answers = spread(301)
        whole = metrics.bootstrap(measured, answers, 50, 0.9, 1)
        for together in (1, 301 * 3, 301 * 7 + 5):
            monkeypatch.setattr(metrics, "DRAWN_TOGETHER", together)
            assert metrics.bootstrap(measured, answers, 50, 0.9, 1) == whole

    def test_latest_rows(self):
        """Of more rows than may be, the latest by the number in the id, in their order; rows without come last."""
        features, _ = plant()
        numbers = features.values[:, INDEX["id_number"]]
        latest = metrics.latest_rows(features.values, 100)
        assert sorted(numbers[latest]) == sorted(numbers)[-100:]
        assert sorted(latest) == list(latest)
        values = features.values.copy()
        values[latest[:60], INDEX["id_number"]] = np.nan
        assert set(latest[60:]) < set(metrics.latest_rows(values, 100))
        assert not set(latest[:60]) & set(metrics.latest_rows(values, 100))
        assert metrics.latest_rows(features.values, len(numbers)) == slice(None)


class TestSlices:
    def test_weighted_mean(self):
        """The slices of an aspect average to the metrics of all batches."""
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


class TestImportance:
    def test_used_features(self):
        """The most important features are those that the model uses."""
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

    def test_block(self):
        """The columns of a block are shuffled together."""
        values = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 2, axis=1)
        measured = np.zeros(50)
        grown = metrics.permutation_importance(
            lambda x: x[:, 0] - x[:, 1], values, measured, {"both": [0, 1], "one": [0]}, 3, 1
        )
        assert grown["both"] == 0
        assert grown["one"] > 0.5

    def test_group_blocks(self):
        """The groups partition all columns."""
        assert sorted(i for block in metrics.group_blocks().values() for i in block) == list(range(len(FEATURES)))
