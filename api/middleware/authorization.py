"""Access control: API keys and their scopes, the rate limit of each key, and the number of concurrent requests."""

import asyncio
import logging
from collections.abc import Mapping
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from prometheus_client import Counter

from api.middleware.origin import is_from_own_page
from api.middleware.rate_limit import Headers, RateLimiter
from api.problems import BUSY, FORBIDDEN, NOT_FOUND, UNAUTHORIZED, RequestError
from api.settings import Settings
from batchyield.errors import BatchyieldError, ConfigError
from batchyield.serving.auth import api_keys

logger = logging.getLogger("batchyield.api")

REFRESH_SECONDS = 1.0

SESSION_COOKIE = "batchyield-key"

PUBLIC_PATHS = frozenset({"/", "/schema", "/schema/openapi.json", "/health/live", "/health/ready", "/v1/session"})
PUBLIC_FOLDER = "/console/"
"""Paths without a key: pages, which hold no data, health checks, and signing in."""

_PREDICT, _READ = (api_keys.PREDICT,), (api_keys.READ,)

REQUIRED_SCOPES = {
    "/v1/predictions": _PREDICT,
    "/v1/predictions/csv": _PREDICT,
    "/v1/outcomes": (api_keys.PREDICT, api_keys.OUTCOMES),
    "/v1/outcomes/{id:path}": (api_keys.PREDICT, api_keys.OUTCOMES),
    "/v1/model": _READ,
    "/v1/model/evaluation": _READ,
    "/v1/models": _READ,
    "/v1/monitoring": _READ,
    "/v1/monitoring/report": _READ,
    "/v1/readings": api_keys.SCOPES,
    "/v1/sheets/csv": api_keys.SCOPES,
    "/v1/sheets/xlsx": api_keys.SCOPES,
    "/metrics": _READ,
    "/v1/admin/models": (api_keys.ADMIN,),
    "/v1/admin/rollback": (api_keys.ADMIN,),
}
"""Scopes of each path, of which a key needs one; a path that is not listed needs `admin`."""

OUTCOME_PREFIX = "/v1/outcomes/"

READ_SCOPES = {"/v1/predictions": _READ, "/v1/outcomes": _READ}
"""Scopes of the paths that need others to be read than to be sent to."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

UNMETERED_PATHS = frozenset({"/metrics"})
"""Paths without rate limit and load limit: a busy service must be observable."""

FileVersion = tuple[int, int, int, int]


class Keyring:
    """The accepted API keys, by their SHA-256.

    A caller chooses the key it sends, but not its hash, so the time of a lookup reveals nothing about stored keys. If
    `guarded`, keys are configured, so that requests need one.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the keys of the settings.

        Raises:
            ConfigError: the file cannot be read or holds no valid key, or the key in the environment is too short.
        """
        self._path = Path(settings.api_keys_file) if settings.api_keys_file else None
        self._own: dict[str, api_keys.ApiKey] = {}
        if settings.api_key:
            if len(settings.api_key) < api_keys.MIN_KEY_LENGTH:
                raise ConfigError(
                    f"BATCHYIELD_API_KEY has {len(settings.api_key)} characters, fewer than {api_keys.MIN_KEY_LENGTH}",
                    "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
                )
            key = api_keys.new_key(api_keys.ENVIRONMENT_KEY_NAME, api_keys.SCOPES, settings.api_key)
            self._own[key.sha256] = key
        self._version, self._keys = self._read()
        if self._path and all(key.is_expired() for key in self._keys.values()):
            raise ConfigError(
                f"{self._path} holds no key that is still valid",
                f"make one: `batchyield keys add NAME --scope predict,read --file {self._path}`",
            )
        self.guarded = bool(self._keys)

    def find(self, headers: Mapping[bytes, bytes]) -> api_keys.ApiKey | None:
        """Return the key of `Authorization: Bearer KEY`, `X-API-Key: KEY` or the session's cookie, or None."""
        scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        secret = bearer.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        if not secret and b"cookie" in headers:
            secret = _session_key(headers)
        key = self._keys.get(api_keys.hash_key(secret))
        return None if key is None or key.is_expired() else key

    def refresh(self) -> bool:
        """Read the file again if it changed; return whether it did.

        An empty file is valid: it is what revoking the last key leaves, and no key is accepted then.

        Raises:
            ConfigError: the file is missing or malformed; the keys stay as they were, and each such file raises once.
        """
        if self._path is None or (version := _version(self._path)) == self._version:
            return False
        self._version = version
        self._version, self._keys = self._read()
        return True

    async def watch(self, reads: Counter) -> None:
        """Refresh once a second until cancelled; count changed files in `reads` as `used` or `refused`."""
        while self._path is not None:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                if await asyncio.to_thread(self.refresh):
                    logger.info("the API keys were read again: %d", len(self._keys))
                    reads.labels("used").inc()
            except BatchyieldError as error:
                reason = " ".join(str(error).split())
                logger.error("the API keys stay as they were: %s", reason)  # noqa: TRY400 - a trace would add nothing
                reads.labels("refused").inc()

    def _read(self) -> tuple[FileVersion | None, dict[str, api_keys.ApiKey]]:
        if self._path is None:
            return None, self._own
        version = _version(self._path)  # before reading, so that a change meanwhile is seen the next time
        return version, self._own | {key.sha256: key for key in api_keys.read_keys(self._path)}


class AccessControl:
    """Decides whether a request may reach the application; `in_flight` metered ones are being processed."""

    def __init__(self, keyring: Keyring, limiter: RateLimiter, max_in_flight: int) -> None:
        self._keyring, self._limiter, self._max_in_flight = keyring, limiter, max_in_flight
        self.in_flight = 0

    @property
    def guarded(self) -> bool:
        """Whether requests need a key."""
        return self._keyring.guarded

    def authorize(self, path: str, headers: Mapping[bytes, bytes], method: str, state: dict[str, Any]) -> str:
        """Return the name of the request's key, or an empty string where no keys are configured.

        The name is the `caller` in the request's state, also if the key lacks a scope.

        Raises:
            RequestError: the request has no valid key, or its key lacks the scope of the path.
        """
        if not self._keyring.guarded:
            return ""
        key = self._keyring.find(headers)
        if key is None:
            detail = "send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            raise RequestError(UNAUTHORIZED, detail, headers={"www-authenticate": "Bearer"})
        state["caller"] = key.name
        if path.startswith(OUTCOME_PREFIX):
            path = "/v1/outcomes/{id:path}"
        scopes = REQUIRED_SCOPES.get(path) or REQUIRED_SCOPES.get(path.rstrip("/"), (api_keys.ADMIN,))
        if method in SAFE_METHODS:
            scopes = READ_SCOPES.get(path.rstrip("/"), scopes)
        elif b"authorization" not in headers and b"x-api-key" not in headers and not is_from_own_page(headers):
            raise RequestError(FORBIDDEN, "the request comes from a page of another site; sign in there with a key")
        if not any(map(key.has_scope, scopes)):
            if scopes == (api_keys.ADMIN,) and not path.startswith("/v1/admin"):
                raise RequestError(NOT_FOUND, "nothing is here for this key; GET /schema lists all there is")
            needed = " or ".join(scopes)
            detail = f"the key {key.name} lacks the scope {needed}; ask the operator for one that has it"
            raise RequestError(FORBIDDEN, detail)
        return key.name

    def admit(self, caller: str) -> Headers:
        """Take the request from the caller's rate limit; return the rate limit's response headers.

        Raises:
            RequestError: the rate limit is reached, or too many requests are being processed.
        """
        if self.in_flight >= self._max_in_flight:
            detail = "the service is processing as many requests as it takes; retry in a second"
            raise RequestError(BUSY, detail, headers={"retry-after": "1"})
        return self._limiter.take_request(caller) if self._limiter else []

    def charge(self, caller: str, state: Mapping[str, Any]) -> None:
        """Take the rows of a response from the caller's rate limit."""
        if self._limiter and (result := state.get("result")) is not None:
            self._limiter.charge_rows(caller, result.rows)


def _session_key(headers: Mapping[bytes, bytes]) -> bytes:
    cookies = SimpleCookie(headers[b"cookie"].decode("latin-1"))
    return cookies[SESSION_COOKIE].value.encode() if SESSION_COOKIE in cookies else b""


def is_public(path: str) -> bool:
    """Return whether a path needs no key."""
    # The router folds `//` and `..`, so a prefix that contains them must not count as public.
    return path in PUBLIC_PATHS or (path.startswith(PUBLIC_FOLDER) and "//" not in path and ".." not in path)


def _version(path: Path) -> FileVersion | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size
