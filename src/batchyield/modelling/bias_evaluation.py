"""Evaluation of the bias update: the training batches walked forward in time, as a deployment meets them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from batchyield.modelling.card_metrics import METRIC_DECIMALS
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.metrics import MIN_BATCHES, compute_metrics
from batchyield.modelling.params import EwmaBias, Params
from batchyield.modelling.train import Predictions, TrainedModel, train
from batchyield.parallel.tasks import Engine, in_process
from batchyield.plant.place import Place
from batchyield.serving.bias import BiasParams, BiasState, Residual

DELAYS = (0, 3, 9, 30)
"""Batches right before a batch whose yields are not known yet."""

PLOT_COLUMNS = ("batch", "model_alone", "with_bias_update")

FIRST_SHARE, REFIT_SHARE = 0.5, 0.1
"""Shares of the batches: before the first that is predicted, and between two fits of the model."""


class ForwardWalk(NamedTuple):
    """Batches [n] predicted by models that were fitted on earlier ones only.

    Attributes:
        places, measured: of the batches, in the plant's order.
        alone: predictions of the models alone.
        corrected: delay -> predictions with the bias update; empty if it is off.
    """

    places: list[Place]
    measured: Array
    alone: Predictions
    corrected: dict[int, Predictions]

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return the metrics by name of their file: `bias_off`, and `bias_delay_3` for a delay of three batches.

        Without batches, or with the update off, the figures that are not known are left out.
        """
        named = {"bias_off": self.alone} | {f"bias_delay_{delay}": self.corrected.get(delay) for delay in DELAYS}
        known = len(self.measured) > 0
        return {name: compute_metrics(self.measured, made) if made and known else {} for name, made in named.items()}

    def mean_residuals(self, delay: int = 3, batches: int = 10) -> list[tuple[float, ...]]:
        """Return the points of the plot, as `PLOT_COLUMNS`: means of so many consecutive residuals."""
        points = []
        for start in range(0, len(self.measured) if delay in self.corrected else 0, batches):
            part = slice(start, start + batches)
            means = ((self.measured[part] - made.yields[part]).mean() for made in (self.alone, self.corrected[delay]))
            points.append((self.places[start].at, *(round(float(mean), METRIC_DECIMALS) for mean in means)))
        return points


def bias_params(params: EwmaBias) -> BiasParams:
    """Return the parameters as the serving code takes them."""
    return BiasParams(**msgspec.structs.asdict(params))


def walk_forward(
    X: Matrix,  # noqa: N803
    y: Array,
    places: Sequence[Place | None],
    params: Params,
    engine: Engine = in_process,
) -> ForwardWalk:
    """Predict the later half of the batches by models refitted for every tenth of all, with and without bias update.

    Args:
        X, y, places: feature matrix [n, len(FEATURES)], measured yields [n] and places [n]; batches without a place
            are left out.
        engine: runs each fit with its predictions as a task.

    Returns:
        The walk, empty if fewer than `2 * MIN_BATCHES` batches have a place.
    """
    known = [(place, row) for row, place in enumerate(places) if place is not None]
    known.sort(key=lambda item: (item[0].at, item[1]))
    rows = [row for _, row in known]
    ordered, X, y = [place for place, _ in known], X[rows], y[rows]  # noqa: N806
    edges = (
        [round(len(rows) * (FIRST_SHARE + REFIT_SHARE * i)) for i in range(6)] if len(rows) >= 2 * MIN_BATCHES else []
    )
    first = edges[0] if edges else 0
    alone = np.empty((3, len(rows) - first if edges else 0))
    corrected = {delay: alone.copy() for delay in DELAYS} if isinstance(params.bias, EwmaBias) else {}
    steps = list(pairwise(edges))
    for (start, end), tables in zip(steps, engine(_step, (X, y, ordered, params), steps), strict=True):
        part = slice(start - first, end - first)
        alone[:, part] = tables[0]
        for table, made in zip(corrected.values(), tables[1:], strict=True):
            table[:, part] = made
    return ForwardWalk(
        ordered[first:],
        y[first:],
        Predictions(*alone),
        {delay: Predictions(*table) for delay, table in corrected.items()},
    )


def _step(shared: tuple[Matrix, Array, Sequence[Place], Params], step: tuple[int, int]) -> list[Array]:
    """Return the predictions [3, n] of the batches of a step: of the model alone, then corrected for each delay."""
    (X, y, places, params), (start, end) = shared, step  # noqa: N806
    trained = train(X[:start], y[:start], params)
    made = np.array(trained.predict(X[start:end]))
    if not isinstance(params.bias, EwmaBias):
        return [made]
    state = _state(trained, made, y[:end], places[:end], params.bias)
    return [made, *(correct(state, made, places[start:end], delay) for delay in DELAYS)]


def _state(trained: TrainedModel, made: Array, y: Array, places: Sequence[Place], params: EwmaBias) -> BiasState:
    """Return the state after all batches [n]: residuals out of fold for the training, and of the model after it."""
    predicted = np.concatenate((np.array(trained.out_of_fold), made), axis=1)
    residuals = make_residuals(predicted, y, places)
    return BiasState("", trained.intervals.level, bias_params(params), residuals, keep_all=True)


def make_residuals(predicted: Array, y: Array, places: Sequence[Place]) -> list[Residual]:
    """Return residuals [n] for yields and interval ends [3, n], measured yields [n] and places [n]."""
    columns = zip(places, y.tolist(), *predicted.tolist(), strict=True)
    return [Residual.at_place(str(row), *values) for row, values in enumerate(columns)]


def correct(state: BiasState, made: Array, places: Sequence[Place], delay: int) -> Array:
    """Return yields and interval ends [3, n], corrected by the residuals that are known before each batch."""
    table = made.copy()
    for row, (place, numbers) in enumerate(zip(places, made.T.tolist(), strict=True)):
        if correction := state.correct(place, delay):
            table[:, row] = correction.apply(*numbers)
    return table
