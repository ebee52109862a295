"""When a request is sent again, and after how long: one policy for both clients, carried out by tenacity.

httpx-retries shortens a long `Retry-After` and ignores bodies that are cut off; stamina logs to standard output.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec
from tenacity import RetryCallState, stop_after_attempt
from tenacity.wait import wait_exponential

from batchyield.client.errors import UnreachableError

RETRY_STATUSES = frozenset({429, 502, 503, 504})


class Retry(msgspec.Struct, frozen=True):
    """When a request without an answer, or with one that says "later", is sent again.

    Sending again is safe for outcomes, which the service records once. A prediction whose answer was lost is journalled
    twice; if its batch has no id, both count in the drift report.

    Attributes:
        attempts: times that a request is sent at most; 1: never again.
        first_wait: seconds before the second attempt; twice as long before each further one, less up to a half of
            it by chance, so that many clients do not come back together.
        longest_wait: seconds; where the service asks for more (`Retry-After`), its refusal is passed on at once.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0

    def options(self) -> dict[str, Any]:
        """Return the arguments of `tenacity.Retrying` and `AsyncRetrying`; the last failure is raised as it is."""
        return {"stop": stop_after_attempt(self.attempts), "retry": self._passes, "wait": self._wait, "reraise": True,
                "retry_error_callback": lambda state: state.outcome.result()}  # fmt: skip

    @contextmanager
    def unreachable(self, request: httpx.Request) -> Iterator[None]:
        """Raise `UnreachableError` for a failure of the transport."""
        try:
            yield
        except httpx.TransportError as error:
            attempts = 1 if isinstance(error, httpx.UnsupportedProtocol) else self.attempts
            raise UnreachableError(str(request.url), attempts, str(error) or type(error).__name__) from error

    def _passes(self, state: RetryCallState) -> bool:
        assert state.outcome is not None  # noqa: S101 - tenacity sets it before it asks
        if error := state.outcome.exception():
            return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
        return state.outcome.result().status_code in RETRY_STATUSES and _asked(state) <= self.longest_wait

    def _wait(self, state: RetryCallState) -> float:
        backoff = wait_exponential(self.first_wait, self.longest_wait)(state)
        return max(_asked(state), random.uniform(0.5, 1) * backoff)  # noqa: S311 - spreads load, keeps no secret


def _asked(state: RetryCallState) -> float:
    if state.outcome is None or state.outcome.failed:
        return 0.0
    return parse_retry_after(state.outcome.result().headers.get("retry-after", ""))


def parse_retry_after(retry_after: str) -> float:
    """Return the seconds of a `Retry-After` header, given as a number or as a date; 0 where it is neither."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
