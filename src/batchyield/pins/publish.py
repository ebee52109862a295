"""Wheels to a package index, any that takes twine; address and token come from the environment and are never shown."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from batchyield.errors import SetupError

URL, USER, PASSWORD = "TWINE_REPOSITORY_URL", "TWINE_USERNAME", "TWINE_PASSWORD"
TOKEN_USER = "__token__"  # noqa: S105 - the name that an index knows a token by
THERE = re.compile(r"\b409 |already (exists|been taken)|file name has already", re.IGNORECASE)
"""How indexes say that they hold a file of that name; twine's own `--skip-existing` is for two of them only."""


def publish(wheels: Sequence[Path], environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Uploads wheels one by one, each checked first; says of each what became of it.

    A wheel that the index holds already is left as it is there, so that a run that was cut off can be run again.

    Args:
        wheels: to upload, in this order.
        environment: `TWINE_REPOSITORY_URL` names the index, `TWINE_PASSWORD` the token, `TWINE_USERNAME` its owner
            (`__token__`); the address may hold them instead, as in `https://TOKEN:@push.example.org/account/`.

    Raises:
        SetupError: the index is not named, a wheel is missing or malformed, or the index refuses it.
    """
    shown, ours = _target(environment)
    missing = [str(wheel) for wheel in wheels if not wheel.is_file()]
    if missing:
        raise SetupError(f"{', '.join(missing)} is not there", "`batchyield package` writes it into dist/")
    checked = _twine(ours, "check", "--strict", *map(str, wheels))
    if checked.returncode:
        raise SetupError(f"twine finds fault: {_said(checked, ours)}", "build it again: `batchyield package`")
    for wheel in wheels:
        done = _twine(ours, "upload", "--verbose", "--disable-progress-bar", str(wheel))
        said = _said(done, ours)
        if done.returncode and not THERE.search(said):
            raise SetupError(
                f"{shown} does not take {wheel.name}: {said}",
                f"check {URL}, {USER} and {PASSWORD}; what was uploaded before it stays, and this can be run again",
            )
        yield f"{wheel.name} {'was there already, and stays as it is' if done.returncode else 'uploaded'}: {shown}"


def _target(environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    url = urlsplit(environment.get(URL, ""))
    if url.scheme not in ("http", "https") or not url.hostname:
        raise SetupError(f"{URL} names no index", f"set it to the upload address, and {PASSWORD} to the token")
    # twine prints the address, so what is secret in it goes where twine prints nothing.
    bare = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
    user = environment.get(USER) or (unquote(url.username) if url.username else TOKEN_USER)
    password = environment.get(PASSWORD)
    if password is None:
        password = unquote(url.password or "") if url.username else None
    if password is None:
        raise SetupError(f"{PASSWORD} is not set", "set it to a token that may upload; it is not shown")
    ours = {URL: bare, USER: user, PASSWORD: password, "TWINE_NON_INTERACTIVE": "1", "NO_COLOR": "1", "COLUMNS": "1000"}
    return bare, dict(environment) | ours


def _twine(environment: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own fixed command
        [sys.executable, "-m", "twine", *arguments], env=environment, capture_output=True, text=True
    )


def _said(done: "subprocess.CompletedProcess[str]", environment: Mapping[str, str]) -> str:
    said = " ".join(f"{done.stdout} {done.stderr}".split())
    for secret in (environment[PASSWORD], environment[USER]):
        said = said.replace(secret, "***") if secret and secret != TOKEN_USER else said
    return said
