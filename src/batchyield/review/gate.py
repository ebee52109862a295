"""The gate: checks metrics against the bounds of `gate` in the params, and their change against a base.

A change fails if a metric got worse beyond tolerance and noise; a label of the pull request overrides both checks.
It fails in any case if `dvc.lock` is not what the code, the data and the params build: the metrics are then of another
model.
"""

import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ConfigError
from batchyield.modelling.metrics import BETTER, METRICS
from batchyield.modelling.params import Bounds, Change, Gate
from batchyield.plant.table import TARGET
from batchyield.review.paired_bootstrap import PairedMetrics
from batchyield.serving.lockfile import raise_if_conflict

MOST_MORE_DIGITS = 8
"""Digits beyond the usual ones in a text, at most, to tell a value from its bound."""

MetricValues = dict[str, dict[str, float]]
"""Metrics file, without folder and suffix -> metric -> value."""

TEST_METRICS = "test"
"""The only metrics file whose predictions are known batch by batch."""

OVERRIDE = "gate-override"
"""Label of a pull request that overrides a failing gate."""


STALE = "the figures are not this change's"
CURE = "run `dvc repro`, and commit dvc.lock and data/metrics/"

UNIT_TEXTS = {
    "target": (TARGET.factor, TARGET.difference_unit, TARGET.decimals),
    "target²": (1.0, TARGET.score_unit, 2),
    "share": (100.0, "%", 1),
    "": (1.0, "", 3),
}
UNITS = {metric.name: UNIT_TEXTS[metric.unit] for metric in METRICS} | {"score_spread": UNIT_TEXTS["target²"]}
"""Metric, as the files have it -> factor, unit and decimals of its text."""


def in_unit(figure: str, value: float, sign: str = "", more: int = 0) -> str:
    """Return a value of a metric as text in the metric's unit, without the unit.

    Args:
        figure: name of the metric.
        value: as the metrics files have it.
        sign: "+" for a change.
        more: digits beyond the usual ones.
    """
    factor, _, decimals = UNITS.get(figure, (1, "", 4))
    if value and abs(value * factor) < 10**-decimals:
        return f"{value * factor:{sign}.{1 + more}g}"
    return f"{value * factor:{sign}.{decimals + more}f}"


def with_unit(figure: str, value: float, *, name: bool = True, more: int = 0) -> str:
    """Return name, value and unit of a metric, with `more` digits than usual."""
    return f"{figure * name} {in_unit(figure, value, more=more)} {UNITS.get(figure, (1, '', 4))[1]}".strip()


class BoundCheck(msgspec.Struct, frozen=True):
    """A metric with its bounds."""

    metrics: str
    figure: str
    value: float
    bounds: Bounds

    @property
    def passed(self) -> bool:
        # Written so that NaN, which compares false with everything, fails.
        low = self.bounds.at_least is None or self.value >= self.bounds.at_least
        high = self.bounds.at_most is None or self.value <= self.bounds.at_most
        return low and high

    def __str__(self) -> str:
        outcome = "passed" if self.passed else "FAILED"
        bounds = (("at least", self.bounds.at_least), ("at most", self.bounds.at_most))
        given = [(word, limit) for word, limit in bounds if limit is not None]
        more = 0
        while more < MOST_MORE_DIGITS and any(self._reads_as(limit, more) for _, limit in given):
            more += 1
        limits = " and ".join(f"{word} {in_unit(self.figure, limit, more=more)}" for word, limit in given)
        return f"{outcome}  {self.metrics} {with_unit(self.figure, self.value, more=more)}, {limits}"

    def _reads_as(self, limit: float, more: int) -> bool:
        """Return whether the value has the text of another number, so that a bound would look met that is not."""
        texts = {in_unit(self.figure, number, more=more) for number in (self.value, limit)}
        return limit != self.value and len(texts) == 1


def check_bounds(gate: Gate, folder: Path) -> list[BoundCheck]:
    """Return the check of every bounded metric in a folder of metrics files, in the gate's order.

    Raises:
        ConfigError: a metrics file or a metric that the gate names is missing.
    """
    measured = {name: read_metrics(folder / f"{name}.json") for name in gate}
    return [
        BoundCheck(name, figure, metric_value(measured, name, figure), bounds)
        for name, figures in gate.items()
        for figure, bounds in figures.items()
        if bounds.at_least is not None or bounds.at_most is not None
    ]


def read_metrics(file: Path) -> dict[str, float]:
    """Return the metrics of a file, metric -> value; JSON's null is NaN."""
    try:
        return parse_metrics(file.read_bytes(), str(file))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error}", "run `dvc repro`") from error


def parse_metrics(data: bytes | str, source: str, remedy: str = "run `dvc repro`") -> dict[str, float]:
    """Return the metrics of a file's content, metric -> value; JSON's null is NaN. `source` names it in errors."""
    try:
        figures = msgspec.json.decode(data, type=dict[str, float | None])
    except msgspec.MsgspecError as error:
        raise_if_conflict(data, source)
        raise ConfigError(f"{source} cannot be read: {error}", remedy) from error
    return {name: math.nan if value is None else value for name, value in figures.items()}


class CheckResult(StrEnum):
    """How a metric compares with the base; the values are part of the JSON output."""

    BETTER = "better"
    SAME = "same"
    TOLERATED = "within tolerance"
    NOISE = "within noise"
    WORSE = "worse"
    NEW = "new, nothing to compare with"
    INSUFFICIENT_DATA = "too few common batches to compare"
    NOT_A_NUMBER = "not a number"


class RegressionCheck(msgspec.Struct, frozen=True):
    """A metric of base and head, and the result of its rule `change`.

    `base` is None if the base has no such metric. The confidence interval of head minus base, `low` to `high`, is None
    if predictions are not known batch by batch.
    """

    metrics: str
    figure: str
    base: float | None
    head: float
    low: float | None
    high: float | None
    change: Change
    outcome: CheckResult

    @property
    def passed(self) -> bool:
        return self.outcome not in (CheckResult.WORSE, CheckResult.INSUFFICIENT_DATA, CheckResult.NOT_A_NUMBER)

    @property
    def change_text(self) -> str:
        """Both values, the relative change, and the interval of the change, in the unit of the metric."""
        if self.base is None or self.base == self.head:
            return with_unit(self.figure, self.head)
        notes = [f"{(self.head - self.base) / abs(self.base):+.1%}"] if self.base else []
        if self.low is not None and self.high is not None:
            notes.append(f"sure: {in_unit(self.figure, self.low, '+')} to {in_unit(self.figure, self.high, '+')}")
        both = f"{in_unit(self.figure, self.base)} → {in_unit(self.figure, self.head)}"
        return (
            f"{self.figure} {both} {UNITS.get(self.figure, (1, '', 4))[1]}".rstrip()
            + f" ({', '.join(notes)})" * bool(notes)
        )

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'}  {self.metrics} {self.change_text}: {self.outcome}"


def check_regressions(
    gate: Gate, base: MetricValues, head: MetricValues, pair: PairedMetrics | None
) -> list[RegressionCheck]:
    """Return the result of every rule for changes, in the gate's order.

    Args:
        gate: rules, from the params.
        base: metrics; one that is missing counts as new.
        head: metrics.
        pair: paired bootstrap on the common test batches; None if there are fewer than `MIN_COMMON_BATCHES`.

    Raises:
        ConfigError: a rule has `beyond_noise` for another file than `test`, or names a metric that was not measured.
    """
    checks = []
    rules = ((name, figure, bounds.change) for name, figures in gate.items() for figure, bounds in figures.items())
    for name, figure, rule in rules:
        if rule is None:
            continue
        if rule.beyond_noise and name != TEST_METRICS:
            raise ConfigError(
                f"gate.{name}.{figure}.change has beyond_noise, which only metrics of {TEST_METRICS} can have",
                "remove `beyond_noise` or set a tolerance in conf/gate/, then run `make params`",
            )
        better = rule.better or BETTER.get(figure)
        if better is None:
            raise ConfigError(
                f"gate.{name}.{figure}.change: neither direction of {figure} is better",
                "bound it by at_least and at_most, or set `better` in conf/gate/, then run `make params`",
            )
        rule = msgspec.structs.replace(rule, better=better)
        now, was = metric_value(head, name, figure), base.get(name, {}).get(figure)
        low = high = None
        if name == TEST_METRICS and was is not None and pair is not None:
            was, now = pair.base[figure], pair.head[figure]
            low, high = pair.change[figure].low, pair.change[figure].high
        checks.append(RegressionCheck(name, figure, was, now, low, high, rule, _outcome(rule, was, now, low, high)))
    return checks


def _outcome(rule: Change, was: float | None, now: float, low: float | None, high: float | None) -> CheckResult:
    if was is None or (math.isnan(was) and not math.isnan(now)):
        return CheckResult.NEW
    if math.isnan(now):
        return CheckResult.NOT_A_NUMBER
    if rule.beyond_noise and (low is None or high is None):
        return CheckResult.INSUFFICIENT_DATA
    worse = now - was if rule.better == "lower" else was - now
    if worse == 0:
        return CheckResult.SAME
    if abs(worse) <= rule.tolerance * abs(was):
        return CheckResult.TOLERATED
    # Noise excuses a loss only if the rule says so, but no gain is called one that chance alone explains.
    if (rule.beyond_noise or worse < 0) and low is not None and high is not None and not low > 0 and not high < 0:
        return CheckResult.NOISE
    return CheckResult.BETTER if worse < 0 else CheckResult.WORSE


def metric_value(measured: MetricValues, name: str, figure: str) -> float:
    """Return a metric that the gate names."""
    if not measured[name]:
        problem = f"{name}.json has no metrics: these batches allow none; the output of `evaluate` says why"
        raise ConfigError(problem, f"remove the rules of {name} from conf/gate/, or correct the ids of the batches")
    if figure not in measured[name]:
        raise ConfigError(
            f"{name}.json has no {figure}", f"it has {', '.join(sorted(measured[name]))}; correct the gate"
        )
    return measured[name][figure]


class GateResult(msgspec.Struct, frozen=True):
    """Checks against bounds and, if there is a base, against the base.

    Attributes:
        overridden: whether the label overrides these checks.
        stale: where `dvc.lock` is not what the code, the data and the params build; no label overrides this.
    """

    verdicts: list[BoundCheck]
    comparisons: list[RegressionCheck]
    overridden: bool
    stale: tuple[str, ...] = ()

    @property
    def failures(self) -> list[str]:
        """One line for each failed check."""
        bounds = [str(each) for each in self.verdicts if not each.passed]
        return bounds + [str(each) for each in self.comparisons if not each.passed]

    @property
    def passed(self) -> bool:
        """Whether the gate passes, by itself or by the label."""
        return not self.stale and (self.overridden or not self.failures)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form: the fields, `passed` and `failures`."""
        return {"passed": self.passed, "failures": self.failures, **msgspec.structs.asdict(self)}

    def __str__(self) -> str:
        lines = [*map(str, self.verdicts), *map(str, self.comparisons)]
        if self.stale:
            lines = [f"FAILED  {STALE}: {CURE}", *(f"        {problem}" for problem in self.stale)]
        elif self.failures and self.overridden:
            lines.append(f"OVERRIDDEN by the label {OVERRIDE}: {len(self.failures)} of {len(lines)} fail")
        return "\n".join(lines)


def has_override_label(labels: str) -> bool:
    """Return whether comma-separated labels include the override."""
    return OVERRIDE in {label.strip() for label in labels.split(",")}
