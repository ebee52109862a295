"""Charts as Mermaid `xychart-beta` blocks, which GitHub draws: no image host is needed."""

import json
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pandas as pd

from batchyield.modelling.estimators import Array
from batchyield.plant.features import id_number
from batchyield.plant.table import TARGET
from batchyield.review.paired_bootstrap import PredictedBatches, join_by_id
from batchyield.review.report.markdown import details
from batchyield.review.review import Review

BASE, HEAD, THIRD = "#8b949e", "#d1591f", "#1f6feb"
"""Grey, orange and blue: distinct on light and dark pages, and for colour-blind readers."""

LEARNING = "data/plots/learning.csv"
PERIODS = 12

Series = tuple[str, Sequence[float]]
"""`line` or `bar`, and its heights."""


def xychart(
    title: str, x: tuple[str, Sequence[str]], y: tuple[str, float, float], series: Sequence[Series], colours: list[str]
) -> list[str]:
    """Return a chart as a fenced block.

    Args:
        title: above it.
        x: label and a word for each place.
        y: label, lowest and highest value.
        series: the first at the back; one height for each place.
        colours: of the series.
    """
    theme = {"theme": "base", "themeVariables": {"xyChart": {"plotColorPalette": ",".join(colours)}}}
    words = ", ".join(_quoted(word) for word in x[1])
    return [
        "```mermaid",
        f"%%{{init: {json.dumps(theme)}}}%%",
        "xychart-beta",
        f"  title {_quoted(title)}",
        f"  x-axis {_quoted(x[0])} [{words}]",
        f"  y-axis {_quoted(y[0])} {_height(y[1])} --> {_height(y[2])}",
        *(f"  {kind} [{', '.join(map(_height, heights))}]" for kind, heights in series),
        "```",
        "",
    ]


def _height(value: float) -> str:
    # Mermaid reads no exponents, and no "-0".
    return f"{round(value, 6) + 0.0:.6f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "'") + '"'


def _around(*columns: Sequence[float]) -> tuple[float, float]:
    """Limits that leave a margin around all values."""
    low, high = min(map(min, columns)), max(map(max, columns))
    margin = (high - low) * 0.08 or abs(high) * 0.08 or 1.0
    return low - margin, high + margin


def charts(review: Review) -> list[str]:
    """Return the charts of a review, each with a sentence that says what is drawn."""
    there, here = join_by_id(*review.rows)
    lines = _residuals(there, here) if len(here.ids) >= PERIODS else []
    return ["### Plots", "", *lines, *details("Learning curve", _learning(review))]


def _residuals(there: PredictedBatches, here: PredictedBatches) -> list[str]:
    numbers = np.array([id_number(name) for name in here.ids], dtype=float)
    parts = np.array_split(np.argsort(numbers, kind="stable"), PERIODS)
    lines = [_means(side.measured - side.answers.yields, parts) for side in (there, here)]
    words = [f"{numbers[part[0]]:.0f}" for part in parts]
    if len(set(words)) < PERIODS:  # two places of one word are drawn as one
        words = [f"{i}" for i in range(1, PERIODS + 1)]
    drawn = xychart(
        "Residuals over time",
        ("number of the period's first batch", words),
        (f"mean of measured less predicted {TARGET.word}", *_around(*lines, [0.0])),
        [("line", line) for line in ([0.0] * PERIODS, *lines)],
        [THIRD, BASE, HEAD],
    )
    return ["Grey: base; orange: head; blue: no error.", "", *drawn]


def _learning(review: Review) -> list[str]:
    sides = (review.base, review.head)
    if any(side.md5(LEARNING) is None for side in sides):
        return []
    base, head = (pd.read_csv(BytesIO(side.read(LEARNING))) for side in sides)
    same = base["batches"].tolist() == head["batches"].tolist()
    scores = [curve["score"].tolist() for curve in ((base, head) if same else (head,))]
    lines = xychart(
        "Learning curve",
        ("training batches", [str(n) for n in head["batches"]]),
        (f"score on the test batches{TARGET.in_score_unit}", *_around(*scores)),
        [("line", line) for line in scores],
        [BASE, HEAD] if same else [HEAD],
    )
    legend = "Grey: base; orange: head." if same else "Head alone: the base learned from other numbers of batches."
    return [legend, "", *lines]


def _means(column: Array, parts: list[np.ndarray[tuple[int], np.dtype[np.intp]]]) -> list[float]:
    return [float(column[part].mean()) for part in parts]
