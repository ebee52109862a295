"""Exports a trained model to ONNX: equal predictions, and equal bytes from equal models.

The graph takes `features`, float32 [n, len(FEATURES)], and returns `yield`, `lower` and `upper`, float64 [n]. It
selects its columns itself, so the service needs no configuration.
"""

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from batchyield.errors import ArtifactError
from batchyield.modelling.conformal import PLACES
from batchyield.modelling.estimators import MassLine, Matrix, WinsorLinear
from batchyield.modelling.sklearn_trees import TreeTable
from batchyield.modelling.train import TrainedModel
from batchyield.plant.features import FEATURES
from batchyield.plant.features.catalogue import FLAG_COLUMNS
from batchyield.plant.table import TARGET
from batchyield.serving.artifact import PREDICTION_TOLERANCE

OPSETS = {"": 21, "ai.onnx.ml": 5}
IR_VERSION = 10


class _Graph:
    """Nodes and constants in the order of addition, with fixed names, so that the bytes are reproducible."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any, kind: Any = np.float64) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def do(self, operator: str, result: str, *sources: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(sources), [result], name=result, **attributes))
        return result

    def double(self, source: str) -> str:
        return self.do("Cast", f"{source}_double", source, to=TensorProto.DOUBLE)

    def trees(self, table: TreeTable, name: str) -> str:
        """Sum of the trees' leaves, double [n]."""
        self.nodes.append(table.node("features", f"{name}_column"))
        return self.double(self.do("Squeeze", name, f"{name}_column", self.constant(f"{name}_axis", [1], np.int64)))

    def line(self, line: MassLine) -> str:
        """The mass line without its intercept, double [n]."""
        index = self.constant("line_feature", line.column, np.int64)
        ratio = self.double(self.do("Gather", "ratio", "features", index, axis=1))
        known = self.do("Where", "ratio_known", self.do("IsNaN", "no_ratio", ratio), self._number(line.missing_), ratio)
        bent = self.do("Max", "ratio_bent", known, self._number(line.knee))
        return self.do("Mul", "line", bent, self.constant("line_slope", line.slope_))

    def linear(self, fitted: WinsorLinear, columns: list[int]) -> str:
        """The linear model without its intercept, double [n]."""
        index = self.constant("linear_columns", columns, np.int64)
        data = self.double(self.do("Gather", "seen", "features", index, axis=1))
        median = self.constant("linear_median", fitted.median_)
        known = self.do("Where", "seen_known", self.do("IsNaN", "seen_missing", data), median, data)
        above = self.do("Max", "seen_above", known, self.constant("linear_low", fitted.low_))
        below = self.do("Min", "seen_below", above, self.constant("linear_high", fitted.high_))
        moved = self.do("Sub", "seen_moved", below, median)
        return self.do("MatMul", "linear", moved, self.constant("linear_weights", fitted.coef_ * fitted.scale_))

    def _number(self, value: float) -> str:
        return self.constant(f"number_{len(self.constants)}", value)


def to_onnx(trained: TrainedModel) -> bytes:
    """Return the model and its intervals as one ONNX graph.

    Raises:
        ArtifactError: a part of the model has no exact equivalent in ONNX.
    """
    graph = _Graph()
    model = trained.model
    table = TreeTable(list(model.columns_))
    terms = []
    for member in model.members_:
        if isinstance(member, WinsorLinear):
            if len(model.members_) > 1:
                raise ArtifactError("model.onnx", "cannot mix a linear model with others", "choose another model")
            terms.append(graph.linear(member, list(model.columns_)))
            table.base += member.intercept_
        else:
            table.add(member, 1 / len(model.members_))
    if not table.empty:
        terms.append(graph.trees(table, "trees"))
    if model.on_line:
        terms.append(graph.line(model.line_))
        table.base += model.line_.intercept_
    _add_outputs(graph, terms, table.base, trained)

    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", len(FEATURES)])]
    outputs = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["batch"]) for n in ("yield", "lower", "upper")]
    built = helper.make_model(
        helper.make_graph(graph.nodes, "batchyield", inputs, outputs, initializer=graph.constants),
        producer_name="batchyield",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS.items()],
    )
    onnx.checker.check_model(built, full_check=True)
    return bytes(built.SerializeToString(deterministic=True))


def _add_outputs(graph: _Graph, terms: list[str], base: float, trained: TrainedModel) -> None:
    """Add the sum of the terms, clipped to the limits of the model, and the interval around it."""
    target, intervals = trained.model.target, trained.intervals
    raw = graph.constant("base", base)
    if not terms:
        # A constant prediction still needs one number per row.
        raw = graph.do("Expand", "raw", raw, graph.do("Shape", "rows", "features", start=0, end=1))
    for i, term in enumerate(terms):
        raw = graph.do("Add", f"sum_{i}", term, raw)
    lowest, highest = graph.constant("lowest", target.lowest), graph.constant("highest", target.highest)
    predicted = graph.do("Clip", "yield", raw, lowest, highest)
    group = _group(graph) if FLAG_COLUMNS else ""
    least, greatest = (
        graph.constant(name, limit) for name, limit in zip(("least", "greatest"), TARGET.limits, strict=True)
    )
    below, above = graph.constant("reach_below", intervals.below), graph.constant("reach_above", intervals.above)
    if group:
        below, above = graph.do("Gather", "below", below, group), graph.do("Gather", "above", above, group)
    graph.do("Clip", "lower", graph.do("Sub", "lower_raw", predicted, below), least, greatest)
    graph.do("Clip", "upper", graph.do("Add", "upper_raw", predicted, above), least, greatest)


def _group(graph: _Graph) -> str:
    """The number of each row's group of intervals."""
    flags = graph.do("Gather", "flags", "features", graph.constant("flag_columns", FLAG_COLUMNS, np.int64), axis=1)
    raised = graph.do("Greater", "raised", flags, graph.constant("half", 0.5, np.float32))
    raised = graph.do("Cast", "raised_float", raised, to=TensorProto.FLOAT)
    code = graph.do("MatMul", "code", raised, graph.constant("place", PLACES, np.float32))
    return graph.do("Cast", "group", code, to=TensorProto.INT64)


def check_parity(onnx_bytes: bytes, trained: TrainedModel, X: Matrix) -> float:  # noqa: N803 - as scikit-learn
    """Return the largest difference between the exported and the trained model, as a yield.

    Raises:
        ArtifactError: the difference is above `PREDICTION_TOLERANCE`.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    exported = session.run(["yield", "lower", "upper"], {"features": np.ascontiguousarray(X, dtype=np.float32)})
    worst = max(float(np.abs(a - b).max(initial=0.0)) for a, b in zip(exported, trained.predict(X), strict=True))
    if not worst <= PREDICTION_TOLERANCE:
        problem = f"differs from the trained model by up to {worst:g} in yield"
        raise ArtifactError("model.onnx", problem, "report it as a bug of the export")
    return worst
