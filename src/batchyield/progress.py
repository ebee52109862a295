"""A long scoring as it goes: how many batches are answered, how fast, and how long it will take."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TextIO

from batchyield.scoring import Part

EVERY_SECONDS = 1.0


class Progress:
    """Tells how far the answers are, at most once a second, and at the end.

    Args:
        stream: where to; None: nowhere.
        total: bytes of all files; 0 where that is not known.
    """

    def __init__(self, stream: TextIO | None, total: int) -> None:
        self._stream, self._total = stream, total
        self._begun = self._told = time.monotonic()
        self._sizes: deque[int] = deque()
        self._done = 0
        self.batches = 0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._begun

    def taken(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The same parts, whose sizes are noted until they are answered."""
        for part in parts:
            self._sizes.append(len(part.portion.content))
            yield part

    def answered(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The same lines, in the order of the parts; each is told of before the next."""
        for given in lines:
            self.batches += given.count(b"\n")
            self._done += self._sizes.popleft() if self._sizes else 0
            if time.monotonic() - self._told >= EVERY_SECONDS:
                self.say(f"{self._standing()}{self._left()}")
            yield given
        self.say(f"{self._standing()} in {timedelta(seconds=round(self.seconds))}")

    def _standing(self) -> str:
        return f"{self.batches:,} batches predicted, {self.batches / max(self.seconds, 1e-9):,.0f} a second"

    def _left(self) -> str:
        if not self._done or not self._total:
            return ""
        share = min(self._done / self._total, 1.0)  # a header stands over each part, and once in its file
        return f", {share:.0%}, {timedelta(seconds=round(self.seconds * (1 - share) / share))} left"

    def say(self, text: str) -> None:
        """A line."""
        self._told = time.monotonic()
        if self._stream is not None:
            print(text, file=self._stream, flush=True)
