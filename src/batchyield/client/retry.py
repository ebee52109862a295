"""Retry policy of both clients, carried out by tenacity: which failures, how many attempts, which backoff.

Alternatives: httpx-retries shortens a long `Retry-After` and ignores truncated bodies; stamina logs to stdout.
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
    """Retries after transport errors and the statuses 429, 502, 503 and 504, with exponential backoff and jitter.

    A retry is safe: the service records an outcome once, and journals a prediction once by its `Idempotency-Key`, which
    is the same in all attempts.

    Attributes:
        attempts: maximum number of attempts; 1: no retry.
        first_wait: seconds before the second attempt; doubles with each further one, minus a random share up to half
            (jitter), so that many clients do not retry at the same time.
        longest_wait: maximum wait in seconds; a longer `Retry-After` of the service raises at once.

    Raises:
        ValueError: there would be no attempt, or a wait is negative.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0

    def __post_init__(self) -> None:
        waits = (self.first_wait, self.longest_wait)
        if not isinstance(self.attempts, int) or self.attempts < 1 or not all(wait >= 0 for wait in waits):
            problem = "attempts: expected an integer of 1 or more; first_wait, longest_wait: expected 0 or more seconds"
            raise ValueError(problem)

    def options(self) -> dict[str, Any]:
        """Return the arguments of `tenacity.Retrying` and `AsyncRetrying`; the last failure is raised unchanged."""
        return {
            "stop": stop_after_attempt(self.attempts),
            "retry": self._is_retryable,
            "wait": self._wait,
            "reraise": True,
            "retry_error_callback": lambda state: state.outcome.result(),
        }

    @contextmanager
    def unreachable(self, request: httpx.Request) -> Iterator[None]:
        """Raise `UnreachableError` for a transport error."""
        try:
            yield
        except httpx.TransportError as error:
            attempts = 1 if isinstance(error, httpx.UnsupportedProtocol) else self.attempts
            raise UnreachableError(str(request.url), attempts, str(error) or type(error).__name__) from error

    def _is_retryable(self, state: RetryCallState) -> bool:
        assert state.outcome is not None  # noqa: S101 - tenacity sets it before the call
        if error := state.outcome.exception():
            return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
        return state.outcome.result().status_code in RETRY_STATUSES and _retry_after(state) <= self.longest_wait

    def _wait(self, state: RetryCallState) -> float:
        backoff = wait_exponential(self.first_wait, self.longest_wait)(state)
        return max(_retry_after(state), random.uniform(0.5, 1) * backoff)  # noqa: S311 - jitter, not cryptography


def _retry_after(state: RetryCallState) -> float:
    if state.outcome is None or state.outcome.failed:
        return 0.0
    return parse_retry_after(state.outcome.result().headers.get("retry-after", ""))


def parse_retry_after(retry_after: str) -> float:
    """Return the seconds of a `Retry-After` header, which is a number or an HTTP date; 0 if it is neither."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
