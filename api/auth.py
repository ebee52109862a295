"""Who may ask: callers that hold a key, where keys are configured; the file is read again when it changes."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from api.settings import Settings
from batchyield.errors import SetupError
from batchyield.keys import ENVIRONMENT, MINIMUM_LENGTH, SCOPES, Key, digest, parse

logger = logging.getLogger("batchyield.api")

WATCH_SECONDS = 1.0

State = tuple[int, int, int, int]


class Keyring:
    """The keys that are accepted, kept as digests only.

    A caller chooses what it sends, but not the digest of it, so the time that looking one up takes tells nothing of
    use; and it takes no longer for a thousand keys than for one.
    """

    def __init__(self, settings: Settings) -> None:
        """Reads the keys that the settings name.

        Raises:
            SetupError: the file cannot be read, holds no key or one in plain, or a key is too short to be one.
        """
        self._path = Path(settings.api_keys_file) if settings.api_keys_file else None
        self._own: dict[bytes, Key] = {}
        if settings.api_key:
            if len(settings.api_key) < MINIMUM_LENGTH:
                raise SetupError(
                    f"BATCHYIELD_API_KEY has {len(settings.api_key)} characters, fewer than {MINIMUM_LENGTH}",
                    "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
                )
            key = Key(ENVIRONMENT, frozenset(SCOPES), digest(settings.api_key.encode()))
            self._own[key.digest] = key
        self._seen, self._keys = self._read()
        if self._path and not any(key.expires is None or key.expires > time.time() for key in self._keys.values()):
            raise SetupError(
                f"{self._path} holds no key that is still valid",
                f"make one: `batchyield key add NAME --scope predict,read --file {self._path}`",
            )
        self.guarded = bool(self._keys)

    def holder(self, headers: Mapping[bytes, bytes]) -> Key | None:
        """The key that a request sent: `Authorization: Bearer KEY` or `X-API-Key: KEY`; None: none that is valid."""
        scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        sent = bearer.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        key = self._keys.get(digest(sent))
        if key is not None and key.expires is not None and key.expires <= time.time():
            return None
        return key

    def refresh(self) -> bool:
        """Reads the file again if it is not the one that was read; whether it was.

        A file without keys lets nobody in, for that is what taking the last one back leaves.

        Raises:
            SetupError: it is gone or wrong; the keys stay as they were, and this is raised once for each such file.
        """
        if self._path is None or (now := _state(self._path)) == self._seen:
            return False
        self._seen = now
        self._seen, self._keys = self._read()
        return True

    async def watch(self, read: Callable[[bool], None]) -> None:
        """Refreshes each second until cancelled; `read` is told of each new file whether it could be used."""
        while self._path is not None:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                if await asyncio.to_thread(self.refresh):
                    logger.warning("the API keys were read again: %d", len(self._keys))
                    read(True)
            except SetupError as error:
                logger.error(  # noqa: TRY400 - the trace of a refusal tells nothing
                    "the API keys stay as they were: %s", " ".join(str(error).split())
                )
                read(False)

    def _read(self) -> tuple[State | None, dict[bytes, Key]]:
        if self._path is None:
            return None, self._own
        seen = _state(self._path)  # before reading: what is written meanwhile is seen the next time
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SetupError(f"{self._path} cannot be read: {reason}", "correct BATCHYIELD_API_KEYS_FILE") from None
        return seen, self._own | {key.digest: key for key in parse(text, str(self._path))}


def _state(path: Path) -> State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
