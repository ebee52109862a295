"""How much each caller may ask for: token buckets in memory that all workers share."""

import hashlib
import mmap
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path

from api.problems import RATE_LIMITED, RequestError

RATE_FILE = "rates"
"""The file in which workers share them, in the folder where they share their counters."""

SLOTS = 1 << 14
WIDTH = 3
"""A slot: whose it is, when its requests are paid off, when its rows are."""

Headers = list[tuple[bytes, bytes]]


class RateLimiter:
    """Two buckets for each caller, of requests and of rows, each kept as the moment at which it will be full again.

    Rows are known only once a body is read, so they are paid for afterwards: whoever asked for more than was saved up
    waits until that is paid off. Workers write without a lock; two that do so within the same microsecond count one
    request instead of two.
    """

    def __init__(
        self,
        requests: float,
        rows: float,
        burst: float,
        shared: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the buckets.

        Args:
            requests: a second, for each caller; 0: any number.
            rows: a second, for each caller; 0: any number.
            burst: seconds for which a caller that asked for nothing may save up.
            shared: file in which all workers keep them; None: this process is the only one.
            clock: seconds, the same for all workers.
        """
        self._requests, self._rows, self._clock = requests, rows, clock
        self._burst = max(burst, 1 / requests if requests else 0.0)
        self._slots: dict[str, int] = {}
        size = SLOTS * WIDTH * 8
        if shared is None:
            memory = mmap.mmap(-1, size)
        else:
            with shared.open("a+b") as file:
                file.truncate(size)
                memory = mmap.mmap(file.fileno(), size)
        self._owners = memoryview(memory).cast("Q")
        self._moments = memoryview(memory).cast("d")
        self._policy = b", ".join(
            b'"%s";q=%d;w=%d' % (name, max(1, int(rate * self._burst)), ceil(self._burst))
            for name, rate in ((b"requests", requests), (b"rows", rows))
            if rate
        )

    def __bool__(self) -> bool:
        return bool(self._requests or self._rows)

    def take(self, caller: str) -> Headers:
        """Takes a request out of the caller's bucket; returns the headers that tell how much is left.

        Raises:
            RequestError: a bucket is empty; it says when it no longer is.
        """
        slot = self._slot(caller)
        now, burst, moments = self._clock(), self._burst, self._moments
        left = []
        if self._rows:
            owed = max(moments[slot + 2] - now, 0.0)
            if owed >= burst:
                raise self._empty("rows", self._rows, owed - burst)
            left.append(b'"rows";r=%d;t=%d' % ((burst - owed) * self._rows, ceil(owed)))
        if self._requests:
            owed = max(moments[slot + 1] - now, 0.0) + 1 / self._requests
            if owed > burst + 1e-9:
                raise self._empty("requests", self._requests, owed - burst)
            moments[slot + 1] = now + owed
            left.insert(0, b'"requests";r=%d;t=%d' % ((burst - owed) * self._requests + 1e-6, ceil(owed)))
        return [(b"ratelimit-policy", self._policy), (b"ratelimit", b", ".join(left))]

    def pay(self, caller: str, rows: int) -> None:
        """Takes rows that were answered out of the caller's bucket, into debt if need be."""
        if self._rows and rows:
            slot = self._slot(caller)
            self._moments[slot + 2] = max(self._moments[slot + 2], self._clock()) + rows / self._rows

    def _empty(self, what: str, rate: float, wait: float) -> RequestError:
        seconds = max(1, ceil(wait))
        headers = {
            "retry-after": str(seconds),
            "ratelimit-policy": self._policy.decode(),
            "ratelimit": f'"{what}";r=0;t={seconds}',
        }
        detail = f"this key may ask for {rate:g} {what} a second; come back in {seconds} s"
        return RequestError(RATE_LIMITED, detail, headers=headers)

    def _slot(self, caller: str) -> int:
        found = self._slots.get(caller)
        if found is None:
            owner = int.from_bytes(hashlib.blake2b(caller.encode(), digest_size=8).digest()) | 1
            # Callers are names of keys, of which there are far fewer than slots.
            found = owner % SLOTS * WIDTH
            while self._owners[found] not in (0, owner):
                found = (found + WIDTH) % (SLOTS * WIDTH)
            self._owners[found] = owner
            self._slots[caller] = found
        return found
