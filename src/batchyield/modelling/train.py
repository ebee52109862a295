"""Training: parameters, features and yields -> a model that answers with intervals."""

from typing import NamedTuple

from sklearn.base import clone

from batchyield.modelling.conformal import Intervals, calibrate, make_folds, predict_out_of_fold
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.params import Params
from batchyield.modelling.yield_model import YieldModel, build_model


class Predictions(NamedTuple):
    """Predictions [n] and the ends [n] of their intervals, as yields."""

    yields: Array
    lower: Array
    upper: Array


class TrainedModel(NamedTuple):
    """A fitted model and its intervals: all that `export` needs.

    Attributes:
        model: fitted on all training batches.
        intervals: calibrated on the same batches, out of fold.
        unseen: answers for the training batches, each by a model fitted without it: what new batches will look like.
    """

    model: YieldModel
    intervals: Intervals
    unseen: Predictions

    def predict(self, X: Matrix) -> Predictions:  # noqa: N803 - as scikit-learn
        """What the service must answer for a feature matrix [n, len(FEATURES)]."""
        yields = self.model.predict(X)
        return Predictions(yields, *self.intervals.around(yields, X))


def train(X: Matrix, y: Array, params: Params) -> TrainedModel:  # noqa: N803
    """Fit the model that the parameters describe on all given batches, and calibrate its intervals on the same.

    Raises:
        ParamsError: the parameters leave too few batches to learn from, or ask for periods of batches without number.
    """
    model = build_model(params.model, params.features, params.target)
    predicted = predict_out_of_fold(model, X, y, make_folds(X, params.intervals))
    intervals = calibrate(y - predicted, X, params.intervals)
    return TrainedModel(clone(model).fit(X, y), intervals, Predictions(predicted, *intervals.around(predicted, X)))
