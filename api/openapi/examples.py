"""The examples of the OpenAPI document and the console; all numbers are made up."""

from typing import Any

import msgspec
from litestar.openapi.spec import Example

from batchyield.plant.table import READINGS

BATCH: dict[str, Any] = {"id": "sample_1"} | {reading.name: reading.example for reading in READINGS}
"""Complete and without bad cells."""

MISTYPED = {**BATCH, "id": "sample_2", "A17": None, "B9": "17；00-18:30", "B14": 420}
"""With a blank cell, and with a typing error that is repaired with a warning."""

INPUTS = {"inputs": [BATCH, MISTYPED]}

PIN = {"version": "1.0.0", "revision": "1" * 40, "md5": "2" * 32}
CLEAN = {"id": "sample_1", "yield": 0.921, "lower": 0.891, "upper": 0.949, "warnings": []}
EXPLANATION = {
    "baseline": 0.8932,
    "contributions": [
        {"feature": "B14_per_A1", "value": 1.4, "typical": 1.3333333, "effect": 0.0253},
        {"feature": "A7_to_A9", "value": None, "typical": 95.0, "effect": -0.0027},
    ],
    "rest": 0.0052,
}
EXPLAINED = {"model": PIN, "predictions": [{**CLEAN, "explanation": EXPLANATION}]}
WARNED = {
    "field": "B9", "kind": "full_width", "message": "'17；00-18:30' read as 17:00-18:30: full-width characters",
}  # fmt: skip
PREDICTED = {
    "model": PIN,
    "predictions": [CLEAN, {"id": "sample_2", "yield": 0.961, "lower": 0.931, "upper": 0.988, "warnings": [WARNED]}],
}
SCORED = "id,yield,lower,upper\nsample_1,0.921,0.891,0.949\nsample_2,0.961,0.931,0.988\n"
"""The responses to `INPUTS`, as JSON and as CSV."""

OUTCOMES = {"outcomes": [{"id": "sample_1", "yield": 0.918}, {"id": "not_predicted_yet", "yield": 0.884}]}

OUTCOMES_KEPT = {
    "outcomes": [
        {"id": "sample_1", "result": "recorded", "matched": 1, "models": ["2" * 32]},
        {"id": "not_predicted_yet", "result": "recorded", "matched": 0, "models": []},
    ],
    "matched": 1,
    "unmatched": 1,
}

_SURE = {"value": 0.0112, "lower": 0.0101, "upper": 0.0123}

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
        "batches": 1000, "dropped": 0, "failed": 0, "failure": "", "changed": 940, "mean": 0.0004,
        "mean_absolute": 0.0021, "largest": -0.031, "outside": 0.002, "width": -0.0008,
        "histogram": [{"at_most": 0.0, "batches": 480}, {"at_most": None, "batches": 520}],
    },
    "at": "2026-11-25T06:00:00+00:00",
    "off": None,
    "window": {
        "batches": 500, "needed": 100, "drifted": ["B14"],
        "prediction": {
            "verdict": "drifted", "p": 0.00004, "mean": 0.914, "mean_trained": 0.9238, "z": -9.1,
            "psi": 0.31, "ks": 0.2,
        },
        "readings": [
            {
                "reading": "B14", "feature": "B14", "verdict": "drifted", "p": 0.0, "psi": 0.42, "ks": 0.27,
                "moved": -0.61, "blank": 0.0, "blank_trained": 0.001, "new": 0.002,
            },
        ],
    },
    "chart": {
        "size": 25, "center": 0.9238, "lower": 0.9051, "upper": 0.9425,
        "points": [
            {"mean": 0.914, "average": 0.9218, "average_lower": 0.9201, "average_upper": 0.9275, "out": False},
        ],
    },
    "live": {
        "outcomes": 120, "needed": 50, "verdict": "steady", "worse": [], "mae": _SURE, "mae_promised": 0.0109,
        "bias": {"value": 0.0004, "lower": -0.0021, "upper": 0.0029},
        "coverage": {"value": 0.925, "lower": 0.8636, "upper": 0.9601}, "level": 0.9,
    },
    "frequency": {
        "since": 1795500000000000, "until": 1795932000000000, "per_day": 99.8, "unit": "day", "low": 92.0,
        "median": 100.0, "high": 106.0, "empty": 0, "dispersion": 0.4, "longest_gap_seconds": 5400.0,
    },
}  # fmt: skip
"""A plant that has drifted, with one of the readings, and a model in the shadow."""


def sheet(batches: list[dict[str, Any]]) -> str:
    """Return batches as the plant's CSV."""
    lines = [["样本id", *(name for name in BATCH if name != "id")]]
    lines += [["" if cell is None else str(cell) for cell in batch.values()] for batch in batches]
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
