"""Rate limit per API key: token buckets in memory that all workers share."""

import hashlib
import mmap
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path

from api.problems import RATE_LIMITED, RequestError

RATE_FILE = "rates"
"""Name of the file in which workers share the buckets, in their shared directory."""

SLOTS = 1 << 14
SLOT_WORDS = 3
"""Of a slot: the caller's hash, when its bucket of requests is full again, and when its bucket of rows is."""

Headers = list[tuple[bytes, bytes]]


class RateLimiter:
    """Two token buckets for each caller, of requests and of rows, each kept as the time at which it is full again.

    The number of rows is known only once a body is read, so rows are charged afterwards, into debt if need be: the
    caller's next requests are refused until the debt is paid. Workers write without a lock; of two writes within the
    same microsecond one is lost.

    Args:
        requests, rows: per second and caller; 0: no limit.
        burst: capacity of a bucket, as seconds of its rate.
        shared: file that all workers map; None: this process is the only one.
        clock: seconds, the same for all workers.
    """

    def __init__(
        self,
        requests: float,
        rows: float,
        burst: float,
        shared: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests, self._rows, self._clock = requests, rows, clock
        self._burst = max(burst, 1 / requests if requests else 0.0)
        self._slots: dict[str, int] = {}
        size = SLOTS * SLOT_WORDS * 8
        if shared is None:
            memory = mmap.mmap(-1, size)
        else:
            with shared.open("a+b") as file:
                file.truncate(size)
                memory = mmap.mmap(file.fileno(), size)
        self._owners = memoryview(memory).cast("Q")
        self._full_at = memoryview(memory).cast("d")
        self._policy = b", ".join(
            b'"%s";q=%d;w=%d' % (name, max(1, int(rate * self._burst)), ceil(self._burst))
            for name, rate in ((b"requests", requests), (b"rows", rows))
            if rate
        )

    def __bool__(self) -> bool:
        return bool(self._requests or self._rows)

    def take_request(self, caller: str) -> Headers:
        """Take a request out of the caller's bucket; return the headers `RateLimit` and `RateLimit-Policy`.

        Raises:
            RequestError: a bucket is empty; the error says when to retry.
        """
        slot = self._slot(caller)
        now, burst, full_at = self._clock(), self._burst, self._full_at
        left = []
        if self._rows:
            missing = max(full_at[slot + 2] - now, 0.0)
            if missing >= burst:
                raise self._refusal("rows", self._rows, missing - burst)
            left.append(b'"rows";r=%d;t=%d' % ((burst - missing) * self._rows, ceil(missing)))
        if self._requests:
            missing = max(full_at[slot + 1] - now, 0.0) + 1 / self._requests
            if missing > burst + 1e-9:
                raise self._refusal("requests", self._requests, missing - burst)
            full_at[slot + 1] = now + missing
            left.insert(0, b'"requests";r=%d;t=%d' % ((burst - missing) * self._requests + 1e-6, ceil(missing)))
        return [(b"ratelimit-policy", self._policy), (b"ratelimit", b", ".join(left))]

    def charge_rows(self, caller: str, rows: int) -> None:
        """Take the rows of a response out of the caller's bucket."""
        if self._rows and rows:
            slot = self._slot(caller)
            self._full_at[slot + 2] = max(self._full_at[slot + 2], self._clock()) + rows / self._rows

    def _refusal(self, unit: str, rate: float, wait: float) -> RequestError:
        seconds = max(1, ceil(wait))
        headers = {
            "retry-after": str(seconds),
            "ratelimit-policy": self._policy.decode(),
            "ratelimit": f'"{unit}";r=0;t={seconds}',
        }
        return RequestError(
            RATE_LIMITED, f"the limit of this key is {rate:g} {unit} per second; retry in {seconds} s", headers=headers
        )

    def _slot(self, caller: str) -> int:
        slot = self._slots.get(caller)
        if slot is None:
            owner = int.from_bytes(hashlib.blake2b(caller.encode(), digest_size=8).digest()) | 1
            slot = owner % SLOTS * SLOT_WORDS
            while self._owners[slot] not in (0, owner):  # ends: there are far fewer keys than slots
                slot = (slot + SLOT_WORDS) % (SLOTS * SLOT_WORDS)
            self._owners[slot] = owner
            self._slots[caller] = slot
        return slot
