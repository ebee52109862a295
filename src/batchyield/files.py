"""Files: atomic writes, exclusive locks and md5 hashes."""

import contextlib
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
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
    with new_file(path) as partial:
        # The kernel applies the umask; reading it here would change it for a moment, and other threads create files.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(partial, flags, 0o666 if mode is None else 0o600), "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        if mode is not None and path.exists():
            before = path.stat()
            with contextlib.suppress(PermissionError):  # only root may change the owner
                os.chown(partial, before.st_uid, before.st_gid)
            partial.chmod(before.st_mode & 0o777)
        elif mode is not None:
            partial.chmod(mode)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that the block writes, and that is flushed and renamed to `path` after it.

    Missing folders are created. After an error, `path` is unchanged.

    Raises:
        WriteError: the file cannot be written, for example because the disk is full.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL_SUFFIX}")
        try:
            yield partial
            move_durably(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def write_errors(target: Path | str) -> Iterator[None]:
    """Raise WriteError for an OSError of the block, which writes `target` in one step or not at all."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{target} cannot be written: {error.strerror}",
            "nothing was changed there; make room or correct the permissions, then run the same command again",
        ) from error


def remove_partial_files(path: Path) -> None:
    """Remove the temporary files of killed writers of `path`; call it only while no writer is running."""
    for partial in path.parent.glob(f".{path.name}.*{PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)


def move_durably(finished: Path, path: Path) -> None:
    """Rename a finished file to `path` of the same folder or one above; file and name survive a loss of power."""
    with finished.open("rb+") as file:
        os.fsync(file.fileno())
    finished.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    if sys.platform != "win32":  # where a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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


def md5_of_path(path: Path) -> str:
    """Return the md5 by which DVC identifies a file, or a folder: that of the JSON list of its files, and `.dir`."""
    if not path.is_dir():
        return md5_of_file(path)
    files = {file.relative_to(path).as_posix(): md5_of_file(file) for file in path.rglob("*") if file.is_file()}
    return f"{md5_of(folder_list(files))}.dir"


def folder_list(md5s: Mapping[str, str]) -> bytes:
    """Return the list of a folder's files as DVC keeps it: JSON of relative path and md5, sorted by path."""
    names = sorted(md5s, key=lambda name: name.split("/"))
    return json.dumps([{"md5": md5s[name], "relpath": name} for name in names]).encode()


def md5_of(data: bytes) -> str:
    """Return the md5 of bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
