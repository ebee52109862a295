"""When a request is sent again, and after how long.

Any may be sent twice: predictions change nothing, and outcomes that are told again nothing more.
"""

import random
from collections.abc import Generator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeAlias, TypeVar

import httpx
import msgspec

from batchyield.client.errors import UnreachableError

Made = TypeVar("Made")

Steps: TypeAlias = Generator[httpx.Request | float, httpx.Response | httpx.TransportError | None, Made]
"""A conversation: yields a request to send or seconds to wait, is sent what came of it, and returns what was asked for.

The blocking and the asynchronous client run the same conversations.
"""

PASSING = frozenset({429, 502, 503, 504})


class Retry(msgspec.Struct, frozen=True):
    """How patient a client is.

    Attributes:
        attempts: times that a request is sent at most; 1: never again.
        first_wait: seconds before the second attempt; twice as long before each further one, less up to a half of
            it by chance, so that many clients do not come back together.
        longest_wait: seconds; where the service asks for more (`Retry-After`), its refusal is passed on at once.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0

    def conversation(self, request: httpx.Request) -> Steps[httpx.Response]:
        """Sends a request until it is answered with something that will not pass by itself.

        Raises:
            UnreachableError: it was not answered at all.
        """
        for attempt in range(1, self.attempts + 1):
            outcome = yield request
            last = attempt == self.attempts
            if isinstance(outcome, httpx.TransportError):
                if last or isinstance(outcome, httpx.UnsupportedProtocol):
                    url, problem = str(request.url), str(outcome) or type(outcome).__name__
                    raise UnreachableError(url, attempt, problem) from outcome
                yield self._backoff(attempt)
                continue
            assert outcome is not None  # noqa: S101 - a request is always answered, if only with an error
            asked = seconds_of(outcome.headers.get("retry-after", ""))
            if last or outcome.status_code not in PASSING or asked > self.longest_wait:
                return outcome
            yield max(asked, self._backoff(attempt))
        raise AssertionError("a client sends at least once: Retry(attempts=1) or more")

    def _backoff(self, attempt: int) -> float:
        longest = min(self.first_wait * 2.0 ** (attempt - 1), self.longest_wait)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret


def seconds_of(retry_after: str) -> float:
    """A `Retry-After`, in seconds or as a date; 0 where it is neither."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
