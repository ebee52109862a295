"""A change against its base: which figures got worse, by more than they may and by more than chance?"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from batchyield.errors import ConfigError
from batchyield.modelling.params import Change, Gate
from batchyield.review.paired_bootstrap import MIN_COMMON_BATCHES, PairedMetrics

MetricValues = dict[str, dict[str, float]]
"""Metrics file, without folder and suffix -> figure -> value."""

ROWS = "test"
"""The metrics whose answers are known row by row."""


class CheckResult(StrEnum):
    """What became of a figure."""

    BETTER = "better"
    SAME = "same"
    TOLERATED = "within tolerance"
    NOISE = "within noise"
    WORSE = "WORSE"
    NEW = "new, nothing to compare with"
    INSUFFICIENT_DATA = "NOT COMPARABLE"


class RegressionCheck(msgspec.Struct, frozen=True):
    """One figure of base and head.

    Attributes:
        metrics: file, without folder and suffix.
        figure: its name.
        base: None where the base has none.
        head: the figure now.
        low: end of the confidence interval of head less base; None where answers are not known row by row.
        high: its other end.
        change: the rule.
        outcome: what is said.
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
    """Judges every figure with a rule for changes, in the gate's order.

    Args:
        gate: of the params.
        base: figures that were; a missing file or figure is new.
        head: figures that are.
        pair: both on their common test batches; None where those are fewer than `MIN_COMMON_BATCHES`.

    Raises:
        ConfigError: a rule asks for noise where no rows are known, or for a figure that was not measured.
    """
    return list(_compared(gate, base, head, pair))


def _compared(
    gate: Gate, base: MetricValues, head: MetricValues, pair: PairedMetrics | None
) -> Iterator[RegressionCheck]:
    for name, figures in gate.items():
        for figure, bounds in figures.items():
            if (rule := bounds.change) is None:
                continue
            if rule.beyond_noise and name != ROWS:
                raise ConfigError(
                    f"gate.{name}.{figure}.change asks for noise, and answers row by row are known of {ROWS} alone",
                    "give it a tolerance and no `beyond_noise` in conf/gate/, then run `make params`",
                )
            now, was = metric_value(head, name, figure), base.get(name, {}).get(figure)
            low = high = None
            if name == ROWS and was is not None and pair is not None:
                was, now = pair.base[figure], pair.head[figure]
                low, high = pair.change[figure].low, pair.change[figure].high
            yield RegressionCheck(name, figure, was, now, low, high, rule, _outcome(rule, was, now, low, high))


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


def insufficient_data_message(compared: list[RegressionCheck]) -> str | None:
    """What to say where figures could not be compared; None where all could."""
    if all(each.outcome is not CheckResult.INSUFFICIENT_DATA for each in compared):
        return None
    return (
        f"base and head have fewer than {MIN_COMMON_BATCHES} test batches in common: too few to tell a loss from noise"
    )


def metric_value(measured: MetricValues, name: str, figure: str) -> float:
    """A figure that the gate names.

    Raises:
        ConfigError: it was not measured.
    """
    if figure not in measured[name]:
        raise ConfigError(
            f"{name}.json has no {figure}", f"it has {', '.join(sorted(measured[name]))}; correct the gate"
        )
    return measured[name][figure]
