"""Training: parameters, features and yields -> a model that answers with intervals."""

from typing import NamedTuple

import numpy as np
from sklearn.base import clone

from batchyield.estimators import Array, Matrix
from batchyield.intervals import Intervals, calibrate
from batchyield.model import YieldModel, build
from batchyield.params import Params

LEAST, GREATEST = 0.0, 1.1
"""Where every interval ends at the latest: no batch gives less than nothing, or more than a mass balance allows."""


class Answers(NamedTuple):
    """Predictions [n] and the ends [n] of their intervals, as yields."""

    yields: Array
    lower: Array
    upper: Array


class Trained(NamedTuple):
    """A fitted model and its intervals: all that `export` needs."""

    model: YieldModel
    intervals: Intervals

    def answer(self, X: Matrix) -> Answers:  # noqa: N803 - as scikit-learn
        """What the service must answer for a feature matrix [n, len(FEATURES)]."""
        yields = self.model.predict(X)
        half = self.intervals.half_width(X)
        return Answers(yields, np.clip(yields - half, LEAST, GREATEST), np.clip(yields + half, LEAST, GREATEST))


def train(X: Matrix, y: Array, params: Params) -> Trained:  # noqa: N803
    """Fit the model that the parameters describe on all given batches, and calibrate its intervals on the same."""
    model = build(params.model, params.features, params.target)
    return Trained(clone(model).fit(X, y), calibrate(model, X, y, params.intervals))
