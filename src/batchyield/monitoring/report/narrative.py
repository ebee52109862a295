"""What the report says in words: the verdict first, each reading that moved, and what to do next."""

from collections.abc import Sequence
from typing import NamedTuple

from batchyield.monitoring.drift_window import MIN_BLANK_CHANGE, MIN_NEW_SHARE, MIN_PSI, DriftVerdict
from batchyield.monitoring.live_error import EstimateWithLimits, LiveError
from batchyield.monitoring.report.collect import ReadingComparison, ReportData

GOOD, BAD, OPEN = "good", "bad", "open"

MAX_NAMES = 6
"""Names in a sentence; the page lists the rest."""


FIGURES = {"mae": "mean error", "bias": "bias", "coverage": "intervals"}
"""What people call the figures of the live error."""


class Statement(NamedTuple):
    """A statement: `tone` is `good`, `bad` or `open`; `short` stands in a badge."""

    tone: str
    short: str
    text: str


def summarize(found: ReportData) -> Statement:
    """The whole report in a sentence."""
    window, live = found.findings.window, found.findings.live_error
    if not window.batches:
        return Statement(OPEN, "nothing to judge", "This model has answered no batch in this time.")
    worse = live.verdict is DriftVerdict.DRIFTED
    if window.batches < window.needed and not worse:
        text = f"{count(window.batches, 'batch')} are too few to judge drift by: it takes {window.needed}."
        return Statement(OPEN, "too few batches", text)
    moved = list(window.drifted[:MAX_NAMES])
    if len(window.drifted) > MAX_NAMES:
        moved.append(f"{len(window.drifted) - MAX_NAMES} more readings")
    if window.prediction.verdict is DriftVerdict.DRIFTED:
        moved.append("the predicted yield")
    parts = []
    if moved:
        verb = "has" if len(moved) == 1 else "have"
        parts.append(f"{_listed(moved, len(moved))} {verb} moved away from what the model was trained on")
    if worse:
        parts.append("the model is worse than its card promises, by measured yields")
    if not parts:
        text = "All 42 readings and the predicted yields look like those the model was trained on."
        return Statement(GOOD, "steady", text)
    text = "; ".join(parts)
    return Statement(BAD, "look here", f"{text[0].upper()}{text[1:]}.")


def list_statements(found: ReportData) -> list[tuple[str, Statement]]:
    """The parts of the verdict: inputs, predictions, the newest of them, the live error."""
    window, chart, live = found.findings.window, found.findings.chart, found.findings.live_error
    few = f"{count(window.batches, 'batch')} of the {window.needed} it takes"
    drifted = len(window.drifted)
    inputs = {
        DriftVerdict.TOO_FEW: Statement(OPEN, "too few", f"{few}; nothing is said yet."),
        DriftVerdict.STEADY: Statement(
            GOOD, "steady", "No reading has moved by more than chance and by enough to matter."
        ),
        DriftVerdict.DRIFTED: Statement(BAD, f"{drifted} of 42 moved", f"Surest first: {_listed(window.drifted)}."),
    }
    told = (
        DriftVerdict.TOO_FEW
        if window.batches < window.needed
        else DriftVerdict.DRIFTED
        if drifted
        else DriftVerdict.STEADY
    )
    answer = window.prediction
    means = ""
    if answer.mean is not None and answer.mean_trained is not None:
        means = f"On average {percent(answer.mean)}; in the training {percent(answer.mean_trained)}."
    predicted = {
        DriftVerdict.TOO_FEW: Statement(OPEN, "too few", f"{few}; nothing is said yet. {means}".strip()),
        DriftVerdict.STEADY: Statement(GOOD, "steady", means),
        DriftVerdict.DRIFTED: Statement(BAD, "moved", means),
    }
    if chart is None or not chart.points:
        size = f" of {chart.size} batches" if chart else ""
        control = Statement(OPEN, "no point yet", f"The control chart has no whole group{size}.")
    elif chart.in_control:
        control = Statement(
            GOOD, "within limits", "The newest group of batches is within the limits of a steady plant."
        )
    else:
        control = Statement(BAD, "beyond limits", "The newest group, or its moving average, is beyond a limit.")
    few = f"{count(live.outcomes, 'measured yield')} of the {live.needed} it takes; nothing is said yet."
    promise = "" if live.mae_promised is None else f"; promised {points(live.mae_promised)}"
    error = f"Mean error {points(live.mae.value)}{promise}." if live.mae else ""
    live_said = {
        DriftVerdict.TOO_FEW: Statement(OPEN, "too few", few),
        DriftVerdict.STEADY: Statement(GOOD, "as promised", error),
        DriftVerdict.DRIFTED: Statement(BAD, f"worse: {_worse(live)}", error),
    }
    return [
        ("Readings", inputs[told]),
        ("Predicted yield", predicted[answer.verdict]),
        ("Newest batches", control),
        ("Error", live_said[live.verdict]),
    ]


def describe_reading(moved: ReadingComparison) -> list[str]:
    """What happened to a reading: each thing that is large enough to matter."""
    shift, told = moved.shift, []
    if abs(shift.blank - shift.blank_trained) >= MIN_BLANK_CHANGE:
        told.append(f"blank in {percent(shift.blank)} of the batches, before in {percent(shift.blank_trained)}")
    if shift.new >= MIN_NEW_SHARE and len(moved.values):
        told.append(f"{percent(shift.new)} of the values were never seen in the training")
    if (shift.psi or 0.0) >= MIN_PSI and moved.before is not None and moved.now is not None:
        told.append(_distribution(moved))
    return told


def _distribution(moved: ReadingComparison) -> str:
    """How the values moved: a coarse grid keeps its median, a shift of a part of the batches too."""
    unit = f" {moved.feature.unit}" if moved.feature.unit else ""
    before, now = number(moved.before), number(moved.now)
    if before != now:
        return f"median {before} → {now}{unit}"
    before, mean = number(moved.profile.mean), number(float(moved.values.mean()))
    changed = f"mean {before} → {mean}{unit}" if before != mean else "spread otherwise"
    return f"median still {now}{unit}, {changed}"


def describe_chart(moved: ReadingComparison) -> str:
    """The picture in words, for whoever does not see it."""
    if not len(moved.values):
        return "no value came, so there is no picture"
    return f"{moved.feature.description}; training behind, these batches in front"


def list_advice(found: ReportData) -> list[str]:
    """What to do next, the most urgent first."""
    window, live = found.findings.window, found.findings.live_error
    drifted = [moved for moved in found.readings if moved.shift.verdict is DriftVerdict.DRIFTED]
    blank = [m.reading.name for m in drifted if m.shift.blank - m.shift.blank_trained >= MIN_BLANK_CHANGE]
    other = [m.reading.name for m in drifted if m.reading.name not in blank]
    steps = []
    if live.verdict is DriftVerdict.DRIFTED:
        steps.append(
            "Do not steer by single predictions for now: by measured yields the model does not hold what its "
            f"card promises ({_worse(live)}). Train again with the "
            "batches whose yield is known, and compare with `batchyield model replay` before the new model serves."
        )
    if blank:
        steps.append(
            f"Find out why {_listed(blank)} came blank so often: sensor, logging sheet, or the export of the file. The "
            "model fills the gap with what it learnt of blanks, which is less than it learns from a value."
        )
    if other:
        steps.append(
            f"Ask the shift whether {_listed(other)} moved on purpose (recipe, raw material, set point). If not, check "
            "the instrument. If so, the model should be trained on batches of the new state once their yields are in."
        )
    if drifted and live.verdict is DriftVerdict.STEADY:
        steps.append("The measured yields still agree with the model: there is time, but keep telling outcomes.")
    if window.batches and live.outcomes < live.needed:
        steps.append(
            f"Tell measured yields (`POST /v1/outcomes`): {live.needed - live.outcomes} more and the error itself can "
            "be judged, which no comparison of inputs replaces."
        )
    if not window.batches:
        steps.append("Check that the service keeps its journal, that this is it, and that the model is the right one.")
    elif window.batches < window.needed:
        steps.append(f"Come back when {window.needed} batches are in, or ask for a longer time with `--since`.")
    return steps or ["Nothing. Look again next week, or let the alerts tell."]


def _worse(live: LiveError) -> str:
    return _listed([FIGURES[figure] for figure in live.worse])


def interval(estimate: EstimateWithLimits, share: bool) -> str:
    """A figure with its confidence limits."""
    say = percent if share else points
    return f"{say(estimate.value)} ({say(estimate.lower)} to {say(estimate.upper)})"


def percent(share: float) -> str:
    """A share, or a yield."""
    return f"{100 * share:.1f}\N{NARROW NO-BREAK SPACE}%"


def points(difference: float) -> str:
    """A difference of yields, in points."""
    return f"{100 * difference:.2f} points"


def number(value: float | None) -> str:
    """A reading; a dash where there is none."""
    return "–" if value is None else f"{value:.4g}"


def count(many: int, what: str) -> str:
    """`1 batch`, `2 batches`."""
    plural = f"{what}es" if what.endswith("ch") else f"{what}s"
    return f"{many:,} {what if many == 1 else plural}"


def _listed(names: Sequence[str], most: int = MAX_NAMES) -> str:
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
