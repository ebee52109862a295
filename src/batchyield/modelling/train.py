"""Training: parameters, features and yields -> a model that answers with intervals."""

from typing import NamedTuple

from sklearn.base import clone

from batchyield.modelling.conformal import Intervals, calibrate, out_of_fold, parts
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.params import Params
from batchyield.modelling.yield_model import YieldModel, build


class Answers(NamedTuple):
    """Predictions [n] and the ends [n] of their intervals, as yields."""

    yields: Array
    lower: Array
    upper: Array


class Trained(NamedTuple):
    """A fitted model and its intervals: all that `export` needs.

    Attributes:
        model: fitted on all training batches.
        intervals: calibrated on the same batches, out of fold.
        unseen: answers for the training batches, each by a model fitted without it: what new batches will look like.
    """

    model: YieldModel
    intervals: Intervals
    unseen: Answers

    def answer(self, X: Matrix) -> Answers:  # noqa: N803 - as scikit-learn
        """What the service must answer for a feature matrix [n, len(FEATURES)]."""
        yields = self.model.predict(X)
        return Answers(yields, *self.intervals.around(yields, X))


def train(X: Matrix, y: Array, params: Params) -> Trained:  # noqa: N803
    """Fit the model that the parameters describe on all given batches, and calibrate its intervals on the same.

    Raises:
        ParamsError: the parameters leave too few batches to learn from, or ask for periods of batches without number.
    """
    model = build(params.model, params.features, params.target)
    predicted = out_of_fold(model, X, y, parts(X, params.intervals))
    intervals = calibrate(y - predicted, X, params.intervals)
    return Trained(clone(model).fit(X, y), intervals, Answers(predicted, *intervals.around(predicted, X)))
