"""A change against its base: which figures got worse, by more than they may and by more than chance?"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from batchyield.errors import SetupError
from batchyield.modelling.params import Change, Gate
from batchyield.review.paired_bootstrap import ENOUGH, Paired

Figures = dict[str, dict[str, float]]
"""Metrics file, without folder and suffix -> figure -> value."""

ROWS = "test"
"""The metrics whose answers are known row by row."""


class Outcome(StrEnum):
    """What became of a figure."""

    BETTER = "better"
    SAME = "same"
    TOLERATED = "within tolerance"
    NOISE = "within noise"
    WORSE = "WORSE"
    NEW = "new, nothing to compare with"
    UNTOLD = "NOT COMPARABLE"


class Comparison(msgspec.Struct, frozen=True):
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
    outcome: Outcome

    @property
    def passed(self) -> bool:
        return self.outcome not in (Outcome.WORSE, Outcome.UNTOLD)

    def __str__(self) -> str:
        outcome = "passed" if self.passed else "FAILED"
        if self.base is None:
            return f"{outcome}  {self.metrics} {self.figure} {self.head:.6g}: {self.outcome}"
        sure = "" if self.low is None or self.high is None else f", change {self.low:+.3g} to {self.high:+.3g}"
        return f"{outcome}  {self.metrics} {self.figure} {self.base:.6g} -> {self.head:.6g}{sure}: {self.outcome}"


def compare(gate: Gate, base: Figures, head: Figures, pair: Paired | None) -> list[Comparison]:
    """Judges every figure with a rule for changes, in the gate's order.

    Args:
        gate: of the params.
        base: figures that were; a missing file or figure is new.
        head: figures that are.
        pair: both on their common test batches; None where those are fewer than `ENOUGH`.

    Raises:
        SetupError: a rule asks for noise where no rows are known, or for a figure that was not measured.
    """
    return list(_compared(gate, base, head, pair))


def _compared(gate: Gate, base: Figures, head: Figures, pair: Paired | None) -> Iterator[Comparison]:
    for name, figures in gate.items():
        for figure, bounds in figures.items():
            if (rule := bounds.change) is None:
                continue
            if rule.beyond_noise and name != ROWS:
                raise SetupError(
                    f"gate.{name}.{figure}.change asks for noise, and answers row by row are known of {ROWS} alone",
                    "give it a tolerance and no `beyond_noise` in conf/gate/, then run `make params`",
                )
            now, was = value_of(head, name, figure), base.get(name, {}).get(figure)
            low = high = None
            if name == ROWS and was is not None and pair is not None:
                was, now = pair.base[figure], pair.head[figure]
                low, high = pair.change[figure].low, pair.change[figure].high
            yield Comparison(name, figure, was, now, low, high, rule, _outcome(rule, was, now, low, high))


def _outcome(rule: Change, was: float | None, now: float, low: float | None, high: float | None) -> Outcome:
    if was is None:
        return Outcome.NEW
    if rule.beyond_noise and (low is None or high is None):
        return Outcome.UNTOLD
    worse, least = (now - was, low) if rule.better == "lower" else (was - now, None if high is None else -high)
    if worse == 0:
        return Outcome.SAME
    if worse < 0:
        return Outcome.BETTER
    if worse <= rule.tolerance * abs(was):
        return Outcome.TOLERATED
    if rule.beyond_noise and least is not None and least <= 0:
        return Outcome.NOISE
    return Outcome.WORSE


def why_untold(compared: list[Comparison]) -> str | None:
    """What to say where figures could not be compared; None where all could."""
    if all(each.outcome is not Outcome.UNTOLD for each in compared):
        return None
    return f"base and head were tested on fewer than {ENOUGH} common batches, so noise cannot be told from loss"


def value_of(measured: Figures, name: str, figure: str) -> float:
    """A figure that the gate names.

    Raises:
        SetupError: it was not measured.
    """
    if figure not in measured[name]:
        raise SetupError(
            f"{name}.json has no {figure}", f"it has {', '.join(sorted(measured[name]))}; correct the gate"
        )
    return measured[name][figure]
