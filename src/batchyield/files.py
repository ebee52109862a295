"""Files by their bytes: written so that nobody ever sees half of one, named by their hash."""

import hashlib
import os
import tempfile
from pathlib import Path

from batchyield.errors import SetupError

ASIDE = ".part"
"""How the name of a file ends that is still being written."""


def write_atomic(path: Path, data: bytes) -> None:
    """Writes `data` aside, flushes it to the disk, then renames it onto `path`; makes missing folders.

    Raises:
        SetupError: the disk is full, or does not let it be written; what stood at `path` before still does.
    """
    try:
        _write(path, data)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written: {error.strerror}",
            "nothing was changed there; make room or mend the rights, then run the same command again",
        ) from error


def sweep(path: Path) -> None:
    """Removes what writers of `path` left aside that were killed; to be called while nobody writes it."""
    for aside in path.parent.glob(f".{path.name}.*{ASIDE}"):
        aside.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=ASIDE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(0o666 & ~_umask())  # mkstemp makes it private, which an output need not be
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def md5(path: Path) -> str:
    """The content hash by which DVC names a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
