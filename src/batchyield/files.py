"""Files: atomic writes, exclusive locks and md5 hashes."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from batchyield.errors import WriteError

PARTIAL_SUFFIX = ".part"
"""End of the name of a file that is still being written."""


def write_atomic(path: Path, data: bytes | Iterable[bytes], mode: int | None = None) -> None:
    """Write `data` to a temporary file, flush it to the disk, and rename it to `path`; create missing folders.

    Args:
        path: the file.
        data: the whole content, in one piece or several.
        mode: permissions of a new file; an existing file keeps its permissions and owner. None: as the umask allows.

    Raises:
        WriteError: the file cannot be written, for example because the disk is full; `path` is unchanged.
    """
    try:
        _write(path, data, mode)
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written: {error.strerror}",
            "nothing was changed there; make room or correct the permissions, then run the same command again",
        ) from error


def remove_partial_files(path: Path) -> None:
    """Remove the temporary files of killed writers of `path`; call it only while no writer is running."""
    for partial in path.parent.glob(f".{path.name}.*{PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)


def _write(path: Path, data: bytes | Iterable[bytes], mode: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL_SUFFIX)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        if mode is None:
            umask = os.umask(0)
            os.umask(umask)
            partial.chmod(0o666 & ~umask)  # mkstemp creates private files, and an output need not be private
        elif path.exists():
            before = path.stat()
            with contextlib.suppress(PermissionError):  # only root may change the owner
                os.chown(partial, before.st_uid, before.st_gid)
            partial.chmod(before.st_mode & 0o777)
        else:
            partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder for the block; a second caller waits, so that no change is lost."""
    import fcntl  # not on Windows, where modules that only read files must still load

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def md5_of_file(path: Path) -> str:
    """Return the md5 of a file, the hash by which DVC identifies it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def md5_of(data: bytes) -> str:
    """Return the md5 of bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
