"""Texts of the drift report: summary, statements, description of each drifted reading, and advice."""

from typing import NamedTuple

from batchyield.monitoring.control_chart import ControlChart
from batchyield.monitoring.drift_window import MIN_BLANK_CHANGE, MIN_NEW_SHARE, MIN_PSI, DriftVerdict
from batchyield.monitoring.live_error import LiveError
from batchyield.monitoring.report.collect import ReadingComparison, ReportData
from batchyield.monitoring.report.words import ENGLISH, MAX_NAMES, Words
from batchyield.plant.table import READINGS

GOOD, BAD, OPEN = "good", "bad", "open"

LIMITED_SHARE = 0.5
"""Share of the newest batches whose correction is at the limit, from which the alert fires too."""

FIGURES = {"mae": "mean error", "bias": "bias", "coverage": "intervals"}
"""Display names of the figures of the live error."""


class Statement(NamedTuple):
    """A sentence of the report: `tone` is `good`, `bad` or `open`; `short` is the text of the badge."""

    tone: str
    short: str
    text: str


def summarize(data: ReportData, say: Words = ENGLISH) -> Statement:
    """Return the summary of the report in one sentence."""
    window, live = data.findings.window, data.findings.live_error
    if not window.batches:
        return Statement(OPEN, say("no data"), say("This model answered no batch in this time."))
    worse = live.verdict is DriftVerdict.DRIFTED
    if window.batches < window.needed and not worse:
        batches = say.count(window.batches, "batch")
        text = say("{batches} are too few to judge drift; {needed} are needed.", batches=batches, needed=window.needed)
        return Statement(OPEN, say("too few batches"), text)
    drifted = list(window.drifted[:MAX_NAMES])
    if len(window.drifted) > MAX_NAMES:
        drifted.append(say("{count} more readings", count=len(window.drifted) - MAX_NAMES))
    if window.prediction.verdict is DriftVerdict.DRIFTED:
        drifted.append(say("the predicted {target}"))
    parts = []
    if drifted:
        names = say.join(drifted, len(drifted))
        if len(drifted) == 1:
            parts.append(say("{names} has moved away from the training data", names=names))
        else:
            parts.append(say("{names} have moved away from the training data", names=names))
    if worse:
        parts.append(say("the model is worse than its card promises, by measured {targets}"))
    if not parts:
        text = say("All {count} readings and the predicted {targets} look like the training data.", count=len(READINGS))
        return Statement(GOOD, say("steady"), text)
    text = say("; ").join(parts)
    return Statement(BAD, say("needs attention"), say("{text}.", text=f"{text[0].upper()}{text[1:]}"))


def list_statements(data: ReportData, say: Words = ENGLISH) -> list[tuple[str, Statement]]:
    """Return the statements on readings, predictions, control chart and live error, each with its title."""
    window, chart, live = data.findings.window, data.findings.chart, data.findings.live_error
    few = _describe_few(say.count(window.batches, "batch"), window.needed, say)
    if window.batches < window.needed:
        readings = Statement(OPEN, say("too few"), few)
    elif window.drifted:
        moved = say("{count} of {all} moved", count=len(window.drifted), all=len(READINGS))
        readings = Statement(BAD, moved, say("Most certain first: {names}.", names=say.join(window.drifted)))
    else:
        text = say("No reading moved by more than chance and by enough to matter.")
        readings = Statement(GOOD, say("steady"), text)
    prediction = window.prediction
    means = ""
    if prediction.mean is not None and prediction.mean_trained is not None:
        mean, trained = say.predicted(prediction.mean), say.predicted(prediction.mean_trained)
        means = say("Mean {mean}; in the training {trained}.", mean=mean, trained=trained)
    predictions = {
        DriftVerdict.TOO_FEW: Statement(OPEN, say("too few"), f"{few}{say(' ')}{means}".strip()),
        DriftVerdict.STEADY: Statement(GOOD, say("steady"), means),
        DriftVerdict.DRIFTED: Statement(BAD, say("moved"), means),
    }
    outcomes = _describe_few(say.count(live.outcomes, "outcome"), live.needed, say)
    error = _describe_error(live, say)
    errors = {
        DriftVerdict.TOO_FEW: Statement(OPEN, say("too few"), outcomes),
        DriftVerdict.STEADY: Statement(GOOD, say("as promised"), error),
        DriftVerdict.DRIFTED: Statement(BAD, say("worse: {figures}", figures=_join_figures(live, say)), error),
    }
    return [
        (say("Readings"), readings),
        (say("Predicted {target}"), predictions[prediction.verdict]),
        (say("Newest batches"), _describe_control(chart, say)),
        (say("Error"), errors[live.verdict]),
    ]


def _describe_few(count: str, needed: int, say: Words) -> str:
    return say("{count} of {needed} needed; no verdict yet.", count=count, needed=needed)


def _describe_control(chart: ControlChart | None, say: Words) -> Statement:
    if chart is None:
        return Statement(OPEN, say("no point yet"), say("The control chart has no complete group."))
    if not chart.points:
        text = say("The control chart has no complete group of {size} batches.", size=chart.size)
        return Statement(OPEN, say("no point yet"), text)
    if chart.in_control:
        return Statement(GOOD, say("within limits"), say("The newest group of batches is within the limits."))
    text = say("The newest group, or its moving average, is beyond a limit.")
    return Statement(BAD, say("beyond limits"), text)


def _describe_error(live: LiveError, say: Words) -> str:
    text = ""
    if live.mae and live.mae_promised is None:
        text = say("Mean error {error}.", error=say.points(live.mae.value))
    elif live.mae and live.mae_promised is not None:
        error, promised = say.points(live.mae.value), say.points(live.mae_promised)
        text = say("Mean error {error}; promised {promised}.", error=error, promised=promised)
    if live.mae_alone:
        text += say(" ") + say("Without bias update: {error}.", error=say.points(live.mae_alone.value))
    return text


def describe_reading(comparison: ReadingComparison, say: Words = ENGLISH) -> list[str]:
    """Return the changes of a reading that are large enough to matter."""
    drift, changes = comparison.drift, []
    if abs(drift.blank - drift.blank_trained) >= MIN_BLANK_CHANGE:
        now, before = say.percent(drift.blank), say.percent(drift.blank_trained)
        changes.append(say("blank in {now} of the batches, before in {before}", now=now, before=before))
    if drift.new >= MIN_NEW_SHARE and len(comparison.values):
        changes.append(say("{share} of the values do not occur in the training", share=say.percent(drift.new)))
    medians = comparison.median_trained, comparison.median
    if (drift.psi or 0.0) >= MIN_PSI and None not in medians:
        changes.append(_describe_distribution(comparison, say))
    return changes


def _describe_distribution(comparison: ReadingComparison, say: Words) -> str:
    """Return the change of the median, or of the mean where the median stayed (coarse values, partial shift)."""
    unit = f" {comparison.feature.unit}" if comparison.feature.unit else ""
    before, median = say.number(comparison.median_trained), say.number(comparison.median)
    if before != median:
        return say("median {before} → {now}", before=before, now=median + unit)
    before, mean = say.number(comparison.profile.mean), say.number(float(comparison.values.mean()))
    same = before == mean
    change = say("the spread changed") if same else say("mean {before} → {now}", before=before, now=mean + unit)
    return say("median still {median}, {change}", median=median + unit, change=change)


def describe_chart(comparison: ReadingComparison, say: Words = ENGLISH) -> str:
    """Return the text alternative of a reading's chart."""
    if not len(comparison.values):
        return say("no value came, so there is no chart")
    return say("{feature}; training behind, these batches in front", feature=say.feature(comparison.feature))


def list_advice(data: ReportData, say: Words = ENGLISH) -> list[str]:
    """Return the next steps, most urgent first."""
    window, live, bias = data.findings.window, data.findings.live_error, data.findings.bias
    drifted = [c for c in data.readings if c.drift.verdict is DriftVerdict.DRIFTED]
    blank = [c.reading.name for c in drifted if c.drift.blank - c.drift.blank_trained >= MIN_BLANK_CHANGE]
    other = [c.reading.name for c in drifted if c.reading.name not in blank]
    steps = []
    if live.verdict is DriftVerdict.DRIFTED:
        text = say(
            "Do not act on single predictions for now: by measured {targets} the model is worse than its card promises "
            "({figures}). Train again with the batches whose {target} is known, and compare with `batchyield model "
            "replay` before the new model serves.",
            figures=_join_figures(live, say),
        )
        steps.append(text)
    if bias and (bias.limited or 0.0) >= LIMITED_SHARE:
        text = say(
            "The bias update is at its limit for {share} of the newest batches: the plant moved further than it may "
            "correct. Train again with the batches whose {target} is known.",
            share=say.percent(bias.limited or 0.0),
        )
        steps.append(text)
    if blank:
        text = say(
            "Find out why {names} came blank so often: sensor, logging sheet, or file export. The model replaces a "
            "blank by what it learned from blanks, which is less than it learns from a value.",
            names=say.join(blank),
        )
        steps.append(text)
    if other:
        text = say(
            "Ask the shift whether {names} moved on purpose (recipe, raw material, set point). If not, check the "
            "instrument. If so, train the model on batches of the new state once their {targets} are measured.",
            names=say.join(other),
        )
        steps.append(text)
    if drifted and live.verdict is DriftVerdict.STEADY:
        steps.append(say("Measured {targets} still agree with the model, so there is time; keep sending outcomes."))
    if window.batches and live.outcomes < live.needed:
        text = say(
            "Send measured {targets} (`POST /v1/outcomes`): with {count} more the error itself can be judged, which no "
            "comparison of inputs replaces.",
            count=live.needed - live.outcomes,
        )
        steps.append(text)
    if not window.batches:
        steps.append(
            say("Check that the service keeps a journal, that this is the one, and that the model is the right one.")
        )
    elif window.batches < window.needed:
        text = say(
            "Repeat the report when {needed} batches are in, or choose a longer time with `--since`.",
            needed=window.needed,
        )
        steps.append(text)
    return steps or [say("None. Repeat the report next week, or rely on the alerts.")]


def _join_figures(live: LiveError, say: Words) -> str:
    return say.join([say(FIGURES[figure]) for figure in live.worse])
