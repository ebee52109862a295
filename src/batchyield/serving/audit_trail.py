"""Audit trail: who changed which model serves or which keys are valid, as JSON lines in a file beside what changes."""

import getpass
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from batchyield.errors import WriteError


def record_change(file: Path, action: str, **facts: str) -> None:
    """Append a line with the time, the user, the host and the action; call it before the change.

    Raises:
        WriteError: the line cannot be written, so the change must not be made.
    """
    line = {"time": datetime.now(UTC), "user": _user(), "host": socket.gethostname(), "action": action, **facts}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as trail:
            trail.write(msgspec.json.encode(line) + b"\n")
            os.fsync(handle)
    except OSError as error:
        remedy = "nothing was changed; make room or correct the permissions, then run the same command again"
        raise WriteError(f"the audit trail {file} cannot be written: {error.strerror}", remedy) from None


def _user() -> str:
    """Return the user who gave the command, also through sudo; in a container without names, the number."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
