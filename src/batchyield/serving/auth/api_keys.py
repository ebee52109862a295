"""API keys in one JSON file that holds the SHA-256 of each key, so reading the file does not give access.

```json
{"keys": [{"name": "line-3", "scopes": ["predict"], "sha256": "9f86d081…", "created": "2026-11-28T06:00:00Z"}]}
```

A key is 256 random bits, so one round of SHA-256 is enough: a dictionary attack is not possible. The functions raise
ConfigError if the file, a name or a scope is wrong or a key is unknown.
"""

import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from batchyield.errors import ConfigError, ConflictError
from batchyield.files import exclusive_lock, write_atomic
from batchyield.serving.audit_trail import record_change

PREDICT, OUTCOMES, READ, ADMIN = "predict", "outcomes", "read", "admin"
SCOPES = (PREDICT, OUTCOMES, READ, ADMIN)
"""Scopes: send batches and outcomes; send outcomes alone; read model, metrics and journal; everything."""

TOKEN_PREFIX = "byk_"  # noqa: S105 - a prefix for secret scanners, not a key
MIN_KEY_LENGTH = 16
ENVIRONMENT_KEY_NAME = "environment"
"""Name of the key in `BATCHYIELD_API_KEY`."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BYTE = re.compile(r" \(byte (\d+)\)$")

UtcTime = Annotated[datetime, msgspec.Meta(tz=True)]


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One API key, of which only the hash is stored.

    Attributes:
        name: owner, as logs and the journal show it.
        scopes: from `SCOPES`.
        sha256: hash of the key, 64 hexadecimal digits.
        created: time of creation.
        expires: the first moment at which it is no longer valid; None: it does not expire.

    Raises:
        ValueError: a field is invalid; the message contains no value that could be a key.
    """

    name: str
    scopes: tuple[str, ...]
    sha256: str
    created: UtcTime
    expires: UtcTime | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("name: expected 1 to 64 letters, digits, dots, dashes and underscores")
        if not self.scopes or set(self.scopes) - {*SCOPES}:
            raise ValueError(f"scopes: expected one or more of {', '.join(SCOPES)}")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256: expected 64 hexadecimal digits in lower case")

    @property
    def id(self) -> str:
        """Return the first 8 digits of the hash, to distinguish two keys of one name."""
        return self.sha256[:8]

    def has_scope(self, scope: str) -> bool:
        """Return whether the key has a scope; `admin` includes all."""
        return scope in self.scopes or ADMIN in self.scopes

    def is_expired(self) -> bool:
        """Return whether the key has expired by now."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[ApiKey]

    def __post_init__(self) -> None:
        places: dict[str, int] = {}
        for place, key in enumerate(self.keys):
            if key.name == ENVIRONMENT_KEY_NAME:
                problem = f"{ENVIRONMENT_KEY_NAME!r} is the name of the key in BATCHYIELD_API_KEY"
                raise ValueError(f"keys[{place}].name: {problem}")
            if (first := places.setdefault(key.sha256, place)) != place:
                raise ValueError(f"keys[{place}] repeats the key of keys[{first}]")


def new_token() -> str:
    """Return a new key of 256 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hash_key(token: bytes) -> str:
    """Return the SHA-256 of a key, as the file holds it."""
    return hashlib.sha256(token).hexdigest()


def new_key(name: str, scopes: Sequence[str], token: str, expires: datetime | None = None) -> ApiKey:
    """Return the entry of a key created now; raises ValueError as `ApiKey` does."""
    ordered = tuple(dict.fromkeys(sorted(scopes)))
    return ApiKey(name, ordered, hash_key(token.encode()), datetime.now(UTC).replace(microsecond=0), expires)


def encode_keys(keys: Sequence[ApiKey]) -> bytes:
    """Return the content of a file of keys."""
    return msgspec.json.format(msgspec.json.encode(_File([*keys]))) + b"\n"


def read_keys(path: Path) -> list[ApiKey]:
    """Return the keys of a file, in its order; the message of a ConfigError names line or field, but no key."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "name another file, or correct it") from None
    try:
        return msgspec.json.decode(content, type=_File).keys
    except msgspec.DecodeError as error:
        remedy = "correct it there, or remove the file and create its keys again with `batchyield keys add`"
        raise ConfigError(f"{path}: {_explain(content, error)}", remedy) from None


def add_key(path: Path, name: str, scopes: Sequence[str], expires: datetime | None = None) -> str:
    """Create a key, write its hash to the file and return the key; raise ConflictError if the name has one."""
    token = new_token()
    with _changing(path, "keys add", name) as keys:
        if any(key.name == name for key in keys):
            raise ConflictError(f"{name} has a key in {path}", f"run `batchyield keys rotate {name}` for another one")
        try:
            _File([made := new_key(name, scopes, token, expires)])
        except ValueError as error:
            raise ConfigError(f"the key cannot be created: {error}", "see `batchyield keys add --help`") from None
        keys.append(made)
    return token


def revoke_key(path: Path, name: str, start: str = "") -> list[ApiKey]:
    """Remove the keys of a name, or only the one whose hash begins with `start`; return those removed."""
    with _changing(path, "keys revoke", name) as keys:
        found = _keys_of(path, keys, name, start)
        keys[:] = [key for key in keys if key not in found]
    return found


def rotate_key(path: Path, name: str, grace: timedelta | None = None) -> tuple[str, list[ApiKey]]:
    """Create another key for a name, with the scopes of its latest one; return it and the older ones' entries.

    `grace` limits how long the older keys stay valid; None: until they expire or are revoked.
    """
    token = new_token()
    with _changing(path, "keys rotate", name) as keys:
        older = _keys_of(path, keys, name)
        if grace is not None:
            end = datetime.now(UTC).replace(microsecond=0) + grace
            for place, key in enumerate(keys):
                if key in older:
                    keys[place] = msgspec.structs.replace(key, expires=min(key.expires or end, end))
            older = _keys_of(path, keys, name)
        keys.append(new_key(name, older[-1].scopes, token))
    return token, older


def format_time(moment: datetime) -> str:
    """Return a time in ISO 8601, UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def render_keys(keys: Sequence[ApiKey]) -> str:
    """Return keys as a table of name, first digits of the hash, scopes and expiry."""
    rows = [(key.name, key.id, ",".join(key.scopes), format_time(key.expires) if key.expires else "") for key in keys]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows) if rows else "no keys"


def _keys_of(path: Path, keys: Sequence[ApiKey], name: str, start: str = "") -> list[ApiKey]:
    if found := [key for key in keys if key.name == name and key.sha256.startswith(start)]:
        return found
    beginning = f" that begins with {start}" if start else ""
    raise ConfigError(f"{name} has no key{beginning} in {path}", "see `batchyield keys list`")


def _explain(content: bytes, error: msgspec.DecodeError) -> str:
    """Return the line or field where decoding failed, and why."""
    reason, _, field = str(error).partition(" - at `$")
    if isinstance(error, msgspec.ValidationError):
        return f"{field.strip('.`')}: {reason}" if field else reason
    byte = _BYTE.search(reason)
    line = content.count(b"\n", 0, int(byte[1]) if byte else len(content)) + 1
    return f"line {line}: {_BYTE.sub('', reason)}"


def _describe(keys: Iterable[ApiKey]) -> str:
    return ", ".join(sorted(f"{key.id} {'+'.join(key.scopes)}" for key in keys))


@contextlib.contextmanager
def _changing(path: Path, action: str, name: str) -> Iterator[list[ApiKey]]:
    """Yield the keys for changes, record who made them, and rewrite the file atomically; locks out other commands."""
    path = path.resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(path.parent):
        keys = read_keys(path) if path.exists() else []
        before = {*keys}
        yield keys
        facts = {"added": _describe({*keys} - before), "removed": _describe(before - {*keys})}
        record_change(path.with_name(f"{path.name}.audit"), action, name=name, **facts)
        write_atomic(path, encode_keys(keys), 0o600)
