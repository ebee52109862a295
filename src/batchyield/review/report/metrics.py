"""Sections on metrics: result of the gate, table of metrics, slices that got worse, predictions that changed."""

from collections.abc import Iterator

import yaml

from batchyield.modelling.metrics import Estimate, slice_labels
from batchyield.modelling.parquet import parse_table, to_batches
from batchyield.plant.features import featurize
from batchyield.review.gate import OVERRIDE, CheckResult, RegressionCheck
from batchyield.review.paired_bootstrap import (
    MIN_COMMON_BATCHES,
    PairedMetrics,
    PredictedBatches,
    join_by_id,
    paired_bootstrap,
)
from batchyield.review.report.markdown import cell, code, details, number, signed, table
from batchyield.review.review import Review
from batchyield.serving.deployment.prediction_diff import summarize_diff
from batchyield.serving.responses import Prediction

TEST = "data/split/test.parquet"
BETTER = {"score": "lower", "rmse": "lower", "mae": "lower", "width": "lower", "r2": "higher"}
"""The better direction; `bias` and `coverage` have none."""

SMALLEST = 20
"""Batches that a slice needs to be compared."""

SHOWN = 8


def verdict(review: Review) -> list[str]:
    """Return the result of the gate with every failure."""
    made = review.gate_result
    title = "❌ The gate stops this change" if made.failures else "✅ The gate passes this change"
    if made.failures and made.overridden:
        title = f"⚠️ The gate fails, and the label {code(OVERRIDE)} overrides it"
    lines = [f"## {title}", "", *(f"- {cell(failure)}" for failure in made.failures)]
    if any(each.outcome is CheckResult.INSUFFICIENT_DATA for each in made.comparisons):
        lines.append(
            f"- base and head have fewer than {MIN_COMMON_BATCHES} test batches in common: too few to tell a loss from "
            f"noise; the label {code(OVERRIDE)} overrides this"
        )
    summary = f"{code(review.base.name)} → {code(review.head.name)}"
    if review.pair is not None:
        was, now = review.pair.base["rmse"], review.pair.head["rmse"]
        share = f" ({(now - was) / was:+.1%})" if was else ""
        summary += f"; RMSE on {review.pair.rows} test batches {number(was)} → {number(now)}{share}"
    return [*lines, "", summary, "", *(f"> {warning}\n" for warning in _warnings(review))]


def _warnings(review: Review) -> Iterator[str]:
    here, there = (yaml.safe_load(side.text("params.yaml")).get("gate") for side in (review.head, review.base))
    if here != there:
        yield "**This change alters the gate itself**: see the params below."
    sizes = [len(rows.ids) for rows in review.rows]
    shared = len(join_by_id(*review.rows)[1].ids)
    if sizes != [shared, shared]:
        yield (
            f"**The test batches differ**: {sizes[0]} in the base, {sizes[1]} now, {shared} in both. "
            "MetricValues of `test` are those of the common batches."
        )


def measured(review: Review) -> list[str]:
    """Return the table of metrics of both sides."""
    rules = {(each.metrics, each.figure): each for each in review.gate_result.comparisons}
    shown: list[list[str]] = []
    rest: list[list[str]] = []
    for name, figures in review.after.items():
        for figure in figures:
            row = _row(review, name, figure, rules.get((name, figure)))
            (shown if name == "test" or (name, figure) in rules else rest).append(row)
    level = f"{review.params.evaluation.confidence:.0%} interval"
    header = ("metrics", "figure", "base", "head", "change", level, "", "")
    lines = ["### Metrics", "", *table(header, shown, "<<>>>>")]
    return lines + details(f"{len(rest)} more figures", table(header, rest, "<<>>>>"))


def _row(review: Review, name: str, figure: str, rule: RegressionCheck | None) -> list[str]:
    was, now = review.before.get(name, {}).get(figure), review.after[name][figure]
    sure: Estimate | None = None
    if name == "test" and review.pair is not None and was is not None:
        was, now, sure = review.pair.base[figure], review.pair.head[figure], review.pair.change[figure]
    first = [name, figure, "–" if was is None else number(was), number(now)]
    if was is None:
        return [*first, "", "", "", "new"]
    interval = f"{signed(sure.low)} … {signed(sure.high)}" if sure else ""
    arrow = "→" if now == was else "↑" if now > was else "↓"
    return [*first, signed(now - was), interval, arrow, _label(figure, now - was, sure, rule)]


def _label(figure: str, change: float, sure: Estimate | None, rule: RegressionCheck | None) -> str:
    if rule is not None:
        return f"**{rule.outcome}**" if not rule.passed else str(rule.outcome)
    if change == 0:
        return str(CheckResult.SAME)
    if sure is not None and sure.low <= 0 <= sure.high:
        return str(CheckResult.NOISE)
    if sure is None or figure not in BETTER:
        return ""
    return "better" if (change < 0) == (BETTER[figure] == "lower") else "worse"


def slices(review: Review) -> list[str]:
    """Return the slices whose score got worse beyond noise, with intervals corrected for the number of slices."""
    if review.pair is None:
        return []
    there, here = join_by_id(*review.rows)
    found = _slices(review, there, here)
    worse = [(name, pair) for name, pair in found if pair.change["score"].low > 0]
    worse.sort(key=lambda one: -one[1].change["score"].value)
    lines = ["### Slices that got worse", ""]
    if not worse:
        return [*lines, f"None of {len(found)} (of at least {SMALLEST} batches) by more than noise.", ""]
    rows = []
    for name, pair in worse[:SHOWN]:
        was, now, sure = pair.base["rmse"], pair.head["rmse"], pair.change["rmse"]
        interval = f"{signed(sure.low)} … {signed(sure.high)}"
        rows.append([cell(name), str(pair.rows), number(was), number(now), signed(sure.value), interval])
    lines += table(("slice", "batches", "RMSE base", "RMSE head", "change", "interval"), rows, "<>>>>>")
    return [*lines, f"{len(worse)} of {len(found)}; the intervals are corrected for the number of slices.", ""]


def _slices(review: Review, there: PredictedBatches, here: PredictedBatches) -> list[tuple[str, PairedMetrics]]:
    frame = parse_table(review.head.read(TEST)).set_index("id", drop=False).loc[here.ids]
    labels = slice_labels(featurize(to_batches(frame)))
    parts = [
        (f"{aspect} {label}", rows)
        for aspect, given in labels.items()
        for label in sorted(set(given))
        if SMALLEST <= len(rows := [i for i, one in enumerate(given) if one == label]) < len(here.ids)
    ]
    settings = review.params.evaluation
    level = 1 - (1 - settings.confidence) / max(1, len(parts))
    options = (settings.bootstrap, level, settings.seed, SMALLEST)
    pairs = ((name, paired_bootstrap(there.take(rows), here.take(rows), *options)) for name, rows in parts)
    return [(name, pair) for name, pair in pairs if pair is not None]


def moved(review: Review) -> list[str]:
    """Return how the predictions for the common test batches changed."""
    there, here = join_by_id(*review.rows)
    if not here.ids:
        return []
    before, after = (
        [Prediction(*row) for row in zip(side.ids, *(column.tolist() for column in side.answers), strict=True)]
        for side in (there, here)
    )
    made = summarize_diff(before, after)
    lines = ["### Answers that moved", "", f"Test batches: {made}."]
    if made.at is not None:
        at = made.at
        was, now, actual = there.answers.yields[at], here.answers.yields[at], here.measured[at]
        lines.append(f"\nFarthest: {code(here.ids[at])} {was:.4f} → {now:.4f}, measured {actual:.4f}.")
    return [*lines, ""]
