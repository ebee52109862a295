"""Texts of the drift report: summary, statements, description of each drifted reading, and advice."""

from collections.abc import Sequence
from typing import NamedTuple

from batchyield.monitoring.drift_window import MIN_BLANK_CHANGE, MIN_NEW_SHARE, MIN_PSI, DriftVerdict
from batchyield.monitoring.live_error import EstimateWithLimits, LiveError
from batchyield.monitoring.report.collect import ReadingComparison, ReportData
from batchyield.plant.table import READINGS, TARGET

GOOD, BAD, OPEN = "good", "bad", "open"

MAX_NAMES = 6
"""Names in a sentence; the page lists all."""

LIMITED_SHARE = 0.5
"""Share of the newest batches whose correction is at the limit, from which the alert fires too."""

FIGURES = {"mae": "mean error", "bias": "bias", "coverage": "intervals"}
"""Display names of the figures of the live error."""


class Statement(NamedTuple):
    """A sentence of the report: `tone` is `good`, `bad` or `open`; `short` is the text of the badge."""

    tone: str
    short: str
    text: str


def summarize(data: ReportData) -> Statement:
    """Return the summary of the report in one sentence."""
    window, live = data.findings.window, data.findings.live_error
    if not window.batches:
        return Statement(OPEN, "no data", "This model answered no batch in this time.")
    worse = live.verdict is DriftVerdict.DRIFTED
    if window.batches < window.needed and not worse:
        text = f"{count(window.batches, 'batch')} are too few to judge drift; {window.needed} are needed."
        return Statement(OPEN, "too few batches", text)
    drifted = list(window.drifted[:MAX_NAMES])
    if len(window.drifted) > MAX_NAMES:
        drifted.append(f"{len(window.drifted) - MAX_NAMES} more readings")
    if window.prediction.verdict is DriftVerdict.DRIFTED:
        drifted.append(f"the predicted {TARGET.word}")
    parts = []
    if drifted:
        verb = "has" if len(drifted) == 1 else "have"
        parts.append(f"{_join(drifted, len(drifted))} {verb} moved away from the training data")
    if worse:
        parts.append(f"the model is worse than its card promises, by measured {TARGET.words}")
    if not parts:
        return Statement(
            GOOD,
            "steady",
            f"All {len(READINGS)} readings and the predicted {TARGET.words} look like the training data.",
        )
    text = "; ".join(parts)
    return Statement(BAD, "needs attention", f"{text[0].upper()}{text[1:]}.")


def list_statements(data: ReportData) -> list[tuple[str, Statement]]:
    """Return the statements on readings, predictions, control chart and live error, each with its title."""
    window, chart, live = data.findings.window, data.findings.chart, data.findings.live_error
    few = f"{count(window.batches, 'batch')} of {window.needed} needed; no verdict yet."
    if window.batches < window.needed:
        readings = Statement(OPEN, "too few", few)
    elif window.drifted:
        readings = Statement(
            BAD, f"{len(window.drifted)} of {len(READINGS)} moved", f"Most certain first: {_join(window.drifted)}."
        )
    else:
        readings = Statement(GOOD, "steady", "No reading moved by more than chance and by enough to matter.")
    prediction = window.prediction
    means = ""
    if prediction.mean is not None and prediction.mean_trained is not None:
        means = f"Mean {target(prediction.mean)}; in the training {target(prediction.mean_trained)}."
    predictions = {
        DriftVerdict.TOO_FEW: Statement(OPEN, "too few", f"{few} {means}".strip()),
        DriftVerdict.STEADY: Statement(GOOD, "steady", means),
        DriftVerdict.DRIFTED: Statement(BAD, "moved", means),
    }
    if chart is None or not chart.points:
        size = f" of {chart.size} batches" if chart else ""
        control = Statement(OPEN, "no point yet", f"The control chart has no complete group{size}.")
    elif chart.in_control:
        control = Statement(GOOD, "within limits", "The newest group of batches is within the limits.")
    else:
        control = Statement(BAD, "beyond limits", "The newest group, or its moving average, is beyond a limit.")
    promise = "" if live.mae_promised is None else f"; promised {points(live.mae_promised)}"
    error = f"Mean error {points(live.mae.value)}{promise}." if live.mae else ""
    if live.mae_alone:
        error += f" Without bias update: {points(live.mae_alone.value)}."
    few_outcomes = f"{count(live.outcomes, 'outcome')} of {live.needed} needed; no verdict yet."
    errors = {
        DriftVerdict.TOO_FEW: Statement(OPEN, "too few", few_outcomes),
        DriftVerdict.STEADY: Statement(GOOD, "as promised", error),
        DriftVerdict.DRIFTED: Statement(BAD, f"worse: {_join_figures(live)}", error),
    }
    return [
        ("Readings", readings),
        (f"Predicted {TARGET.word}", predictions[prediction.verdict]),
        ("Newest batches", control),
        ("Error", errors[live.verdict]),
    ]


def describe_reading(comparison: ReadingComparison) -> list[str]:
    """Return the changes of a reading that are large enough to matter."""
    drift, changes = comparison.drift, []
    if abs(drift.blank - drift.blank_trained) >= MIN_BLANK_CHANGE:
        changes.append(f"blank in {percent(drift.blank)} of the batches, before in {percent(drift.blank_trained)}")
    if drift.new >= MIN_NEW_SHARE and len(comparison.values):
        changes.append(f"{percent(drift.new)} of the values do not occur in the training")
    medians = comparison.median_trained, comparison.median
    if (drift.psi or 0.0) >= MIN_PSI and None not in medians:
        changes.append(_describe_distribution(comparison))
    return changes


def _describe_distribution(comparison: ReadingComparison) -> str:
    """Return the change of the median, or of the mean where the median stayed (coarse values, partial shift)."""
    unit = f" {comparison.feature.unit}" if comparison.feature.unit else ""
    before, now = number(comparison.median_trained), number(comparison.median)
    if before != now:
        return f"median {before} → {now}{unit}"
    before, mean = number(comparison.profile.mean), number(float(comparison.values.mean()))
    change = f"mean {before} → {mean}{unit}" if before != mean else "the spread changed"
    return f"median still {now}{unit}, {change}"


def describe_chart(comparison: ReadingComparison) -> str:
    """Return the text alternative of a reading's chart."""
    if not len(comparison.values):
        return "no value came, so there is no chart"
    return f"{comparison.feature.description}; training behind, these batches in front"


def list_advice(data: ReportData) -> list[str]:
    """Return the next steps, most urgent first."""
    window, live, bias = data.findings.window, data.findings.live_error, data.findings.bias
    drifted = [c for c in data.readings if c.drift.verdict is DriftVerdict.DRIFTED]
    blank = [c.reading.name for c in drifted if c.drift.blank - c.drift.blank_trained >= MIN_BLANK_CHANGE]
    other = [c.reading.name for c in drifted if c.reading.name not in blank]
    steps = []
    if live.verdict is DriftVerdict.DRIFTED:
        steps.append(
            f"Do not act on single predictions for now: by measured {TARGET.words} the model is worse than its card "
            f"promises ({_join_figures(live)}). Train again with the batches whose {TARGET.word} is known, and compare "
            "with `batchyield model replay` before the new model serves."
        )
    if bias and (bias.limited or 0.0) >= LIMITED_SHARE:
        steps.append(
            f"The bias update is at its limit for {percent(bias.limited or 0.0)} of the newest batches: the plant "
            f"moved further than it may correct. Train again with the batches whose {TARGET.word} is known."
        )
    if blank:
        steps.append(
            f"Find out why {_join(blank)} came blank so often: sensor, logging sheet, or file export. The model "
            "replaces a blank by what it learned from blanks, which is less than it learns from a value."
        )
    if other:
        steps.append(
            f"Ask the shift whether {_join(other)} moved on purpose (recipe, raw material, set point). If not, "
            f"check the instrument. If so, train the model on batches of the new state once their {TARGET.words} are "
            "measured."
        )
    if drifted and live.verdict is DriftVerdict.STEADY:
        steps.append(f"Measured {TARGET.words} still agree with the model, so there is time; keep sending outcomes.")
    if window.batches and live.outcomes < live.needed:
        steps.append(
            f"Send measured {TARGET.words} (`POST /v1/outcomes`): with {live.needed - live.outcomes} more the error "
            "itself can be judged, which no comparison of inputs replaces."
        )
    if not window.batches:
        steps.append(
            "Check that the service keeps a journal, that this is the one, and that the model is the right one."
        )
    elif window.batches < window.needed:
        steps.append(f"Repeat the report when {window.needed} batches are in, or choose a longer time with `--since`.")
    return steps or ["None. Repeat the report next week, or rely on the alerts."]


def _join_figures(live: LiveError) -> str:
    return _join([FIGURES[figure] for figure in live.worse])


def interval(estimate: EstimateWithLimits, share: bool) -> str:
    """Format a figure with its confidence limits, as shares or as points."""
    form = percent if share else points
    return f"{form(estimate.value)} ({form(estimate.lower)} to {form(estimate.upper)})"


def percent(share: float) -> str:
    """Format a share."""
    return f"{100 * share:.1f}\N{NARROW NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """Format a time as seconds, minutes or hours."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def target(value: float) -> str:
    """Format a mean of the target with its unit."""
    return TARGET.shown(value, max(0, TARGET.decimals - 1)).replace(" ", "\N{NARROW NO-BREAK SPACE}")


def points(difference: float) -> str:
    """Format a difference of targets in its unit, of percentages in points."""
    value = round(difference * TARGET.factor, TARGET.decimals) + 0.0  # + 0.0: no "-0.00"
    return f"{value:.{TARGET.decimals}f} {TARGET.difference_unit}".rstrip()


def number(value: float | None) -> str:
    """Format a reading; a dash if there is none."""
    return "–" if value is None else f"{value:.4g}"


def count(quantity: int, noun: str) -> str:
    """Format a number with its noun: `1 batch`, `2 batches`."""
    ending = "" if quantity == 1 else "es" if noun.endswith("ch") else "s"
    return f"{quantity:,} {noun}{ending}"


def _join(names: Sequence[str], limit: int = MAX_NAMES) -> str:
    shown = list(names[:limit])
    if len(names) > limit:
        return f"{', '.join(shown)} and {len(names) - limit} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
