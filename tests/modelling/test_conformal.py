"""Conformal prediction intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import plant, small, trained

from batchyield.errors import ParamsError
from batchyield.modelling.conformal import (
    Intervals,
    TooFewResidualsError,
    calibrate,
    conformal_quantile,
    group_numbers,
    make_folds,
    predict_out_of_fold,
)
from batchyield.modelling.params import IntervalsParams
from batchyield.modelling.train import train
from batchyield.modelling.yield_model import build_model
from batchyield.plant.features import FEATURES, INDEX
from batchyield.plant.features.catalogue import FLAG_COLUMNS
from batchyield.plant.table import TARGET

residuals = st.lists(st.floats(-0.3, 0.3), min_size=100, max_size=200).map(np.array)


def matrix(*codes):
    values = np.zeros((len(codes), len(FEATURES)), dtype=np.float32)
    values[:, FLAG_COLUMNS[0]] = [code % 2 for code in codes]
    values[:, FLAG_COLUMNS[1]] = [code // 2 for code in codes]
    return values


def settings(level=0.9, smallest_group=100, cut="random", folds=2):
    return IntervalsParams(level=level, cut=cut, folds=folds, seed=1, smallest_group=smallest_group)


class TestQuantile:
    @given(residuals, st.floats(0.01, 0.5))
    def test_tail(self, found, tail):
        """No more than the tail of the residuals exceeds the half width."""
        assert (found > conformal_quantile(found, tail) + 1e-12).mean() <= tail
        assert conformal_quantile(found, tail) >= 0

    def test_rank(self):
        """The half width is the conformal quantile."""
        found = np.arange(1, 200) / 1000
        assert conformal_quantile(found, 0.05) == pytest.approx(0.19, abs=1.1e-5)
        assert conformal_quantile(found, 0.005) == pytest.approx(0.199, abs=1.1e-5)
        assert conformal_quantile(np.random.default_rng(0).permutation(found), 0.05) == conformal_quantile(found, 0.05)

    @pytest.mark.parametrize(("tail", "least"), [(0.05, 19), (0.1, 9), (0.005, 199), (0.3, 3)])
    def test_too_few_residuals(self, tail, least):
        """Too few residuals are an error with the number needed."""
        with pytest.raises(TooFewResidualsError, match=f"{least - 1} training batches .* {least} are needed"):
            conformal_quantile(np.zeros(least - 1), tail)
        rng = np.random.default_rng(0)
        exceeded = [rng.random() > conformal_quantile(rng.random(least), tail) for _ in range(4000)]
        assert np.mean(exceeded) <= tail + 0.02


class TestCalibrate:
    def test_group_too_small_for_level(self):
        """A group too small for the level gets the half widths of all batches."""
        found = np.random.default_rng(0).normal(0, [0.02] * 300 + [0.1] * 50)
        made = calibrate(found, matrix(*[0] * 300, *[1] * 50), settings(0.99, 30))
        assert made.above[1] == conformal_quantile(found, 0.005)

    @given(st.integers(0, 10_000))
    def test_coverage(self, seed):
        """New batches of the same kind are covered as promised."""
        rng = np.random.default_rng(seed)
        found, new = rng.exponential(0.01, 2000) - 0.01, rng.exponential(0.01, 2000) - 0.01
        values = matrix(*[0] * 2000)
        lower, upper = calibrate(found, values, settings()).around(np.full(2000, 0.9), values)
        covered = ((lower <= 0.9 + new) & (0.9 + new <= upper)).mean()
        assert covered == pytest.approx(0.9, abs=0.04)

    def test_groups(self):
        """Each group has its own half widths, a small one those of all batches."""
        rng = np.random.default_rng(0)
        codes = [0] * 300 + [1] * 300 + [2] * 20
        found = rng.normal(0, [0.02] * 300 + [0.005] * 300 + [0.1] * 20)
        made = calibrate(found, matrix(*codes), settings())
        assert made.rows == (300, 300, 20, 0)
        assert made.above[0] > 2 * made.above[1]
        assert made.above[2] == made.above[3] == conformal_quantile(found, 0.05)
        assert made.below[2] == conformal_quantile(-found, 0.05)
        one = calibrate(found, matrix(*codes), settings(smallest_group=10**9))
        assert len(set(one.above)) == len(set(one.below)) == 1

    def test_sides(self):
        """Both sides have their own half width."""
        found = np.random.default_rng(0).exponential(0.02, 1000)
        made = calibrate(found, matrix(*[0] * 1000), settings())
        assert made.below[0] == 0
        assert made.above[0] == pytest.approx(0.06, abs=0.01)

    @given(residuals, st.sampled_from([0.5, 0.8, 0.9]))
    def test_level(self, found, level):
        """A higher level is never narrower."""
        values = matrix(*[0] * len(found))
        narrow, wide = (calibrate(found, values, settings(at, 10**9)) for at in (level, level + 0.05))
        assert wide.above[0] >= narrow.above[0]
        assert wide.below[0] >= narrow.below[0]

    @given(st.lists(st.tuples(st.floats(0, 1.1), st.integers(0, 3)), min_size=1, max_size=20))
    def test_prediction_inside(self, rows):
        """A prediction is inside its interval."""
        made = Intervals(0.9, (0.5, 0.0, 0.1, 2.0), (0.0, 0.5, 0.1, 2.0), (1, 1, 1, 1))
        yields = np.array([answer for answer, _ in rows])
        lower, upper = made.around(yields, matrix(*[code for _, code in rows]))
        assert (lower <= yields).all()
        assert (yields <= upper).all()
        assert lower.min() >= TARGET.limits[0]
        assert upper.max() <= TARGET.limits[1]

    def test_group_numbers(self):
        """The group follows from the blank spins."""
        assert group_numbers(matrix(0, 1, 2, 3)).tolist() == [0, 1, 2, 3]
        assert group_numbers(np.full((1, len(FEATURES)), np.nan)).tolist() == [0]


class TestFolds:
    def test_out_of_fold(self):
        """Each batch is predicted by a model fitted without it."""
        features, yields = plant()
        chosen = small("extra_trees", "model.min_samples_leaf=1")
        model = build_model(chosen.model, chosen.features, chosen.target)
        marked = yields.copy()
        marked[5] += 0.05
        predicted = [
            predict_out_of_fold(model, features.values, y, make_folds(features.values, settings(folds=4)))
            for y in (yields, marked)
        ]
        assert predicted[0][5] == pytest.approx(predicted[1][5], abs=1e-3)
        assert (np.abs(predicted[0] - predicted[1]) > 1e-4).any()

    def test_trained_model(self):
        """The trained model has the out-of-fold predictions."""
        features, yields = plant()
        made = trained("line_trees")
        assert (made.predict(features.values).yields != made.out_of_fold.yields).mean() > 0.9
        inside = (made.out_of_fold.lower <= yields) & (yields <= made.out_of_fold.upper)
        assert inside.mean() == pytest.approx(0.9, abs=0.05)

    @given(st.permutations(range(40)), st.integers(2, 7), st.sampled_from(["random", "periods"]))
    def test_partition(self, numbers, folds, cut):
        """The folds contain every batch once."""
        values = matrix(*[0] * 40)
        values[:, INDEX["id_number"]] = numbers
        made = make_folds(values, settings(cut=cut, folds=folds))
        assert len(made) == folds
        assert sorted(np.concatenate(made).tolist()) == list(range(40))
        if cut == "periods":
            ordered = np.concatenate([values[part, INDEX["id_number"]] for part in made])
            assert ordered.tolist() == list(range(40))

    def test_periods_need_numbers(self):
        """Periods need a number in every id."""
        values = matrix(0, 0, 0)
        values[1, INDEX["id_number"]] = np.nan
        with pytest.raises(
            ParamsError, match=r"\$\.intervals\.cut: periods need a number in every id, and 1 of 3 have none"
        ):
            make_folds(values, settings(cut="periods"))

    @pytest.mark.slow
    def test_later_batches(self):
        """Periods keep the coverage for later batches, random folds do not."""
        features, yields = plant(1396, 20190125)
        order = np.argsort(features.values[:, INDEX["id_number"]])
        earlier, latest = np.split(order, [1117])
        covered = {}
        for choice in ("random", "periods"):
            made = train(
                features.values[earlier],
                yields[earlier],
                small("line_trees", f"intervals={choice}", "intervals.folds=5"),
            )
            answers = made.predict(features.values[latest])
            covered[choice] = ((answers.lower <= yields[latest]) & (yields[latest] <= answers.upper)).mean()
        assert covered["periods"] > covered["random"]
