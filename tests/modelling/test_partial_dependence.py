"""Partial dependence of the prediction on a feature."""

import numpy as np
import pytest
from support.batches import plant, trained

from batchyield.modelling.metrics import QUANTILE_RANGE, partial_dependence
from batchyield.plant.features import FEATURES, INDEX

RATIO, WATER = INDEX["B14_per_A1"], INDEX["B12"]


def matrix(n=200, seed=0):
    return np.random.default_rng(seed).uniform(1, 2, size=(n, len(FEATURES))).round(3).astype(np.float32)


def linear(values):
    return 0.1 + 0.5 * values[:, RATIO].astype(float) - 0.25 * values[:, WATER].astype(float)


class TestPartialDependence:
    def test_linear_function(self):
        """The partial dependence of a linear function is the line."""
        values = matrix()
        found = partial_dependence(linear, values, ["B12", "B14_per_A1", "A6"])
        assert list(dict.fromkeys(point.feature for point in found)) == ["B12", "B14_per_A1", "A6"]
        ratio, water = values[:, RATIO].astype(float).mean(), values[:, WATER].astype(float).mean()
        for point in found:
            truth = {
                "B12": 0.1 + 0.5 * ratio - 0.25 * point.value,
                "B14_per_A1": 0.1 + 0.5 * point.value - 0.25 * water,
                "A6": 0.1 + 0.5 * ratio - 0.25 * water,
            }
            assert point.mean == pytest.approx(truth[point.feature], abs=1e-7)

    def test_values(self):
        """Values increase, lie in the quantile range and occur in the data."""
        values = matrix()
        found = [point.value for point in partial_dependence(linear, values, ["B12"], points=12)]
        assert len(found) == 12
        assert found == sorted(set(found))
        assert np.isin(np.float32(found), values[:, WATER]).all()
        low, high = np.quantile(values[:, WATER], QUANTILE_RANGE)
        assert found[0] == pytest.approx(low, abs=0.02)
        assert found[-1] == pytest.approx(high, abs=0.02)

    def test_missing_feature(self):
        """Batches without the feature do not affect its mean."""
        values = matrix()
        values[:50, WATER] = np.nan
        values[:50, RATIO] = 1000
        found = partial_dependence(lambda m: np.nan_to_num(linear(m), nan=-1.0), values, ["B12"])
        ratio = values[50:, RATIO].astype(float).mean()
        assert [p.mean for p in found] == pytest.approx([0.1 + 0.5 * ratio - 0.25 * p.value for p in found], abs=1e-7)

    def test_number_of_points(self):
        """A flag has two points, a constant one, an empty column none."""
        values = matrix()
        values[:, INDEX["B10_missing"]] = np.arange(len(values)) % 2
        values[:, INDEX["A6"]] = 7
        values[:, INDEX["A8"]] = np.nan
        found = partial_dependence(linear, values, ["B10_missing", "A6", "A8"])
        assert [(p.feature, p.value) for p in found] == [("B10_missing", 0), ("B10_missing", 1), ("A6", 7)]

    def test_input_unchanged(self):
        """The matrix is not changed."""
        values = matrix()
        before = values.copy()
        partial_dependence(linear, values, ["B12"])
        np.testing.assert_array_equal(values, before)

    def test_unknown_feature(self):
        """An unknown feature is a KeyError with its name."""
        with pytest.raises(KeyError, match="A99"):
            partial_dependence(linear, matrix(), ["A99"])

    def test_plant(self):
        """The yield increases with the product, and a repetition is equal."""
        values = plant()[0].values
        predict = trained("line_trees").model.predict
        found = partial_dependence(predict, values, ["B14_per_A1"], points=8)
        assert found == partial_dependence(predict, values, ["B14_per_A1"], points=8)
        means = [point.mean for point in found]
        assert means[-1] - means[0] > 0.05
        assert np.mean(np.diff(means) >= 0) > 0.8
