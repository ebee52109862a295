"""The examples of the OpenAPI document and the console; all numbers are made up."""

from typing import Any

import msgspec
from litestar.openapi.spec import Example

from batchyield.plant.batch import Batch
from batchyield.plant.features import FEATURES, featurize
from batchyield.plant.table import ID_COLUMN, READINGS, TARGET
from batchyield.plant.table import MISTYPED as DIFFERENT

BATCH: dict[str, Any] = {"id": "sample_1"} | {reading.name: reading.example for reading in READINGS}
"""Complete and without bad cells."""

MISTYPED = {**BATCH, "id": "sample_2", **DIFFERENT}
"""With a blank cell, and with a typing error that is repaired with a warning."""


def _target(scales: float) -> float:
    """Return a value at so many scales from a typical one."""
    return round(TARGET.typical + scales * TARGET.scale, 4 - TARGET.order)


def _difference(scales: float) -> float:
    return round(scales * TARGET.scale, 4 - TARGET.order)


INPUTS = {"inputs": [BATCH, MISTYPED]}

PIN = {"version": "1.0.0", "revision": "1" * 40, "md5": "2" * 32}
CLEAN = {"id": "sample_1", "yield": _target(0), "lower": _target(-1), "upper": _target(1), "warnings": []}
_SOME = [None if x != x else round(x, 4) for x in featurize([msgspec.convert(BATCH, Batch)]).values[0].tolist()]
EXPLANATION = {
    "baseline": _target(-0.9),
    "contributions": [
        {"feature": feature.name, "value": value, "typical": value, "effect": _difference(effect)}
        for feature, value, effect in zip(FEATURES, _SOME, (0.8, -0.1), strict=False)
    ],
    "rest": _difference(0.2),
}
EXPLAINED = {"model": PIN, "predictions": [{**CLEAN, "explanation": EXPLANATION}]}
WARNED = msgspec.to_builtins(featurize([msgspec.convert(MISTYPED, Batch)]).warnings[0])
PREDICTED: dict[str, Any] = {
    "model": PIN,
    "predictions": [
        CLEAN,
        {"id": "sample_2", "yield": _target(1.3), "lower": _target(0.3), "upper": _target(2), "warnings": WARNED},
    ],
}
CORRECTED = {
    "model": PIN,
    "predictions": [
        {
            **CLEAN,
            "id": "sample_2001",
            "yield": _target(0.4),
            "lower": _target(-0.4),
            "upper": _target(1.2),
            "bias": {"value": _difference(0.4), "batches": 30, "latest": "sample_1997", "digest": "5" * 32},
            "unbiased": _target(0),
        }
    ],
}
"""With a correction by measured yields of earlier batches."""
SCORED = "".join(
    ",".join(map(str, line)) + "\n"
    for line in (["id", "yield", "lower", "upper"], *(list(one.values())[:4] for one in PREDICTED["predictions"]))
)
"""The responses to `INPUTS`, as JSON and as CSV."""

OUTCOMES = {
    "outcomes": [
        {"id": "sample_1", "yield": _target(-0.1), "measured_at": "2026-11-25T06:00:00Z"},
        {"id": "not_predicted_yet", "yield": _target(-1.2)},
    ]
}

OUTCOMES_KEPT = {
    "outcomes": [
        {"id": "sample_1", "result": "recorded", "matched": 1, "models": ["2" * 32]},
        {"id": "not_predicted_yet", "result": "recorded", "matched": 0, "models": []},
    ],
    "matched": 1,
    "unmatched": 1,
}

_SURE = {"value": _difference(0.37), "lower": _difference(0.33), "upper": _difference(0.41)}
_READING = READINGS[-1].name

MONITORED = {
    "model": PIN,
    "workers": [
        {"pid": 11, "model": "2" * 32, "shadow": "3" * 32, "refused": []},
        {
            "pid": 12, "model": "2" * 32, "shadow": None,
            "refused": [{
                "role": "shadow", "md5": "3" * 32, "revision": "4" * 40,
                "reason": "model.onnx: is not the pinned file: expected md5 3333, found 5555",
            }],
        },
    ],
    "shadow": {
        "model": {"version": "1.1.0", "revision": "4" * 40, "md5": "3" * 32},
        "batches": 1000, "dropped": 0, "failed": 0, "failure": "", "changed": 940, "mean": _difference(0.01),
        "mean_absolute": _difference(0.1), "largest": _difference(-1), "outside": 0.002, "width": _difference(-0.02),
        "histogram": [{"at_most": 0.0, "batches": 480}, {"at_most": None, "batches": 520}],
    },
    "at": "2026-11-25T06:00:00+00:00",
    "off": None,
    "window": {
        "batches": 500, "needed": 100, "drifted": [_READING],
        "prediction": {
            "verdict": "drifted", "p": 0.00004, "mean": _target(-0.3), "mean_trained": _target(0), "z": -9.1,
            "psi": 0.31, "ks": 0.2,
        },
        "readings": [
            {
                "reading": _READING, "feature": _READING, "verdict": "drifted", "p": 0.0, "psi": 0.42, "ks": 0.27,
                "moved": -0.61, "blank": 0.0, "blank_trained": 0.001, "new": 0.002,
            },
        ],
    },
    "chart": {
        "size": 25, "center": _target(0), "lower": _target(-0.6), "upper": _target(0.6),
        "points": [
            {
                "mean": _target(-0.3), "average": _target(-0.1), "average_lower": _target(-0.2),
                "average_upper": _target(0.2), "out": False,
            },
        ],
    },
    "live": {
        "outcomes": 120, "needed": 50, "verdict": "steady", "worse": [], "mae": _SURE,
        "mae_promised": _difference(0.36),
        "bias": {"value": _difference(0.01), "lower": _difference(-0.1), "upper": _difference(0.1)},
        "coverage": {"value": 0.925, "lower": 0.8636, "upper": 0.9601}, "level": 0.9,
        "mae_alone": {"value": _difference(0.45), "lower": _difference(0.4), "upper": _difference(0.5)},
        "bias_alone": {"value": _difference(-0.2), "lower": _difference(-0.3), "upper": _difference(-0.1)},
    },
    "frequency": {
        "since": 1795500000000000, "until": 1795932000000000, "per_day": 99.8, "unit": "day", "low": 92.0,
        "median": 100.0, "high": 106.0, "empty": 0, "dispersion": 0.4, "longest_gap_seconds": 5400.0,
    },
    "bias": {
        "batches": 30, "corrected": 1.0, "limited": 0.0, "limit": _difference(0.8),
        "lines": [{"line": 0, "value": _difference(0.2)}, {"line": 1, "value": _difference(-0.1)}],
        "outcomes": 30, "age": 4.0, "largest_age": 60.0,
    },
}  # fmt: skip
"""A plant that has drifted, with one of the readings, and a model in the shadow."""


def sheet(batches: list[dict[str, Any]]) -> str:
    """Return batches as the plant's CSV."""
    columns = {ID_COLUMN: "id"} | {reading.name: reading.name for reading in READINGS}
    columns.pop("", None)
    lines = [list(columns)]
    lines += [["" if cell is None else str(cell) for cell in map(batch.get, columns.values())] for batch in batches]
    return "".join(",".join(line) + "\n" for line in lines)


def _example(summary: str, value: Any) -> Example:
    return Example(summary=summary, value=msgspec.Raw(msgspec.json.encode(value)))  # Litestar drops nulls from dicts


JSON, CSV = "application/json", "text/csv"

BODIES = {
    "predict": {
        JSON: {
            "batches": _example("a clean batch, and one with a mistyped range", INPUTS),
            "empty": _example("every reading may be absent", {"inputs": [{"id": "unknown"}]}),
        }
    },
    "predictSheet": {CSV: {"sheet": _example("two batches", sheet(INPUTS["inputs"]))}},
    "tellOutcomes": {JSON: {"outcomes": _example("of a predicted batch, and of another", OUTCOMES)}},
}
REPLIES = {
    "predict": {
        JSON: {
            "predicted": _example("of the two batches", PREDICTED),
            "corrected": _example("with a correction by outcomes of earlier batches", CORRECTED),
            "explained": _example("with `explain=true`", EXPLAINED),
        }
    },
    "predictSheet": {
        JSON: {"predicted": _example("of the two batches", PREDICTED)},
        CSV: {"predicted": _example("of the two batches", SCORED)},
    },
    "tellOutcomes": {JSON: {"kept": _example("both new", OUTCOMES_KEPT)}},
    "monitoring": {
        JSON: {"watched": _example("two workers, a model in the shadow, and a reading that has drifted", MONITORED)}
    },
}
"""By operation and media type."""
