"""Changes to a file of API keys; whatever else stands in it, comments above all, stays as it is."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from batchyield.errors import SetupError
from batchyield.files import exclusively, write_atomic
from batchyield.keys import (
    MINIMUM_LENGTH,
    SCOPES,
    Key,
    check_name,
    content_of,
    digest,
    is_plain,
    new_token,
    parse,
    scopes_of,
)

PRIVATE = 0o600


def keys_in(path: Path) -> list[Key]:
    """The keys of a file; none where there is no file.

    Raises:
        SetupError: it cannot be read, or a line of it is wrong.
    """
    return parse(_read(path), str(path)) if path.exists() else []


def add(path: Path, name: str, scopes: str, expires: float | None = None) -> str:
    """Makes a key, writes its hash and returns it; it cannot be had again.

    Raises:
        SetupError: the name or a scope cannot be, or the name has a key.
    """
    with _changing(path) as lines:
        if any(key.name == name for key in parse("\n".join(lines), str(path))):
            raise SetupError(f"{name} has a key in {path}", f"run `batchyield key rotate {name}` for another one")
        try:
            check_name(name)
            allowed = scopes_of(scopes)
        except ValueError as error:
            raise SetupError(str(error), "see `batchyield key add --help`") from None
        token = new_token()
        lines.append(Key(name, allowed, digest(token.encode()), expires).line())
    return token


def revoke(path: Path, name: str, start: str = "") -> list[Key]:
    """Removes the keys of a name, or of them the one whose hash begins with `start`; returns what was removed.

    Raises:
        SetupError: there is none.
    """
    with _changing(path) as lines:
        return _replace(path, lines, name, start, lambda _: None)


def rotate(path: Path, name: str, grace: float | None = None) -> tuple[str, list[Key]]:
    """Makes a second key for a name, with the scopes of its latest one.

    Args:
        path: the file.
        name: whose key it is.
        grace: seconds for which the older keys still work; None: until they are revoked.

    Returns:
        The new key, and the older ones as they now stand.

    Raises:
        SetupError: the name has no key.
    """
    token = new_token()

    def limited(key: Key) -> Key:
        until = None if grace is None else time.time() + grace
        ends = [moment for moment in (key.expires, until) if moment is not None]
        return Key(key.name, key.scopes, key.digest, min(ends, default=None))

    with _changing(path) as lines:
        older = [limited(key) for key in _replace(path, lines, name, "", limited)]
        lines.append(Key(name, older[-1].scopes, digest(token.encode())).line())
    return token, older


def hash_plain(path: Path) -> list[Key]:
    """Replaces each key that stands in plain by its hash, with all scopes, as it had; returns them.

    Raises:
        SetupError: one of them is too short to be kept.
    """
    made: list[Key] = []
    with _changing(path, checked=False) as lines:
        for number, line in enumerate(lines, start=1):
            token = content_of(line)
            if not token or not is_plain(token):
                continue
            if len(token) < MINIMUM_LENGTH:
                raise too_short(len(token), f"{path}, line {number}")
            made.append(Key(f"line-{number}", frozenset(SCOPES), digest(token.encode())))
            lines[number - 1] = line.replace(token, made[-1].line(), 1)
    return made


def too_short(length: int, where: str) -> SetupError:
    """The refusal of a key that could be guessed."""
    return SetupError(
        f"{where}: an API key has {length} characters, fewer than {MINIMUM_LENGTH}",
        "make one with `batchyield key add`",
    )


def _replace(path: Path, lines: list[str], name: str, start: str, change: Callable[[Key], Key | None]) -> list[Key]:
    found = [
        key for key in parse("\n".join(lines), str(path)) if key.name == name and key.digest.hex().startswith(start)
    ]
    if not found:
        beginning = f" that begins with {start}" if start else ""
        raise SetupError(f"{name} has no key{beginning} in {path}", "see `batchyield key list`")
    for index in reversed(range(len(lines))):
        for key in found:
            if content_of(lines[index]) and f"sha256:{key.digest.hex()}" in content_of(lines[index]):
                changed = change(key)
                lines[index : index + 1] = [_with(lines[index], changed)] if changed else []
                break
    return found


def _with(line: str, key: Key) -> str:
    return line.replace(content_of(line), key.line(), 1)


@contextlib.contextmanager
def _changing(path: Path, checked: bool = True) -> Iterator[list[str]]:
    """The lines, to be changed; written back whole if nothing is raised, while no other command can change them."""
    path = path.resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusively(path.parent):
        lines = _read(path).splitlines() if path.exists() else []
        yield lines
        text = "".join(f"{line}\n" for line in lines)
        if checked:
            parse(text, str(path))
        write_atomic(path, text.encode(), PRIVATE)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SetupError(f"{path} cannot be read: {reason}", "name another file, or correct this one") from None
