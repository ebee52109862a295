"""How far two versions of an output are apart, said in the output's own terms."""

import csv
import io
import json
import math
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePath
from typing import Any, NamedTuple

from batchyield.artifact import PREDICTION_TOLERANCE


class Verdict(StrEnum):
    """What a rebuild made of an output."""

    SAME = "same"
    CLOSE = "close"
    DIFFERENT = "different"


class Distance(NamedTuple):
    """A verdict and, unless the bytes are equal, the sentence that measures it."""

    verdict: Verdict
    said: str = ""


Cells = dict[str, Any]
"""An output taken apart: where -> value."""


def _json(value: Any, where: str = "$") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key in value:
            yield from _json(value[key], f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _json(item, f"{where}[{index}]")
    else:
        yield where, value


def _csv(data: bytes) -> Iterator[tuple[str, Any]]:
    for line, row in enumerate(csv.DictReader(io.StringIO(data.decode())), 2):
        for column, cell in row.items():
            try:
                yield f"line {line}, column {column}", float(cell)
            except ValueError:
                yield f"line {line}, column {column}", cell


def _parquet(data: bytes) -> Iterator[tuple[str, Any]]:
    import pandas as pd

    frame = pd.read_parquet(io.BytesIO(data))
    for name in frame.columns:
        for row, value in enumerate(frame[name].tolist()):
            yield f"row {row}, column {name}", value


def _onnx(data: bytes) -> Iterator[tuple[str, Any]]:
    """A model by what it is made of: every tensor and attribute of its graph, nested graphs included."""
    import numpy as np
    import onnx

    model = onnx.load_from_string(data)
    for tensor in model.graph.initializer:
        for index, value in enumerate(np.ravel(onnx.numpy_helper.to_array(tensor)).tolist()):
            yield f"tensor {tensor.name}[{index}]", value
    for node in model.graph.node:
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                value = np.ravel(onnx.numpy_helper.to_array(value)).tolist()
            for index, item in enumerate(value if isinstance(value, list) else [value]):
                yield f"node {node.name}.{attribute.name}[{index}]", item


def cells(path: str, data: bytes) -> Cells:
    """Takes an output apart by its kind; text that has no kind of its own comes apart by lines."""
    match PurePath(path).suffix:
        case ".json":
            return dict(_json(json.loads(data)))
        case ".csv":
            return dict(_csv(data))
        case ".parquet":
            return dict(_parquet(data))
        case ".onnx":
            return dict(_onnx(data))
        case _:
            return {f"line {i}": line for i, line in enumerate(data.decode(errors="replace").splitlines(), 1)}


def distance(path: str, committed: bytes, rebuilt: bytes) -> Distance:
    """Measures a rebuilt output against the committed one.

    Args:
        path: of the output; its suffix says how to read it.
        committed: its bytes as pinned.
        rebuilt: its bytes now.
    """
    if committed == rebuilt:
        return Distance(Verdict.SAME)
    before, after = cells(path, committed), cells(path, rebuilt)
    if before.keys() != after.keys():
        gone, new = len(before.keys() - after.keys()), len(after.keys() - before.keys())
        return Distance(Verdict.DIFFERENT, f"of another shape: {gone} values gone, {new} new")
    changed = [where for where in before if not _equal(before[where], after[where])]
    if not changed:
        return Distance(Verdict.CLOSE, "the same values in other bytes")
    texts = [where for where in changed if not (_number(before[where]) and _number(after[where]))]
    if texts:
        first = texts[0]
        return Distance(
            Verdict.DIFFERENT,
            f"{len(changed)} of {len(before)} values, first at {first}: {before[first]!r}, now {after[first]!r}",
        )
    worst = max(changed, key=lambda where: abs(before[where] - after[where]))
    near = all(abs(before[w] - after[w]) <= PREDICTION_TOLERANCE * max(1.0, abs(before[w])) for w in changed)
    return Distance(
        Verdict.CLOSE if near else Verdict.DIFFERENT,
        f"{len(changed)} of {len(before)} numbers, at most {abs(before[worst] - after[worst]):.3g} at {worst}",
    )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _equal(left: object, right: object) -> bool:
    return left == right or (
        isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right)
    )
