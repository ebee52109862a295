"""What a request must pass before it is looked at: a valid key with the scope of its path, its rate, a free place."""

from collections.abc import Mapping
from typing import Any

from api.middleware.auth import Keyring
from api.middleware.rate_limit import RateLimiter
from api.problems import BUSY, FORBIDDEN, NOT_FOUND, UNAUTHORIZED, RequestError
from batchyield.serving.auth.api_keys import ADMIN, PREDICT, READ

OPEN_PATHS = frozenset({"/", "/schema", "/schema/openapi.json", "/health/live", "/health/ready"})
OPEN_FOLDER = "/console/"
"""What needs no key: pages, which hold no data, and health."""

REQUIRED_SCOPES = {
    "/v1/predictions": PREDICT,
    "/v1/predictions/csv": PREDICT,
    "/v1/outcomes": PREDICT,
    "/v1/model": READ,
    "/v1/monitoring": READ,
    "/metrics": READ,
}
"""The scope that a path needs; one that is not here needs `admin`."""

UNMETERED_PATHS = frozenset({"/metrics"})
"""What is answered however busy the service is, for that is when it is looked at."""


class AccessControl:
    """The gate in front of the application.

    Attributes:
        in_flight: metered requests that are being answered.
    """

    def __init__(self, keyring: Keyring, rates: RateLimiter, most_in_flight: int) -> None:
        self._keyring, self._rates, self._most = keyring, rates, most_in_flight
        self.in_flight = 0

    def caller(self, path: str, headers: Mapping[bytes, bytes]) -> str:
        """The name of the key that a request holds; empty where no keys are configured.

        Raises:
            RequestError: it holds none, or one that may not ask this.
        """
        if not self._keyring.guarded:
            return ""
        key = self._keyring.holder(headers)
        if key is None:
            detail = "send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            raise RequestError(UNAUTHORIZED, detail, headers={"www-authenticate": "Bearer"})
        needed = REQUIRED_SCOPES.get(path) or REQUIRED_SCOPES.get(path.rstrip("/"), ADMIN)
        if not key.has_scope(needed):
            if needed == ADMIN and not path.startswith("/v1/admin"):
                raise RequestError(NOT_FOUND, "nothing is here for this key; GET /schema lists all there is")
            detail = f"the key {key.name} lacks the scope {needed}; ask the operator for one that has it"
            raise RequestError(FORBIDDEN, detail)
        return key.name

    def meter(self, caller: str) -> list[tuple[bytes, bytes]]:
        """Takes the request from what the caller may ask for; returns headers for its answer.

        Raises:
            RequestError: it asks too often, or too many requests are being answered.
        """
        if self.in_flight >= self._most:
            detail = "as many requests are being answered as the service takes; come back in a second"
            raise RequestError(BUSY, detail, headers={"retry-after": "1"})
        return self._rates.take(caller) if self._rates else []

    def pay(self, caller: str, state: Mapping[str, Any]) -> None:
        """Takes what was answered from what the caller may ask for."""
        if self._rates and (answered := state.get("answered")) is not None:
            self._rates.pay(caller, len(answered.batches))


def is_public(path: str) -> bool:
    """Whether a path needs no key."""
    # Only exact paths: a router that folds `//` must not open a way around a prefix.
    return path in OPEN_PATHS or (path.startswith(OPEN_FOLDER) and "//" not in path and ".." not in path)
