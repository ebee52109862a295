"""API keys as a file keeps them: a name, scopes and a hash a line, so that whoever reads the file can call nothing.

```
# the plant's line 3
line-3   predict        sha256:9f86d081884c7d65…
grafana  read           sha256:60303ae22b998861…  expires=2027-01-01
```

A key is 256 random bits, so one round of SHA-256 is enough: there is no dictionary to try, and a slow hash would only
slow the service.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from batchyield.errors import SetupError

PREDICT, READ, ADMIN = "predict", "read", "admin"
SCOPES = (PREDICT, READ, ADMIN)
"""What a key may do: send batches and outcomes; look at the model and the figures; everything."""

TOKEN_PREFIX = "byk_"  # noqa: S105 - what scanners for leaked keys look for, no key
MINIMUM_LENGTH = 16
ENVIRONMENT = "environment"
"""The name of the key that `BATCHYIELD_API_KEY` holds."""

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE = re.compile(r"(?P<name>\S+)\s+(?P<scopes>\S+)\s+sha256:(?P<digest>[0-9a-f]{64})(?:\s+expires=(?P<expires>\S+))?")


@dataclass(frozen=True, slots=True)
class Key:
    """One key, of which only the hash is known.

    Attributes:
        name: whose it is; in logs and in the journal.
        scopes: what it may do.
        digest: SHA-256 of the key, 32 bytes.
        expires: seconds since 1970 from which it is worth nothing; None: never.
    """

    name: str
    scopes: frozenset[str]
    digest: bytes
    expires: float | None = None

    @property
    def id(self) -> str:
        """The first digits of the hash, by which two keys of one name are told apart."""
        return self.digest.hex()[:8]

    def may(self, scope: str) -> bool:
        """Whether it has this scope; `admin` has all."""
        return scope in self.scopes or ADMIN in self.scopes

    def line(self) -> str:
        """As the file holds it."""
        scopes = ",".join(scope for scope in SCOPES if scope in self.scopes)
        until = f" expires={moment(self.expires)}" if self.expires is not None else ""
        return f"{self.name} {scopes} sha256:{self.digest.hex()}{until}"


def new_token() -> str:
    """A key nobody can guess: 256 bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def digest(token: bytes) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(token).digest()


def moment(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """Seconds since 1970 of a date or a time in ISO 8601; UTC where no zone is said.

    Raises:
        ValueError: it is neither.
    """
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def scopes_of(text: str) -> frozenset[str]:
    """The scopes of `predict,read`.

    Raises:
        ValueError: one of them is none.
    """
    scopes = frozenset(text.split(","))
    if wrong := sorted(scopes - {*SCOPES}):
        raise ValueError(f"{wrong[0]!r} is no scope; there are {', '.join(SCOPES)}")
    return scopes


def check_name(name: str) -> None:
    """Refuses what cannot be a key's name.

    Raises:
        ValueError: it has other characters than letters, digits and `._-`, is too long, or is taken.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name: 1 to 64 letters, digits, dots, dashes and underscores")
    if name == ENVIRONMENT:
        raise ValueError(f"{name!r} is the name of the key in BATCHYIELD_API_KEY")


def content_of(line: str) -> str:
    """A line without its comment."""
    return line.partition("#")[0].strip()


def is_plain(content: str) -> bool:
    """Whether a line holds a key itself rather than its hash."""
    return len(content.split()) == 1


def parse_line(content: str) -> Key:
    """The key of a line.

    Raises:
        ValueError: the line is none; the message repeats nothing that could be a key.
    """
    if is_plain(content):
        raise ValueError("holds a key in plain")
    fields = _LINE.fullmatch(content)
    if fields is None:
        raise ValueError("is not `NAME SCOPE,SCOPE sha256:HASH` with `expires=DATE` or nothing behind it")
    check_name(fields["name"])
    try:
        expires = seconds_of(fields["expires"]) if fields["expires"] else None
    except ValueError:
        raise ValueError("expires at what is no date, such as 2027-01-01") from None
    return Key(fields["name"], scopes_of(fields["scopes"]), bytes.fromhex(fields["digest"]), expires)


def parse(text: str, source: str) -> list[Key]:
    """The keys of a file, in its order.

    Args:
        text: all of it.
        source: what the file is called in a refusal.

    Raises:
        SetupError: a line is no key, holds one in plain, or repeats one.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not (content := content_of(line)):
            continue
        try:
            key = parse_line(content)
        except ValueError as error:
            remedy = (
                f"run `batchyield key hash --file {source}`, after which it works as before and only its hash is kept"
            )
            raise SetupError(
                f"{source}, line {number}: {error}",
                remedy if is_plain(content) else "correct the line, or make the key anew with `batchyield key add`",
            ) from None
        if any(key.digest == other.digest for other in keys):
            raise SetupError(f"{source}, line {number}: repeats the key {key.id}", "remove one of the two lines")
        keys.append(key)
    return keys


def render(keys: Iterable[Key]) -> str:
    """Keys for people: name, first digits of the hash, scopes, and until when."""
    rows = [
        (key.name, key.id, ",".join(sorted(key.scopes)), moment(key.expires) if key.expires else "") for key in keys
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows) if rows else "no keys"
