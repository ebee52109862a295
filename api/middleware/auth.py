"""Authentication by API keys, where keys are configured; the file of keys is read again when it changes."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from api.settings import Settings
from batchyield.errors import SetupError
from batchyield.serving.auth.api_keys import (
    ENVIRONMENT_KEY_NAME,
    MIN_KEY_LENGTH,
    SCOPES,
    ApiKey,
    hash_key,
    new_key,
    read_keys,
)

logger = logging.getLogger("batchyield.api")

WATCH_SECONDS = 1.0

State = tuple[int, int, int, int]


class Keyring:
    """The keys that are accepted, by their hashes.

    A caller chooses what it sends, but not the hash of it, so the time of a lookup reveals nothing useful; and a lookup
    among a thousand keys takes no longer than in one.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the keys that the settings name.

        Raises:
            SetupError: the file cannot be read or holds no valid key, or the key in the environment is too short.
        """
        self._path = Path(settings.api_keys_file) if settings.api_keys_file else None
        self._own: dict[str, ApiKey] = {}
        if settings.api_key:
            if len(settings.api_key) < MIN_KEY_LENGTH:
                raise SetupError(
                    f"BATCHYIELD_API_KEY has {len(settings.api_key)} characters, fewer than {MIN_KEY_LENGTH}",
                    "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
                )
            key = new_key(ENVIRONMENT_KEY_NAME, SCOPES, settings.api_key)
            self._own[key.sha256] = key
        self._seen, self._keys = self._read()
        if self._path and all(key.is_expired() for key in self._keys.values()):
            raise SetupError(
                f"{self._path} holds no key that is still valid",
                f"make one: `batchyield keys add NAME --scope predict,read --file {self._path}`",
            )
        self.guarded = bool(self._keys)

    def holder(self, headers: Mapping[bytes, bytes]) -> ApiKey | None:
        """Return the key of `Authorization: Bearer KEY` or `X-API-Key: KEY`; None: the request has no valid one."""
        scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        sent = bearer.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        key = self._keys.get(hash_key(sent))
        return None if key is None or key.is_expired() else key

    def refresh(self) -> bool:
        """Read the file again if it changed; return whether it did.

        After a file without keys no key is accepted, for revoking the last key leaves such a file.

        Raises:
            SetupError: it is missing or malformed; the keys stay as they were, and each such file raises once.
        """
        if self._path is None or (now := _state(self._path)) == self._seen:
            return False
        self._seen = now
        self._seen, self._keys = self._read()
        return True

    async def watch(self, read: Callable[[bool], None]) -> None:
        """Refresh each second until cancelled; `read` is called with whether a changed file could be used."""
        while self._path is not None:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                if await asyncio.to_thread(self.refresh):
                    logger.warning("the API keys were read again: %d", len(self._keys))
                    read(True)
            except SetupError as error:
                logger.error(  # noqa: TRY400 - a traceback would add nothing
                    "the API keys stay as they were: %s", " ".join(str(error).split())
                )
                read(False)

    def _read(self) -> tuple[State | None, dict[str, ApiKey]]:
        if self._path is None:
            return None, self._own
        seen = _state(self._path)  # before reading: what is written meanwhile is seen the next time
        return seen, self._own | {key.sha256: key for key in read_keys(self._path)}


def _state(path: Path) -> State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
