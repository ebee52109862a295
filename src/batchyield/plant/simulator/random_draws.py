"""Random draws in integers only: a seed gives the same plant on every machine and Python version.

`random.Random.random` is the only generator method whose sequence Python guarantees. It returns k / 2**53, so
multiplying by 2**53 is exact; all further arithmetic is on integers.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_BITS = 53
_FIELD_BITS = 17


def weighted(weights: Mapping[T, int]) -> tuple[T, ...]:
    """Return each value as often as its weight; `Draws.pick` then draws by weight with one look-up."""
    return tuple(value for value, weight in weights.items() for _ in range(weight))


class Draws:
    """One stream of random integers; streams of different keys, such as `(seed, "dirt")`, are independent."""

    def __init__(self, *key: object) -> None:
        self._random = random.Random("/".join(map(str, key))).random  # noqa: S311, not for secrets

    def below(self, bound: int) -> int:
        """Return a uniform integer in `0 .. bound - 1`."""
        return int(self._random() * (1 << _BITS)) * bound >> _BITS

    def pick(self, values: Sequence[T]) -> T:
        """Return one of the values, all equally likely."""
        return values[int(self._random() * (1 << _BITS)) * len(values) >> _BITS]

    def chance(self, per_mille: int) -> bool:
        """Return True with a probability of `per_mille` thousandths."""
        return self.below(1000) < per_mille

    def normal(self, sd: int) -> int:
        """Return a normal integer of mean 0: the sum of twelve uniform fields of 17 bits has a deviation of 2**17."""
        mask = (1 << _FIELD_BITS) - 1
        total = 0
        for _ in range(4):
            bits = self.below(1 << _BITS)
            total += (bits & mask) + (bits >> _FIELD_BITS & mask) + (bits >> 2 * _FIELD_BITS & mask)
        return (2 * total - 12 * mask) * sd >> _FIELD_BITS + 1

    def sample(self, population: int, count: int) -> list[int]:
        """Return `count` distinct numbers of `0 .. population - 1` in random order."""
        numbers = list(range(population))
        for i in range(count):
            j = i + self.below(population - i)
            numbers[i], numbers[j] = numbers[j], numbers[i]
        return numbers[:count]

    def count(self, population: int, per_million: int) -> int:
        """Return the number of rare events: the rate times the population, rounded up or down at random."""
        return (population * per_million + self.below(1_000_000)) // 1_000_000

    def quota(self, population: int, per_million: int) -> list[int]:
        """Return the places of a rare event, as many as its rate implies."""
        return self.sample(population, min(self.count(population, per_million), population))


class Deck(Generic[T]):
    """A shuffled deck, reshuffled when empty: shares hold even in a short history."""

    def __init__(self, draws: Draws, values: Sequence[T]) -> None:
        self._draws, self._values = draws, values
        self._left: list[T] = []

    def deal(self) -> T:
        """Return the next value."""
        if not self._left:
            self._left = [self._values[i] for i in self._draws.sample(len(self._values), len(self._values))]
        return self._left.pop()
