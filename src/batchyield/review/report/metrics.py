"""Sections on metrics: warnings, table of metrics, slices that got worse, predictions that changed."""

import math
from collections.abc import Iterator

import yaml

from batchyield.modelling.metrics import BETTER, Estimate, slice_labels
from batchyield.modelling.parquet import parse_table, to_batches
from batchyield.plant.features import featurize
from batchyield.review.gate import OVERRIDE, UNITS, CheckResult, RegressionCheck, in_unit
from batchyield.review.paired_bootstrap import (
    MIN_COMMON_BATCHES,
    PairedMetrics,
    PredictedBatches,
    join_by_id,
    paired_bootstrap,
)
from batchyield.review.report.markdown import cell, code, details, table
from batchyield.review.review import Review
from batchyield.serving.deployment.prediction_diff import summarize_diff
from batchyield.serving.prediction import Prediction

TEST = "data/split/test.parquet"
SMALLEST = 20
"""Batches that a slice needs to be compared."""

SHOWN = 8


def warnings(review: Review) -> Iterator[str]:
    """Yield what makes a comparison of the metrics less than it seems."""
    here, there = (yaml.safe_load(side.text("params.yaml")).get("gate") for side in (review.head, review.base))
    if here != there:
        yield "**This change alters the gate itself**: see the params below."
    sizes = [len(rows.ids) for rows in review.rows]
    shared = len(join_by_id(*review.rows)[1].ids)
    if sizes != [shared, shared]:
        few = ""
        if shared < MIN_COMMON_BATCHES:
            few = f" Fewer than {MIN_COMMON_BATCHES} are too few to tell a loss from noise; the label {code(OVERRIDE)} "
            few += "overrides this."
        yield (
            f"**The test batches differ**: {sizes[0]} in the base, {sizes[1]} now, {shared} in both. "
            f"The metrics of `test` are those of the common batches.{few}"
        )


def measured(review: Review) -> list[str]:
    """Return the table of metrics of both sides: those with a rule and those of the test batches, others in a fold."""
    rules = {(each.metrics, each.figure): each for each in review.gate_result.comparisons}
    shown: list[list[str]] = []
    rest: list[list[str]] = []
    for name, figures in review.after.items():
        for figure in figures:
            row = _row(review, name, figure, rules.get((name, figure)))
            (shown if name == "test" or (name, figure) in rules else rest).append(row)
    level = f"{review.params.evaluation.confidence:.0%} interval"
    header = ("metric", "unit", "base", "head", "change", level, "verdict")
    lines = ["### Metrics", "", *table(header, shown, "<<>>>><")]
    return lines + details(f"{len(rest)} more metrics", table(header, rest, "<<>>>><") if rest else [])


def _row(review: Review, name: str, figure: str, rule: RegressionCheck | None) -> list[str]:
    was, now = review.before.get(name, {}).get(figure), review.after[name][figure]
    sure: Estimate | None = None
    if name == "test" and review.pair is not None and was is not None:
        was, now, sure = review.pair.base[figure], review.pair.head[figure], review.pair.change[figure]
    first = [f"{name} {figure}", UNITS.get(figure, (1, ""))[1]]
    if was is None:
        return [*first, "–", in_unit(figure, now), "", "", "new"]
    interval = f"{in_unit(figure, sure.low, '+')} … {in_unit(figure, sure.high, '+')}" if sure else ""
    change = "0" if now == was else in_unit(figure, now - was, "+")
    values = (in_unit(figure, was), in_unit(figure, now), change, interval)
    return [*first, *values, _label(figure, now - was, sure, rule)]


def _label(figure: str, change: float, sure: Estimate | None, rule: RegressionCheck | None) -> str:
    """Return the verdict on a metric; better or worse only beyond noise."""
    if rule is not None:
        return {
            CheckResult.WORSE: "▲ worse: **stops**",
            CheckResult.BETTER: "▼ better",
        }.get(rule.outcome, str(rule.outcome) if rule.passed else f"**{rule.outcome}**")
    if change == 0:
        return str(CheckResult.SAME)
    if sure is None or figure not in BETTER or math.isnan(change):
        return ""
    if sure.low <= 0 <= sure.high:
        return str(CheckResult.NOISE)
    return "▼ better" if (change < 0) == (BETTER[figure] == "lower") else "▲ worse, not gated"


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
    rows, unit = [], f", {UNITS['rmse'][1]}" * bool(UNITS["rmse"][1])
    for name, pair in worse[:SHOWN]:
        was, now, sure = pair.base["rmse"], pair.head["rmse"], pair.change["rmse"]
        interval = f"{in_unit('rmse', sure.low, '+')} … {in_unit('rmse', sure.high, '+')}"
        values = (in_unit("rmse", was), in_unit("rmse", now), in_unit("rmse", sure.value, "+"))
        rows.append([cell(name), str(pair.rows), *values, interval])
    lines += table(("slice", "batches", f"RMSE base{unit}", "RMSE head", "change", "interval"), rows, "<>>>>>")
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
