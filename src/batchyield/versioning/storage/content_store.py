"""Read and write pinned bytes by md5 in the DVC cache and the storage. Every copy is hashed before use."""

from collections.abc import Mapping
from pathlib import Path

from batchyield.errors import ArtifactError, BatchyieldError, StorageError
from batchyield.files import md5_of, md5_of_file, write_atomic
from batchyield.versioning.storage import remotes, s3_objects
from batchyield.versioning.storage.s3_objects import ObjectState, StoredCopy

FOLDER_SUFFIX = ".dir"
"""End of the md5 of a folder: that of the list of its files."""


def read_cached(root: Path, digest: str) -> bytes | None:
    """Return the bytes from the DVC cache, or None if it has no intact copy; a corrupt copy is removed."""
    file = cache_path(root, digest)
    if not file.is_file():
        return None
    if md5_of_file(file) != digest.removesuffix(FOLDER_SUFFIX):
        file.unlink()
        return None
    return file.read_bytes()


def add_to_cache(root: Path, data: bytes, suffix: str = "") -> None:
    """Write bytes to the DVC cache, so that `dvc push` and `dvc checkout` find them; `suffix` is that of their md5."""
    digest = md5_of(data) + suffix
    file = cache_path(root, digest)
    if read_cached(root, digest) is None:
        write_atomic(file, data)
        file.chmod(0o444)  # as DVC protects what is in its cache


def read_pinned(root: Path, pinned: Mapping[str, str], revision: str) -> dict[str, bytes]:
    """Return pinned files, from the DVC cache, else from the storage; an embedded storage is started once for all.

    Args:
        root: the checkout.
        pinned: path -> md5.
        revision: that pins them, for messages.

    Raises:
        StorageError: neither has a file, or the storage cannot be reached.
        ArtifactError: the storage has other bytes.
    """
    files = {path: data for path, digest in pinned.items() if (data := read_cached(root, digest)) is not None}
    if lacking := {path: digest for path, digest in pinned.items() if path not in files}:
        try:
            with remotes.started(root):
                for path, digest in lacking.items():
                    if (data := read_stored(root, digest, path)) is None:
                        raise StorageError(f"it has no {path}", f"its md5 is {digest}")
                    files[path] = data
        except ArtifactError:
            raise
        except BatchyieldError as error:
            raise StorageError(
                f"the DVC cache lacks {', '.join(lacking)} of {revision}, and so does the storage: {error}",
                "run `dvc push` where it was built, or rebuild it: `dvc repro` in a checkout of that revision",
            ) from error
    return files


def read_stored(root: Path, digest: str, path: str) -> bytes | None:
    """Return the bytes with that md5 from the storage, or None if it has no copy; messages name `path`.

    Raises:
        StorageError: the storage cannot be reached, or refuses.
        ArtifactError: its copy is corrupt.
    """
    storage = remotes.s3_client("storage", root)
    data = s3_objects.read_object(storage, "storage", s3_objects.storage_key(storage, digest))
    if data is not None and md5_of(data) != digest.removesuffix(FOLDER_SUFFIX):
        raise ArtifactError(
            storage.url(s3_objects.storage_key(storage, digest)),
            f"is corrupt, it has md5 {md5_of(data)} and is not the pinned {path}",
            "`batchyield data audit` lists what else is damaged; delete that object, then run, where the file is, "
            "`dvc push`, or `batchyield data mirror` for the raw data",
        )
    return data


def mirror(root: Path, data: bytes, path: str, suffix: str = "") -> StoredCopy:
    """Write bytes to the storage where DVC would, and verify them by reading them back.

    DVC itself never pushes an import that is pinned by version (`push: false`); it relies on the source bucket.
    `path` is that of their file in the workspace, for messages; `suffix` is that of their md5.

    Raises:
        StorageError: the storage cannot be reached, refuses, or returns other bytes.
    """
    storage = remotes.s3_client("storage", root)
    copy = s3_objects.check_copy(storage, "storage", path, md5_of(data) + suffix)
    if copy.state is not ObjectState.INTACT:
        s3_objects.write_object(storage, "storage", copy.key, data)
        copy = s3_objects.check_copy(storage, "storage", path, copy.md5)
    if copy.state is not ObjectState.INTACT:
        raise StorageError(
            f"{storage.url()} does not return what was written: {copy.key} is {copy.state} {copy.found}".rstrip(),
            "repair the storage (`batchyield data audit` lists what else is wrong), then run the same command again",
        )
    return copy


def cache_path(root: Path, digest: str) -> Path:
    """Return the path of the file with that md5 in the DVC cache, whether or not it exists."""
    return remotes.cache_dir(root) / "files/md5" / digest[:2] / digest[2:]
