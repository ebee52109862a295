"""The gate: may this model be served? Measured figures against the bounds of `gate` in the params.

Where there is a base to compare with, `comparison.py` judges the change, too.
"""

from pathlib import Path

import msgspec

from batchyield.errors import SetupError
from batchyield.params import Bounds

Gate = dict[str, dict[str, Bounds]]
"""Metrics file, without folder and suffix -> figure -> bounds."""

Figures = dict[str, dict[str, float]]
"""Metrics file, without folder and suffix -> figure -> value."""


class Verdict(msgspec.Struct, frozen=True):
    """One figure and whether it passes."""

    metrics: str
    figure: str
    value: float
    bounds: Bounds

    @property
    def passed(self) -> bool:
        # Written so that a NaN fails.
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


def judge(gate: Gate, folder: Path) -> list[Verdict]:
    """Judges the metrics in a folder by their bounds, figure by figure, in the gate's order.

    Raises:
        SetupError: a metrics file or a figure that the gate names is not there.
    """
    measured = {name: read_figures(folder / f"{name}.json") for name in gate}
    return [
        Verdict(name, figure, value_of(measured, name, figure), bounds)
        for name, figures in gate.items()
        for figure, bounds in figures.items()
        if bounds.at_least is not None or bounds.at_most is not None
    ]


def read_figures(file: Path) -> dict[str, float]:
    """The figures of a metrics file.

    Raises:
        SetupError: there is none.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError) as error:
        raise SetupError(f"{file} cannot be read: {error}", "run `dvc repro`") from error


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
