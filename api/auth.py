"""Who may ask: callers that hold a key, where keys are configured."""

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

from api.settings import Settings
from batchyield.errors import SetupError

MINIMUM_LENGTH = 16


class Keys:
    """The keys that are accepted, kept as digests only."""

    def __init__(self, keys: list[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request with these headers may pass: `Authorization: Bearer KEY` or `X-API-Key: KEY`."""
        if not self._digests:
            return True
        scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        sent = bearer.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        digest = _digest(sent)
        # Every key is compared, so that the time taken tells nothing about which one came close.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def read_keys(settings: Settings) -> Keys:
    """The keys that the settings name.

    Raises:
        SetupError: the file cannot be read or holds no key, or a key is too short to be one.
    """
    keys = [settings.api_key] if settings.api_key else []
    if settings.api_keys_file:
        try:
            lines = Path(settings.api_keys_file).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(
                f"{settings.api_keys_file} cannot be read: {error}", "correct BATCHYIELD_API_KEYS_FILE"
            ) from None
        in_file = [key for line in lines if (key := line.partition("#")[0].strip())]
        if not in_file:
            raise SetupError(f"{settings.api_keys_file} holds no key", "write one key a line")
        keys += in_file
    for key in keys:
        if len(key) < MINIMUM_LENGTH:
            raise SetupError(
                f"an API key has {len(key)} characters, fewer than {MINIMUM_LENGTH}",
                "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
            )
    return Keys(keys)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
