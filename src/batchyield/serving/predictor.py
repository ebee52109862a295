"""Batches to predictions with intervals: one pass over the readings, one run of the model."""

import math
from collections.abc import Sequence
from operator import attrgetter

import numpy as np
import numpy.typing as npt
import onnxruntime

from batchyield.errors import ArtifactError
from batchyield.plant.batch import Batch, CellWarning
from batchyield.plant.features import FEATURES, Features, featurize
from batchyield.serving.responses import PREDICTION_DECIMALS, Prediction

INPUT = "features"
OUTPUTS = ("yield", "lower", "upper")
SCALE = 10.0**PREDICTION_DECIMALS

WORTH_AN_ARRAY = 24
LARGEST_EXACT = 100.0
NEARLY_HALF = 0.4999
"""Scaled numbers up to 1e9 are off by less than 1e-6, so that up to here the nearest whole number is certain."""

_id_of = attrgetter("id")


class Predictor:
    """A model ready to answer; safe to share between threads.

    Args:
        onnx: the model's bytes, as `export` makes them.
        source: what errors call the model.

    Raises:
        ArtifactError: the bytes are no model, or one with other inputs and outputs than `export` gives it.
    """

    def __init__(self, onnx: bytes, source: str = "model.onnx") -> None:
        self._source = source
        self._session = _session(onnx, source)

    def predict(
        self,
        batches: Sequence[Batch],
        sheet_warnings: Sequence[tuple[CellWarning, ...]] | None = None,
        features: Features | None = None,
    ) -> list[Prediction]:
        """One prediction for each batch, in order; a batch is answered alike whatever stands beside it.

        Args:
            batches: any number of batches.
            sheet_warnings: what reading the sheet already warned of, one tuple for each batch; put before our own.
            features: of these batches, where somebody has them already.

        Raises:
            ArtifactError: the model answered with something that is not a number.
        """
        if not batches:
            return []
        if features is None:
            features = featurize(batches)
        yields, lower, upper = self.predict_matrix(features.values)
        # A NaN or an infinity anywhere survives the sum, so the common case costs one pass.
        if not math.isfinite(sum(yields) + sum(lower) + sum(upper)):
            row = next(i for i, three in enumerate(zip(yields, lower, upper, strict=True)) if not _finite(three))
            raise ArtifactError(
                self._source,
                f"answered {yields[row]} in {lower[row]}..{upper[row]} for row {row}, which is no yield",
                "serve an earlier version and train again",
            )
        warnings: Sequence[tuple[CellWarning, ...]] = features.warnings
        if sheet_warnings is not None:
            warnings = [of_sheet + own for of_sheet, own in zip(sheet_warnings, warnings, strict=True)]
        return list(map(Prediction, map(_id_of, batches), yields, lower, upper, warnings))

    def predict_matrix(self, values: npt.NDArray[np.float32]) -> tuple[list[float], list[float], list[float]]:
        """Yields and the lower and upper ends of their intervals for a feature matrix [n, len(FEATURES)]."""
        numbers = _decimals(np.concatenate(self._session.run(OUTPUTS, {INPUT: values}), dtype=np.float64))
        n = len(values)
        return numbers[:n], numbers[n : 2 * n], numbers[2 * n :]

    def predict_yields(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Yields alone [n], not rounded, for a feature matrix [n, len(FEATURES)]."""
        return np.asarray(self._session.run(OUTPUTS[:1], {INPUT: values})[0], dtype=np.float64)


def _decimals(numbers: npt.NDArray[np.float64]) -> list[float]:
    """The numbers as Python's `round` makes them, which is right where NumPy's is not, but costs 0.3 µs for each."""
    # The readings come in as float32, which holds seven digits; what follows is noise to whoever reads the answer.
    if len(numbers) < WORTH_AN_ARRAY or not np.abs(numbers).max() <= LARGEST_EXACT:
        return [round(number, PREDICTION_DECIMALS) for number in numbers.tolist()]
    scaled = numbers * SCALE
    whole = np.rint(scaled)
    made: list[float] = (whole / SCALE).tolist()  # both exact, so that the quotient is the double next to the decimal
    for at in (np.abs(scaled - whole) > NEARLY_HALF).nonzero()[0].tolist():
        made[at] = round(float(numbers[at]), PREDICTION_DECIMALS)
    return made


def _finite(numbers: Sequence[float]) -> bool:
    return all(map(math.isfinite, numbers))


def _session(onnx: bytes, source: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread: requests are the unit of parallelism, and sums keep their order.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes, all from C++
        raise ArtifactError(source, f"is no model that onnxruntime can open: {error}") from error
    inputs = [(i.name, i.type, len(i.shape), i.shape[-1]) for i in session.get_inputs()]
    outputs = [o.name for o in session.get_outputs()]
    if inputs != [(INPUT, "tensor(float)", 2, len(FEATURES))] or not set(OUTPUTS) <= set(outputs):
        raise ArtifactError(
            source,
            f"takes {inputs} and gives {outputs}; this code sends '{INPUT}' with {len(FEATURES)} columns of float32 "
            f"and reads {', '.join(OUTPUTS)}",
            "use the code of the commit that trained it, or run `dvc repro`",
        )
    return session
