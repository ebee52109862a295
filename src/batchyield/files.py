"""Files by their bytes: written so that nobody ever sees half of one, named by their hash."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from batchyield.errors import SetupError

PARTIAL_SUFFIX = ".part"
"""How the name of a file ends that is still being written."""


def write_atomic(path: Path, data: bytes | Iterable[bytes], mode: int | None = None) -> None:
    """Writes `data` aside, flushes it to the disk, then renames it onto `path`; makes missing folders.

    Args:
        path: the file.
        data: all of it, whole or in parts.
        mode: permissions of a new file, where an old one keeps its own and its owner; None: what the umask leaves.

    Raises:
        SetupError: the disk is full, or does not let it be written; what stood at `path` before still does.
    """
    try:
        _write(path, data, mode)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written: {error.strerror}",
            "nothing was changed there; make room or mend the rights, then run the same command again",
        ) from error


def remove_partial_files(path: Path) -> None:
    """Removes what writers of `path` left aside that were killed; to be called while nobody writes it."""
    for aside in path.parent.glob(f".{path.name}.*{PARTIAL_SUFFIX}"):
        aside.unlink(missing_ok=True)


def _write(path: Path, data: bytes | Iterable[bytes], mode: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL_SUFFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        if mode is None:
            Path(aside).chmod(0o666 & ~_umask())  # mkstemp makes it private, which an output need not be
        elif path.exists():
            before = path.stat()
            with contextlib.suppress(PermissionError):  # only root may give a file away
                os.chown(aside, before.st_uid, before.st_gid)
            Path(aside).chmod(before.st_mode & 0o777)
        else:
            Path(aside).chmod(mode)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Holds a folder against others who ask by this function too, so that of two changes none is lost."""
    import fcntl  # not on Windows, where what only reads files must still load

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def md5_of_file(path: Path) -> str:
    """The content hash by which DVC names a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def md5_of(data: bytes) -> str:
    """Return the same hash of bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
