"""Is one score better than another, or is that chance? Two answers, one for each way a score is measured."""

import csv
import math
from pathlib import Path

import msgspec
import numpy as np

DECIMALS = 9


class Difference(msgspec.Struct, frozen=True):
    """A score less the baseline's: below zero is better.

    Attributes:
        value: the difference.
        low: where chance alone could have moved it, at the least.
        high: and at the most; None, as `low`, where that is not known.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def noise(self) -> bool | None:
        """Whether chance alone may be behind it."""
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high


def of_folds(mine: float, base: float, spreads: tuple[float, float], repeats: tuple[int, int]) -> Difference:
    """Cross-validated scores, against what another cut into folds would change: two standard errors of the means.

    One repeat tells nothing of the spread, so the other side's is taken for it.
    """
    value = round(mine - base, DECIMALS)
    known = [spread for spread, n in zip(spreads, repeats, strict=True) if n > 1]
    if not known:
        return Difference(value)
    filled = [spread if n > 1 else known[0] for spread, n in zip(spreads, repeats, strict=True)]
    error = 2 * math.hypot(*(spread / math.sqrt(n) for spread, n in zip(filled, repeats, strict=True)))
    return Difference(value, round(value - error, DECIMALS), round(value + error, DECIMALS))


def of_answers(mine: Path, base: Path, resamples: int, confidence: float, seed: int) -> Difference | None:
    """Test scores, batch by batch: the bootstrap interval of the mean difference of what each batch costs.

    Batches that are hard for both cancel out, so this tells apart what two intervals side by side cannot.

    Args:
        mine: `predicted.csv` of the one.
        base: `predicted.csv` of the other.
        resamples: draws of as many batches, with replacement.
        confidence: of the interval.
        seed: of the draws.

    Returns:
        None where they did not answer the same batches.
    """
    costs, others = _costs(mine), _costs(base)
    if not costs or costs.keys() != others.keys():
        return None
    apart = np.array([cost - others[name] for name, cost in costs.items()])
    drawn = np.random.default_rng(seed).integers(len(apart), size=(resamples, len(apart)))
    low, high = np.quantile(apart[drawn].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(*(round(float(value), DECIMALS) for value in (apart.mean(), low, high)))


def _costs(predicted: Path) -> dict[str, float]:
    with predicted.open(encoding="utf-8", newline="") as file:
        return {row["id"]: (float(row["actual"]) - float(row["yields"])) ** 2 / 2 for row in csv.DictReader(file)}
