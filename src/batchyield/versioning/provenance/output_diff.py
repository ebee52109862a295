"""Compare two versions of an output value by value: which values differ, and by how much."""

import csv
import io
import json
import math
from enum import StrEnum
from pathlib import PurePath
from typing import Any, NamedTuple

from batchyield.serving.artifact import PREDICTION_TOLERANCE
from batchyield.versioning.lock_diff import flatten


class OutputVerdict(StrEnum):
    """Result of comparing a rebuilt output with the committed one."""

    SAME = "same"
    CLOSE = "close"
    DIFFERENT = "different"


class OutputDiff(NamedTuple):
    """A verdict, and the size of the difference in words; empty if the bytes are equal."""

    verdict: OutputVerdict
    description: str = ""


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _onnx(data: bytes) -> dict[str, Any]:
    """Return every tensor and every attribute of the nodes of a model's graph."""
    import onnx

    graph = onnx.load_from_string(data).graph
    parts = {f"tensor {tensor.name}": tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            parts[f"node {node.name}.{attribute.name}"] = onnx.helper.get_attribute_value(attribute)
    for name, value in parts.items():
        if isinstance(value, onnx.TensorProto):
            parts[name] = onnx.numpy_helper.to_array(value).ravel().tolist()
    return flatten(parts, lists=True)


def _cells(path: str, data: bytes) -> dict[str, Any]:
    """Return the values of an output by their place; of text without a known format, its lines."""
    match PurePath(path).suffix:
        case ".json":
            return flatten(json.loads(data), "$", lists=True)
        case ".csv":
            rows = enumerate(csv.DictReader(io.StringIO(data.decode())), 2)
            return {f"line {line}, column {name}": _number(cell) for line, row in rows for name, cell in row.items()}
        case ".parquet":
            import pandas as pd

            columns = pd.read_parquet(io.BytesIO(data)).to_dict("list").items()
            return {f"row {i}, column {name}": value for name, values in columns for i, value in enumerate(values)}
        case ".onnx":
            return _onnx(data)
        case _:
            return {f"line {i}": line for i, line in enumerate(data.decode(errors="replace").splitlines(), 1)}


def diff_output(path: str, committed: bytes, rebuilt: bytes) -> OutputDiff:
    """Compare the bytes of a rebuilt output with the committed ones; the suffix of `path` selects the parser.

    Returns:
        SAME for equal bytes; CLOSE if all numbers differ by at most PREDICTION_TOLERANCE, relative above 1.
    """
    if committed == rebuilt:
        return OutputDiff(OutputVerdict.SAME)
    before, after = _cells(path, committed), _cells(path, rebuilt)
    if before.keys() != after.keys():
        gone, new = len(before.keys() - after.keys()), len(after.keys() - before.keys())
        return OutputDiff(OutputVerdict.DIFFERENT, f"of another shape: {gone} values gone, {new} new")
    changed = [where for where in before if not _equal(before[where], after[where])]
    if not changed:
        return OutputDiff(OutputVerdict.CLOSE, "the same values in other bytes")
    texts = [where for where in changed if not (_measurable(before[where]) and _measurable(after[where]))]
    if texts:
        first = texts[0]
        return OutputDiff(
            OutputVerdict.DIFFERENT,
            f"{len(changed)} of {len(before)} values, first at {first}: {before[first]!r}, now {after[first]!r}",
        )
    worst = max(changed, key=lambda where: abs(before[where] - after[where]))
    near = all(abs(before[w] - after[w]) <= PREDICTION_TOLERANCE * max(1.0, abs(before[w])) for w in changed)
    return OutputDiff(
        OutputVerdict.CLOSE if near else OutputVerdict.DIFFERENT,
        f"{len(changed)} of {len(before)} numbers, at most {abs(before[worst] - after[worst]):.3g} at {worst}",
    )


def _measurable(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _equal(left: object, right: object) -> bool:
    return left == right or (
        isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right)
    )
