"""Training: fits the yield model and calibrates its prediction intervals."""

from typing import NamedTuple

from sklearn.base import clone

from batchyield.modelling.conformal import Intervals, calibrate, make_folds, predict_out_of_fold
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.params import Params
from batchyield.modelling.yield_model import YieldModel, build_model


class Predictions(NamedTuple):
    """Predicted yields [n] with lower and upper ends [n] of their intervals, as fractions."""

    yields: Array
    lower: Array
    upper: Array


class TrainedModel(NamedTuple):
    """A fitted model with its intervals.

    Attributes:
        model: fitted on all training batches.
        intervals: calibrated out of fold on the same batches.
        out_of_fold: predictions for the training batches, each by a model fitted without it.
    """

    model: YieldModel
    intervals: Intervals
    out_of_fold: Predictions

    def predict(self, X: Matrix) -> Predictions:  # noqa: N803 - as scikit-learn
        """Return the predictions for a feature matrix [n, len(FEATURES)]; the service returns the same."""
        yields = self.model.predict(X)
        return Predictions(yields, *self.intervals.around(yields, X))


def train(X: Matrix, y: Array, params: Params) -> TrainedModel:  # noqa: N803
    """Fit the configured model and calibrate its intervals, on the whole feature matrix and measured yields [n].

    Raises:
        ParamsError: too few batches remain for the fit or the intervals, or an id has no number for periods.
    """
    model = build_model(params.model, params.features, params.target, params.sample)
    predicted = predict_out_of_fold(model, X, y, make_folds(X, params.intervals))
    intervals = calibrate(y - predicted, X, params.intervals)
    return TrainedModel(clone(model).fit(X, y), intervals, Predictions(predicted, *intervals.around(predicted, X)))
