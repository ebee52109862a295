"""Inference: batches to predictions with intervals, in one pass over the readings and one run of the ONNX model."""

import math
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import onnxruntime

from batchyield.errors import ArtifactError
from batchyield.plant.batch import Batch, CellWarning
from batchyield.plant.features import FEATURES, INDEX, Columns, Features, featurize, featurize_columns
from batchyield.plant.table import TARGET
from batchyield.serving.prediction import (
    MAX_FAST_ROUNDED,
    MAX_ROUNDING_DISTANCE,
    PREDICTION_SCALE,
    Prediction,
    round_prediction,
)

INPUT = "features"
OUTPUTS = ("yield", "lower", "upper")
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)

MIN_VECTORIZED = 24

MIN_ORDERED_ROWS = 2_000
SAMPLE_ROWS = 250
KEY_FEATURES = 8
"""From so many rows on, a sample shows which features to order the other rows by, see `_order_by_similarity`."""

BLOCK_ROWS = 2_000
"""Ordered rows of one run; a copy of all rows of a chunk would need new memory from the system each time."""


_get_id = attrgetter("id")


class Predictor:
    """An ONNX model ready to predict; safe to share between threads.

    Args:
        onnx: bytes from `modelling.onnx_export`.
        source: what errors call the model.
        names: names of the features that the model takes, in its order, from its card.

    Attributes:
        features: what the model takes: `FEATURES`, or those that an earlier model was trained on.

    Raises:
        ArtifactError: the bytes are not an ONNX model, or it has other inputs and outputs.
    """

    def __init__(self, onnx: bytes, source: str = "model.onnx", names: Sequence[str] = FEATURE_NAMES) -> None:
        self._source = source
        self._columns = None if tuple(names) == FEATURE_NAMES else np.array([INDEX[name] for name in names], np.intp)
        self.features = FEATURES if self._columns is None else tuple(FEATURES[i] for i in self._columns)
        self._session = _open_session(onnx, source, len(names))

    def select(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the columns that the model takes of a feature matrix [n, len(FEATURES)]."""
        return values if self._columns is None else values.take(self._columns, 1)

    def predict(
        self,
        batches: Sequence[Batch],
        sheet_warnings: Sequence[tuple[CellWarning, ...]] | None = None,
        features: Features | None = None,
    ) -> list[Prediction]:
        """Return one prediction for each batch, in order; the result does not depend on the other batches.

        Args:
            batches: any number.
            sheet_warnings: warnings from reading the CSV, one tuple for each batch; put before those of the features.
            features: features of these batches, if they are computed already.

        Raises:
            ArtifactError: the model predicted something that is not a number.
        """
        if not batches:
            return []
        if features is None:
            features = featurize(batches)
        yields, lower, upper = self.predict_matrix(self.select(features.values))
        # A NaN or an infinity anywhere survives the sum, so the common case costs one pass.
        if not math.isfinite(sum(yields) + sum(lower) + sum(upper)):
            self._refuse(zip(yields, lower, upper, strict=True))
        warnings: Sequence[tuple[CellWarning, ...]] = features.warnings
        if sheet_warnings is not None:
            warnings = [sheet + row for sheet, row in zip(sheet_warnings, warnings, strict=True)]
        return list(map(Prediction, map(_get_id, batches), yields, lower, upper, warnings))

    def predict_columns(self, columns: Columns) -> tuple[npt.NDArray[np.float64], dict[int, tuple[CellWarning, ...]]]:
        """Return what `predict` finds for n batches by column: predictions, and the warnings of rows that have any.

        Returns:
            [3, n]: yields, lower and upper interval ends, rounded.

        Raises:
            ArtifactError: the model predicted something that is not a number.
        """
        values, warnings = featurize_columns(columns)
        numbers = _round_array(self._run(self.select(values))).reshape(len(OUTPUTS), len(values))
        if not np.isfinite(numbers).all():
            self._refuse(zip(*numbers.tolist(), strict=True))
        return numbers, warnings

    def _refuse(self, predictions: Iterable[tuple[float, float, float]]) -> NoReturn:
        """Raise ArtifactError for the first prediction that is not finite."""
        found = ((i, triple) for i, triple in enumerate(predictions) if not math.isfinite(sum(triple)))
        row, (best, lower, upper) = next(found)
        raise ArtifactError(
            self._source,
            f"predicted {best} in {lower}..{upper} for row {row}, which is not {TARGET.with_article}",
            "serve an earlier version and train again",
        )

    def predict_matrix(self, values: npt.NDArray[np.float32]) -> tuple[list[float], list[float], list[float]]:
        """Return yields, lower and upper interval ends [n each], rounded, for a matrix [n, len(self.features)]."""
        numbers = _round_decimals(self._run(values))
        n = len(values)
        return numbers[:n], numbers[n : 2 * n], numbers[2 * n :]

    def _run(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return all outputs of the model in sequence [3 n]."""
        if len(values) < MIN_ORDERED_ROWS:
            return np.concatenate(self._session.run(OUTPUTS, {INPUT: values}), dtype=np.float64)
        outputs = np.empty((len(OUTPUTS), len(values)))
        outputs[:, :SAMPLE_ROWS] = self._session.run(OUTPUTS, {INPUT: values[:SAMPLE_ROWS]})
        order = _order_by_similarity(values, outputs[0, :SAMPLE_ROWS])
        for start in range(0, len(order), BLOCK_ROWS):
            rows = order[start : start + BLOCK_ROWS]
            outputs[:, rows] = self._session.run(OUTPUTS, {INPUT: values[rows]})
        return outputs.ravel()

    def predict_yields(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the yields [n], not rounded, for a matrix [n, len(self.features)]."""
        return np.asarray(self._session.run(OUTPUTS[:1], {INPUT: values})[0], dtype=np.float64)


def _order_by_similarity(values: npt.NDArray[np.float32], yields: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return an order of the rows after a sample in which similar rows are neighbours.

    Most of the time of a tree model is branches that the processor predicts wrongly. A row that takes the same
    branches as the row before costs a third. The order has no effect on the results.

    Args:
        values: features [n, m].
        yields: of the sample, the first rows; the features that correlate best with them determine the order.
    """
    with np.errstate(all="ignore"):  # yields that are not finite: the caller refuses them
        first = np.nan_to_num(values[: len(yields)].astype(np.float64))
        centred = first - first.mean(0)
        spread = np.sqrt((centred**2).mean(0))
        spread[spread == 0] = np.inf
        covariance = (yields - yields.mean()) @ centred
        best = np.argsort(-np.abs(covariance / spread))[:KEY_FEATURES]
        weights = (covariance / spread**2)[best].astype(np.float32)
        key = (np.nan_to_num(values[len(yields) :, best]) * weights).sum(1)
    return np.argsort(key) + len(yields)


def _round_decimals(numbers: npt.NDArray[np.float64]) -> list[float]:
    """Round like Python's `round`, which is correct where NumPy's is not."""
    if len(numbers) < MIN_VECTORIZED:
        return list(map(round_prediction, numbers.tolist()))
    rounded: list[float] = _round_array(numbers).tolist()
    return rounded


def _round_array(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if not np.abs(numbers).max(initial=0.0) <= MAX_FAST_ROUNDED:
        return np.array(list(map(round_prediction, numbers.tolist())))
    scaled = numbers * PREDICTION_SCALE
    integers = np.rint(scaled)
    rounded = integers / PREDICTION_SCALE
    for index in (np.abs(scaled - integers) > MAX_ROUNDING_DISTANCE).nonzero()[0].tolist():
        rounded[index] = round_prediction(float(numbers[index]))
    return rounded


def _open_session(onnx: bytes, source: str, width: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread: requests are the unit of parallelism, and the order of summation stays fixed.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes, all from C++
        raise ArtifactError(source, f"is not a model that onnxruntime can open: {error}") from error
    inputs = [(i.name, i.type, len(i.shape), i.shape[-1]) for i in session.get_inputs()]
    outputs = [o.name for o in session.get_outputs()]
    if inputs != [(INPUT, "tensor(float)", 2, width)] or not set(OUTPUTS) <= set(outputs):
        raise ArtifactError(
            source,
            f"takes {inputs} and returns {outputs}; this code sends '{INPUT}' with {width} columns of float32 "
            f"and reads {', '.join(OUTPUTS)}",
            "use the code of the commit that trained it, or run `dvc repro`",
        )
    return session
