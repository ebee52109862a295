"""The gate: may this model be served? Measured figures against the bounds of `gate` in the params."""

from pathlib import Path

import msgspec

from batchyield.errors import SetupError
from batchyield.params import Bounds

Gate = dict[str, dict[str, Bounds]]
"""Metrics file, without folder and suffix -> figure -> bounds."""


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

    def __str__(self) -> str:
        limits = [
            f"{word} {limit:g}"
            for word, limit in (("at least", self.bounds.at_least), ("at most", self.bounds.at_most))
            if limit is not None
        ]
        outcome = "passed" if self.passed else "FAILED"
        return f"{outcome}  {self.metrics} {self.figure} {self.value:.4f}, {' and '.join(limits)}"


def judge(gate: Gate, folder: Path) -> list[Verdict]:
    """Judges the metrics in a folder, figure by figure, in the gate's order.

    Raises:
        SetupError: a metrics file or a figure that the gate names is not there.
    """
    verdicts = []
    for name, figures in gate.items():
        file = folder / f"{name}.json"
        try:
            measured = msgspec.json.decode(file.read_bytes(), type=dict[str, float])
        except (OSError, msgspec.MsgspecError) as error:
            raise SetupError(f"{file} cannot be read: {error}", "run `dvc repro`") from error
        for figure, bounds in figures.items():
            if figure not in measured:
                raise SetupError(f"{file} has no {figure}", f"it has {', '.join(sorted(measured))}; correct the gate")
            verdicts.append(Verdict(name, figure, measured[figure], bounds))
    return verdicts
