"""The gate's answer as a whole: figures against bounds, changes against the base, and the label that overrides both."""

import msgspec

from batchyield.change import Comparison
from batchyield.gate import Verdict

OVERRIDE = "gate-override"
"""The label of a pull request that lets it through although the gate stops it."""


class Judgement(msgspec.Struct, frozen=True):
    """All that the gate says.

    Attributes:
        verdicts: figures against bounds.
        comparisons: figures against those of the base; empty without one.
        overridden: whether the label was given.
    """

    verdicts: list[Verdict]
    comparisons: list[Comparison]
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

    def __str__(self) -> str:
        lines = [*map(str, self.verdicts), *map(str, self.comparisons)]
        if self.failures and self.overridden:
            lines.append(f"OVERRIDDEN by the label {OVERRIDE}: {len(self.failures)} of {len(lines)} fail")
        return "\n".join(lines)


class Told(msgspec.Struct, frozen=True):
    """The same for a machine; `failures` are sentences."""

    passed: bool
    overridden: bool
    failures: list[str]
    verdicts: list[Verdict]
    comparisons: list[Comparison]


def told(made: Judgement) -> Told:
    """The judgement with what follows from it written out."""
    return Told(made.passed, made.overridden, made.failures, made.verdicts, made.comparisons)


def labelled(labels: str) -> bool:
    """Whether the override is among labels with commas between them."""
    return OVERRIDE in {label.strip() for label in labels.split(",")}
