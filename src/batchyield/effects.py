"""What the model makes of one feature: the mean answer as the feature alone moves. A pure function of arrays."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from batchyield.estimators import Matrix
from batchyield.evaluation import DECIMALS
from batchyield.features import INDEX

RANGE = (0.025, 0.975)
"""Quantiles between which a feature is moved: beyond them are slips of the key and few batches."""


class Effect(NamedTuple):
    """The mean answer [yield] with a feature set to a value in its own unit."""

    feature: str
    value: float
    mean: float


def partial_dependence(
    predict: Callable[[Matrix], npt.NDArray[np.floating[Any]]],
    X: Matrix,  # noqa: N803 - as scikit-learn
    features: Sequence[str],
    points: int = 20,
) -> list[Effect]:
    """The mean answer over a feature matrix [n, k] for values of each feature, all other columns as they are.

    The values are quantiles that occur, evenly spaced in rank and each once, so a flag has its two and a feature that
    never varies one. A batch in which the feature is missing is left out of its mean: a blank is another recipe, and
    what the recipe would do with a number there nobody has seen. A feature that is missing everywhere has no effect
    to show. Features derived from one another (B14 and B14/A1) are moved one at a time, as the model sees them.

    Args:
        predict: feature matrix -> yields.
        X: batches to average over.
        features: names, in the order of the result.
        points: values of each feature at the most.

    Raises:
        KeyError: there is no feature of that name.
    """
    found = []
    for name in features:
        column = X[:, INDEX[name]]
        moved = X[~np.isnan(column)]
        if not len(moved):
            continue
        for value in np.unique(np.quantile(moved[:, INDEX[name]], np.linspace(*RANGE, points), method="nearest")):
            moved[:, INDEX[name]] = value
            found.append(Effect(name, float(f"{value:.6g}"), round(float(np.mean(predict(moved))), DECIMALS)))
    return found
