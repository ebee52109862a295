"""The gate: checks metrics against the bounds of `gate` in the params, and their change against a base.

A change fails if a metric got worse beyond tolerance and noise; a label of the pull request overrides both checks.
"""

import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ConfigError
from batchyield.modelling.params import Bounds, Change, Gate
from batchyield.review.paired_bootstrap import PairedMetrics

MetricValues = dict[str, dict[str, float]]
"""Metrics file, without folder and suffix -> metric -> value."""

TEST_METRICS = "test"
"""The only metrics file whose predictions are known batch by batch."""

OVERRIDE = "gate-override"
"""Label of a pull request that overrides a failing gate."""


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
        limits = " and ".join(f"{word} {limit:g}" for word, limit in bounds if limit is not None)
        return f"{outcome}  {self.metrics} {self.figure} {self.value:.4f}, {limits}"


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
        figures = msgspec.json.decode(file.read_bytes(), type=dict[str, float | None])
        return {name: math.nan if value is None else value for name, value in figures.items()}
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", "run `dvc repro`") from error


class CheckResult(StrEnum):
    """How a metric compares with the base; the values are part of the JSON output."""

    BETTER = "better"
    SAME = "same"
    TOLERATED = "within tolerance"
    NOISE = "within noise"
    WORSE = "WORSE"
    NEW = "new, nothing to compare with"
    INSUFFICIENT_DATA = "NOT COMPARABLE"


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
        return self.outcome not in (CheckResult.WORSE, CheckResult.INSUFFICIENT_DATA)

    def __str__(self) -> str:
        outcome = "passed" if self.passed else "FAILED"
        if self.base is None:
            return f"{outcome}  {self.metrics} {self.figure} {self.head:.6g}: {self.outcome}"
        sure = "" if self.low is None or self.high is None else f", change {self.low:+.3g} to {self.high:+.3g}"
        return f"{outcome}  {self.metrics} {self.figure} {self.base:.6g} -> {self.head:.6g}{sure}: {self.outcome}"


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
        now, was = metric_value(head, name, figure), base.get(name, {}).get(figure)
        low = high = None
        if name == TEST_METRICS and was is not None and pair is not None:
            was, now = pair.base[figure], pair.head[figure]
            low, high = pair.change[figure].low, pair.change[figure].high
        checks.append(RegressionCheck(name, figure, was, now, low, high, rule, _outcome(rule, was, now, low, high)))
    return checks


def _outcome(rule: Change, was: float | None, now: float, low: float | None, high: float | None) -> CheckResult:
    if was is None:
        return CheckResult.NEW
    if rule.beyond_noise and (low is None or high is None):
        return CheckResult.INSUFFICIENT_DATA
    worse, least = (now - was, low) if rule.better == "lower" else (was - now, None if high is None else -high)
    if worse == 0:
        return CheckResult.SAME
    if worse < 0:
        return CheckResult.BETTER
    if worse <= rule.tolerance * abs(was):
        return CheckResult.TOLERATED
    if rule.beyond_noise and least is not None and least <= 0:
        return CheckResult.NOISE
    return CheckResult.WORSE


def metric_value(measured: MetricValues, name: str, figure: str) -> float:
    """Return a metric that the gate names."""
    if figure not in measured[name]:
        raise ConfigError(
            f"{name}.json has no {figure}", f"it has {', '.join(sorted(measured[name]))}; correct the gate"
        )
    return measured[name][figure]


class GateResult(msgspec.Struct, frozen=True):
    """Checks against bounds and, if there is a base, against the base; and whether the label overrides them."""

    verdicts: list[BoundCheck]
    comparisons: list[RegressionCheck]
    overridden: bool

    @property
    def failures(self) -> list[str]:
        """One line for each failed check."""
        bounds = [str(each) for each in self.verdicts if not each.passed]
        return bounds + [str(each) for each in self.comparisons if not each.passed]

    @property
    def passed(self) -> bool:
        """Whether the gate passes, by itself or by the label."""
        return self.overridden or not self.failures

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form: the fields, `passed` and `failures`."""
        return {"passed": self.passed, "failures": self.failures, **msgspec.structs.asdict(self)}

    def __str__(self) -> str:
        lines = [*map(str, self.verdicts), *map(str, self.comparisons)]
        if self.failures and self.overridden:
            lines.append(f"OVERRIDDEN by the label {OVERRIDE}: {len(self.failures)} of {len(lines)} fail")
        return "\n".join(lines)


def has_override_label(labels: str) -> bool:
    """Return whether comma-separated labels include the override."""
    return OVERRIDE in {label.strip() for label in labels.split(",")}
