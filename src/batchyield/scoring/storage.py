"""Files to score and files to write, local or on S3 (`s3://bucket/key`, through fsspec and s3fs).

S3 is configured as in every AWS tool: AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL for another server …
"""

import contextlib
import glob
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from batchyield.errors import ConfigError, MissingToolError, StorageError
from batchyield.files import md5_of_file, write_errors
from batchyield.files import new_file as new_local_file

PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = (".csv", *PARQUET_SUFFIXES)
"""Files of a folder that are scored."""

READ_AHEAD_BYTES = 8 * 2**20


class InputFile(NamedTuple):
    """A file to score.

    Attributes:
        url: path or URL.
        name: path relative to the folder or to the part of the pattern without wildcards.
        size: in bytes; 0 for a pipe.
        identity: differs if the content does: the ETag of an object, or size and time of a file.
    """

    url: str
    name: str
    size: int
    identity: str


class WrittenFile(NamedTuple):
    """md5 and size in bytes of a file that was written."""

    md5: str
    size: int


def is_parquet(name: str | Path) -> bool:
    """Return whether a file is Parquet, by its name; any other is CSV."""
    return PurePosixPath(name).suffix.lower() in PARQUET_SUFFIXES


def text_of(name: str) -> str:
    """Return a path or URL as valid text, whatever the locale and the bytes of the path."""
    return os.fsencode(name).decode("UTF-8", "backslashreplace")


def unreadable(name: str | Path, error: OSError) -> ConfigError:
    """Return the error for a file that cannot be read."""
    return ConfigError(f"{name} cannot be read: {error.strerror or error}", "pass the path of the plant's CSV")


def is_remote(url: str | Path) -> bool:
    """Return whether the name is a URL."""
    return "://" in str(url)


def find_files(patterns: Iterable[str], without: str = "") -> list[InputFile]:
    """Return the files that paths, URLs, folders and patterns with wildcards name, each once, in order.

    Args:
        patterns: a folder means its CSV and Parquet files, at any depth.
        without: folder whose files are left out: the one of the outputs.

    Raises:
        ConfigError: a pattern matches no file, or a file cannot be read.
        StorageError: S3 is out of reach, or refuses.
    """
    found: dict[str, InputFile] = {}
    for pattern in patterns:
        files = _find_remote(pattern) if is_remote(pattern) else _find_local(pattern)
        if not files:
            raise ConfigError(f"{pattern} matches no file", "name a CSV or Parquet file, a folder or a pattern")
        inputs = [file for file in files if not without or not _is_under(file.url, without)]
        if not inputs:
            raise ConfigError(f"{pattern} has only files of {without}, where the outputs go", "choose another --out")
        found |= {file.url: file for file in inputs}
    return list(found.values())


def _is_under(url: str, folder: str) -> bool:
    if is_remote(url) or is_remote(folder):
        return url.startswith(f"{folder.rstrip('/')}/")
    return Path(folder).resolve() in Path(url).resolve().parents


def _fixed_part(pattern: str) -> str:
    """Return the folder of a pattern up to its first wildcard, with a slash at its end."""
    parts = pattern.split("/")
    plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return "/".join([*parts[:plain], ""])


def _find_local(pattern: str) -> list[InputFile]:
    path = Path(pattern)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        return [_local_file(file, file.relative_to(path).as_posix()) for file in files]
    if glob.has_magic(pattern) and not path.exists():
        fixed = _fixed_part(pattern)
        files = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - absolute ones, too
        return [_local_file(file, file.relative_to(fixed or ".").as_posix()) for file in files if file.is_file()]
    return [_local_file(path, path.name)]


def _local_file(path: Path, name: str) -> InputFile:
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    regular = path.is_file()
    return InputFile(str(path), name, status.st_size * regular, f"{status.st_size} bytes, {status.st_mtime_ns} ns")


def _find_remote(pattern: str) -> list[InputFile]:
    with storage_errors(pattern):
        system, path = open_filesystem(pattern)
        if glob.has_magic(path):
            fixed, found = _fixed_part(path), system.glob(path, detail=True)
        elif path.endswith("/") or system.isdir(path):
            fixed, found = f"{path.rstrip('/')}/", system.find(path, detail=True)
            found = {key: info for key, info in found.items() if PurePosixPath(key).suffix.lower() in SUFFIXES}
        else:
            fixed, found = _fixed_part(path), {path: system.info(path)}
    scheme = pattern.split("://", 1)[0]
    files = [(key, info) for key, info in sorted(found.items()) if info["type"] == "file"]
    return [
        InputFile(f"{scheme}://{key}", key.removeprefix(fixed), info["size"], _identity(info)) for key, info in files
    ]


def _identity(info: dict[str, Any]) -> str:
    tag = str(info.get("ETag", "")).strip('"')
    return f"{info['size']} bytes, ETag {tag}" if tag else f"{info['size']} bytes, {info.get('LastModified', '')}"


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's filesystem of a URL and the path in it.

    Raises:
        ConfigError: the URL is not of S3.
        MissingToolError: s3fs is not installed.
    """
    if not url.startswith("s3://"):
        raise ConfigError(f"{url} is neither a path nor on S3", "give a path or s3://bucket/key")
    import fsspec

    try:
        system, path = fsspec.url_to_fs(url, use_listings_cache=False)
    except ImportError:
        raise MissingToolError("s3fs is not installed", "install the extra: pip install 'batchyield[scale]'") from None
    return system, path


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Raise StorageError for errors of S3, and ConfigError for an object that does not exist."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except FileNotFoundError:
        raise ConfigError(f"{url} does not exist", "correct the URL") from None
    except (OSError, BotoCoreError, ClientError) as error:
        remedy = (
            "check the address, the keys and the permissions (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID …), and run again"
        )
        raise StorageError(f"{url}: {str(error).strip() or type(error).__name__}", remedy) from None


def current_identity(file: InputFile) -> str:
    """Return the identity that a file has now; raise ConfigError if it is gone."""
    if not is_remote(file.url):
        return _local_file(Path(file.url), file.name).identity
    with storage_errors(file.url):
        system, path = open_filesystem(file.url)
        return _identity(system.info(path))


class HashedFile(io.RawIOBase):
    """A file opened for reading that computes the md5 of what is read from it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._digest = hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, and return the number of bytes."""
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._digest.update(data)
        return len(data)

    def md5(self) -> str:
        """Return the md5 of what was read so far."""
        return self._digest.hexdigest()


@contextlib.contextmanager
def open_file(url: str) -> Iterator[io.BufferedReader]:
    """Open a file or an object for reading; Parquet from S3 is first copied to the temporary folder.

    Raises:
        ConfigError: it does not exist or cannot be read.
        StorageError: S3 is out of reach, or refuses.
    """
    if not is_remote(url):
        try:
            with Path(url).open("rb") as file:
                yield file
        except OSError as error:
            raise unreadable(url, error) from None
        return
    with storage_errors(url), tempfile.TemporaryDirectory(prefix="batchyield-") as folder:
        system, path = open_filesystem(url)
        if is_parquet(url):
            copy = Path(folder, "copy.parquet")
            system.get_file(path, str(copy))
            with copy.open("rb") as file:
                yield file
        else:
            with system.open(path, "rb", block_size=READ_AHEAD_BYTES, cache_type="readahead") as file:
                yield io.BufferedReader(file)  # splits lines in C


@contextlib.contextmanager
def new_file(url: str) -> Iterator[Path]:
    """Yield the path of a temporary file that the block writes; it appears at `url` when the block has ended.

    After an error there is nothing at `url`, or what was there before.

    Raises:
        WriteError: the disk is full, or permissions forbid it.
        StorageError: S3 is out of reach, or refuses.
    """
    if not is_remote(url):
        with new_local_file(Path(url)) as partial:
            yield partial
        return
    with write_errors(url), tempfile.TemporaryDirectory(prefix="batchyield-") as folder:
        yield (written := Path(folder, "written"))
        with storage_errors(url):
            system, path = open_filesystem(url)
            system.put_file(str(written), path)  # S3 shows an object when it is complete


def describe(path: Path) -> WrittenFile:
    """Return md5 and size of a local file."""
    return WrittenFile(md5_of_file(path), path.stat().st_size)


def read_bytes(url: str) -> bytes | None:
    """Return the content of a small file or object, or None if there is none."""
    try:
        with open_file(url) as file:
            return file.read()
    except ConfigError:
        if not is_remote(url) and Path(url).exists():
            raise
        return None


def list_sizes(folder: str) -> dict[str, int]:
    """Return path or URL -> size in bytes of the files in a folder, at any depth; none if there is no such folder."""
    root = folder.rstrip("/")
    if not is_remote(folder):
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        return {f"{root}/{file.relative_to(folder).as_posix()}": file.stat().st_size for file in files}
    with storage_errors(folder):
        system, path = open_filesystem(root)
        found = system.find(path, detail=True)
    return {f"{root}{key.removeprefix(path)}": int(info["size"]) for key, info in found.items()}


def remove(url: str) -> None:
    """Remove a file or an object."""
    if not is_remote(url):
        Path(url).unlink()
        return
    with storage_errors(url):
        system, path = open_filesystem(url)
        system.rm_file(path)
