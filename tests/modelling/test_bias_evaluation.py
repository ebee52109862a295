"""The bias update walked forward over the training batches."""

import msgspec
import numpy as np
import pytest
from support.batches import composed

from batchyield.modelling import bias_evaluation
from batchyield.modelling.params import EwmaBias, NoBias, parse_params
from batchyield.modelling.parquet import read_features, read_table, to_batches
from batchyield.plant.place import find_place
from batchyield.serving.bias import BiasParams

QUICK = ("model=ridge", "bias=ewma")


@pytest.fixture(scope="module")
def plant(rebuilt):
    """The pinned training batches of the sample plant: features, yields and places."""
    frame = read_table(rebuilt / "data/split/train.parquet")
    places = [find_place(batch) for batch in to_batches(frame)]
    return read_features(rebuilt / "data/features/train.parquet"), frame["yield"].to_numpy(float), places


@pytest.fixture(scope="module")
def walk(plant):
    return bias_evaluation.walk_forward(*plant, parse_params(composed(*QUICK)))


class TestWalk:
    def test_better(self, walk):
        """The score improves with every delay, most with the shortest, and the intervals become narrower."""
        made = walk.metrics()
        scores = [made[f"bias_delay_{delay}"]["score"] for delay in bias_evaluation.DELAYS]
        assert scores == sorted(scores)
        assert scores[1] < 0.8 * made["bias_off"]["score"]
        assert scores[-1] < made["bias_off"]["score"]
        assert made["bias_delay_3"]["width"] < made["bias_off"]["width"]
        assert 0.86 < made["bias_delay_3"]["coverage"] < 0.94

    def test_plot(self, walk):
        """The plot has the mean residual of ten batches, with and without bias update."""
        points = walk.mean_residuals()
        assert len(points) == -(-len(walk.measured) // 10)
        assert points[0][1] == pytest.approx((walk.measured[:10] - walk.alone.yields[:10]).mean(), abs=1e-9)

    def test_off(self, plant):
        """With `bias=none`, only the model alone has metrics, and the plot is empty."""
        X, y, places = plant  # noqa: N806 - as scikit-learn
        params = msgspec.structs.replace(parse_params(composed(*QUICK)), bias=NoBias())
        walk = bias_evaluation.walk_forward(X[:200], y[:200], places[:200], params)
        made = walk.metrics()
        assert made["bias_off"]["score"] > 0
        assert made["bias_delay_3"] == {}
        assert walk.mean_residuals() == []

    def test_no_order(self, plant):
        """Without places, there are no batches to walk over and no metrics."""
        X, y, _ = plant  # noqa: N806
        walk = bias_evaluation.walk_forward(X, y, [None] * len(y), parse_params(composed(*QUICK)))
        assert set(map(len, walk.metrics().values())) == {0}


class TestNoLeak:
    def test_later_yields(self, plant):
        """Predictions do not change when the yields of later batches are shuffled."""
        X, y, places = plant  # noqa: N806
        order = np.argsort([place.at for place in places], kind="stable")[:400]
        X, y, places = X[order], y[order], [places[row] for row in order]  # noqa: N806
        params = parse_params(composed(*QUICK))
        last = 230  # of the batches whose yields stay
        shuffled = np.concatenate((y[:last], np.random.default_rng(1).permutation(y[last:])))
        before, after = (bias_evaluation.walk_forward(X, some, places, params) for some in (y, shuffled))
        for delay, made in before.corrected.items():  # the second model is fitted on some of the shuffled yields
            same = [row < 40 and place.at - delay <= places[last].at for row, place in enumerate(before.places)]
            assert sum(same) > last - 200
            assert np.array_equal(np.array(made)[:, same], np.array(after.corrected[delay])[:, same])
        assert not np.array_equal(before.corrected[0].yields, after.corrected[0].yields)


def test_params():
    """The pipeline's params of the bias update are those that the service reads from dvc.lock."""
    assert tuple(field.name for field in msgspec.structs.fields(EwmaBias)) == BiasParams._fields
