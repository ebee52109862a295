"""The gate: may this model be served?

Compares measured figures with the bounds of `gate` in the params. The result also holds the comparison to a base
(`change.py`) and the label that overrides both.
"""

import math
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ConfigError
from batchyield.modelling.params import Bounds, Gate
from batchyield.review.baseline_regression import RegressionCheck, metric_value


class BoundCheck(msgspec.Struct, frozen=True):
    """One figure and whether it passes."""

    metrics: str
    figure: str
    value: float
    bounds: Bounds

    @property
    def passed(self) -> bool:
        # NaN, of which no comparison holds, fails.
        low = self.bounds.at_least is None or self.value >= self.bounds.at_least
        high = self.bounds.at_most is None or self.value <= self.bounds.at_most
        return low and high

    @property
    def limits(self) -> str:
        """The bounds in words."""
        return " and ".join(
            f"{word} {limit:g}"
            for word, limit in (("at least", self.bounds.at_least), ("at most", self.bounds.at_most))
            if limit is not None
        )

    def __str__(self) -> str:
        outcome = "passed" if self.passed else "FAILED"
        return f"{outcome}  {self.metrics} {self.figure} {self.value:.4f}, {self.limits}"


def check_bounds(gate: Gate, folder: Path) -> list[BoundCheck]:
    """Judges the metrics in a folder by their bounds, figure by figure, in the gate's order.

    Raises:
        ConfigError: a metrics file or a figure that the gate names is not there.
    """
    measured = {name: read_metrics(folder / f"{name}.json") for name in gate}
    return [
        BoundCheck(name, figure, metric_value(measured, name, figure), bounds)
        for name, figures in gate.items()
        for figure, bounds in figures.items()
        if bounds.at_least is not None or bounds.at_most is not None
    ]


def read_metrics(file: Path) -> dict[str, float]:
    """Return the figures of a metrics file; NaN, which JSON writes as null, stays NaN.

    Raises:
        ConfigError: there is none.
    """
    try:
        figures = msgspec.json.decode(file.read_bytes(), type=dict[str, float | None])
        return {name: math.nan if value is None else value for name, value in figures.items()}
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", "run `dvc repro`") from error


OVERRIDE = "gate-override"
"""The label of a pull request that lets it through although the gate stops it."""


class GateResult(msgspec.Struct, frozen=True):
    """All that the gate says.

    Attributes:
        verdicts: figures against bounds.
        comparisons: figures against those of the base; empty without one.
        overridden: whether the label was given.
    """

    verdicts: list[BoundCheck]
    comparisons: list[RegressionCheck]
    overridden: bool

    @property
    def failures(self) -> list[str]:
        """What fails, in words."""
        bounds = [str(each) for each in self.verdicts if not each.passed]
        return bounds + [str(each) for each in self.comparisons if not each.passed]

    @property
    def passed(self) -> bool:
        """Whether the gate lets it through, by itself or by the label."""
        return self.overridden or not self.failures

    def as_json(self) -> dict[str, Any]:
        """Return the fields with what follows from them."""
        return {"passed": self.passed, "failures": self.failures, **msgspec.structs.asdict(self)}

    def __str__(self) -> str:
        lines = [*map(str, self.verdicts), *map(str, self.comparisons)]
        if self.failures and self.overridden:
            lines.append(f"OVERRIDDEN by the label {OVERRIDE}: {len(self.failures)} of {len(lines)} fail")
        return "\n".join(lines)


def has_override_label(labels: str) -> bool:
    """Whether the override is among labels with commas between them."""
    return OVERRIDE in {label.strip() for label in labels.split(",")}
