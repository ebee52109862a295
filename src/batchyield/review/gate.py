"""The gate: checks metrics against the bounds of `gate` in the params.

The result also has the checks against a base (`baseline_regression.py`) and the label that overrides both.
"""

import math
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ConfigError
from batchyield.modelling.params import Bounds, Gate
from batchyield.review.baseline_regression import RegressionCheck, metric_value


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

    @property
    def limits(self) -> str:
        """The bounds as text."""
        return " and ".join(
            f"{word} {limit:g}"
            for word, limit in (("at least", self.bounds.at_least), ("at most", self.bounds.at_most))
            if limit is not None
        )

    def __str__(self) -> str:
        outcome = "passed" if self.passed else "FAILED"
        return f"{outcome}  {self.metrics} {self.figure} {self.value:.4f}, {self.limits}"


def check_bounds(gate: Gate, folder: Path) -> list[BoundCheck]:
    """Return the check of every bounded metric, in the gate's order.

    Args:
        gate: bounds, from the params.
        folder: with the metrics files, such as `data/metrics`.

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
    """Return the metrics of a file, metric -> value; JSON's null is NaN.

    Raises:
        ConfigError: the file is missing or invalid.
    """
    try:
        figures = msgspec.json.decode(file.read_bytes(), type=dict[str, float | None])
        return {name: math.nan if value is None else value for name, value in figures.items()}
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", "run `dvc repro`") from error


OVERRIDE = "gate-override"
"""Label of a pull request that overrides a failing gate."""


class GateResult(msgspec.Struct, frozen=True):
    """Result of the gate.

    Attributes:
        verdicts: checks against bounds.
        comparisons: checks against the base; empty without a base.
        overridden: whether the pull request has the label `gate-override`.
    """

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
