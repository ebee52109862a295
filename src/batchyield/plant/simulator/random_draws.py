"""Where chance comes from: integers only, so that a seed gives the same plant on every machine and Python.

`random.Random.random` is the one generator method whose sequence Python promises to keep. It returns k / 2**53, so
multiplying by 2**53 is exact, and everything after that is integer arithmetic.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_BITS = 53
_FIELD = 17


def weighted(weights: Mapping[T, int]) -> tuple[T, ...]:
    """Every value as often as its weight says: drawing from it is one look-up."""
    return tuple(value for value, weight in weights.items() for _ in range(weight))


class Draws:
    """One stream of random integers. Streams of different keys are independent of each other and of draw order.

    Args:
        key: what the stream is for, for example `(seed, "dirt")`.
    """

    def __init__(self, *key: object) -> None:
        self._random = random.Random("/".join(map(str, key))).random  # noqa: S311, a plant is not a secret

    def below(self, bound: int) -> int:
        """Uniform in `0 .. bound - 1`."""
        return int(self._random() * (1 << _BITS)) * bound >> _BITS

    def pick(self, values: Sequence[T]) -> T:
        """One of the values, each as likely as the other."""
        return values[int(self._random() * (1 << _BITS)) * len(values) >> _BITS]

    def chance(self, per_mille: int) -> bool:
        """True in `per_mille` of a thousand draws."""
        return self.below(1000) < per_mille

    def normal(self, sd: int) -> int:
        """A normal integer of mean 0: twelve uniform fields of 17 bits have a standard deviation of 2**17."""
        mask = (1 << _FIELD) - 1
        total = 0
        for _ in range(4):
            bits = self.below(1 << _BITS)
            total += (bits & mask) + (bits >> _FIELD & mask) + (bits >> 2 * _FIELD & mask)
        return (2 * total - 12 * mask) * sd >> _FIELD + 1

    def sample(self, population: int, count: int) -> list[int]:
        """`count` different numbers of `0 .. population - 1` in random order."""
        numbers = list(range(population))
        for i in range(count):
            j = i + self.below(population - i)
            numbers[i], numbers[j] = numbers[j], numbers[i]
        return numbers[:count]

    def count(self, population: int, per_million: int) -> int:
        """How often a rare event happens: the rate times the population, rounded up or down at random."""
        return (population * per_million + self.below(1_000_000)) // 1_000_000

    def quota(self, population: int, per_million: int) -> list[int]:
        """Places of a rare event, as many as its rate says, so that a small file is not a lottery."""
        return self.sample(population, min(self.count(population, per_million), population))


class Deck(Generic[T]):
    """Values dealt without putting back, shuffled again when all are dealt: shares hold even in a short history."""

    def __init__(self, draws: Draws, values: Sequence[T]) -> None:
        self._draws, self._values = draws, values
        self._left: list[T] = []

    def deal(self) -> T:
        """The next card."""
        if not self._left:
            self._left = [self._values[i] for i in self._draws.sample(len(self._values), len(self._values))]
        return self._left.pop()
