"""Bytes by their md5 where a copy of them may be: the DVC cache and our storage. Every copy is hashed before use."""

from collections.abc import Mapping
from pathlib import Path

from batchyield.errors import ArtifactError, SetupError
from batchyield.files import md5_of, md5_of_file, write_atomic
from batchyield.versioning.storage import remotes, s3_objects
from batchyield.versioning.storage.s3_objects import ObjectState, StoredCopy


def read_cached(root: Path, digest: str) -> bytes | None:
    """The bytes from the DVC cache; None where it has none. A corrupt copy is removed, as DVC does where it looks."""
    file = cache_path(root, digest)
    if not file.is_file():
        return None
    if md5_of_file(file) != digest:
        file.unlink()
        return None
    return file.read_bytes()


def add_to_cache(root: Path, data: bytes) -> None:
    """Puts bytes into the DVC cache, so that `dvc push` and `dvc checkout` find them."""
    file = cache_path(root, md5_of(data))
    if read_cached(root, md5_of(data)) is None:
        write_atomic(file, data)
        file.chmod(0o444)  # as DVC protects what is in its cache


def remove_corrupt(root: Path, pinned: dict[str, str]) -> list[str]:
    """Removes corrupt files from the DVC cache, and from the workspace what was checked out of them.

    DVC takes a read-only file in its cache for what its name says. Once it is gone, `dvc repro` and `dvc pull` bring it
    anew.

    Args:
        root: the checkout.
        pinned: path in the workspace -> md5.

    Returns:
        The paths whose cached file was corrupt.
    """
    found = []
    for path, digest in pinned.items():
        copy, here = cache_path(root, digest), root / path
        if copy.is_file() and (spoilt := md5_of_file(copy)) != digest:
            if here.is_file() and md5_of_file(here) == spoilt:
                here.unlink()
            copy.unlink()
            found.append(path)
    return found


def read_pinned(root: Path, pinned: Mapping[str, str], revision: str) -> dict[str, bytes]:
    """Pinned files' bytes, from the DVC cache where it has them, else from our storage, which is started once for all.

    Args:
        root: the checkout.
        pinned: path -> md5.
        revision: that pins them, for messages.

    Raises:
        SetupError: neither has one, or the storage does not answer.
        ArtifactError: the storage has other bytes.
    """
    have = {path: data for path, digest in pinned.items() if (data := read_cached(root, digest)) is not None}
    if lacking := {path: digest for path, digest in pinned.items() if path not in have}:
        try:
            with remotes.started(root):
                have |= {path: _stored(root, digest, path) for path, digest in lacking.items()}
        except SetupError as error:
            raise SetupError(
                f"the DVC cache lacks {', '.join(lacking)} of {revision}, and the storage did not give it: {error}",
                "`dvc push` where it was built brings it there; or build it here: `dvc repro` in a checkout of it",
            ) from error
    return have


def _stored(root: Path, digest: str, path: str) -> bytes:
    data = read_stored(root, digest, path)
    if data is None:
        raise SetupError(f"it has no {path}", f"its md5 is {digest}")
    return data


def read_stored(root: Path, digest: str, path: str) -> bytes | None:
    """The bytes from our storage; None where it has none.

    Args:
        root: the checkout.
        digest: their md5.
        path: of their file in the workspace, for messages.

    Raises:
        SetupError: the storage does not answer.
        ArtifactError: its copy is corrupt.
    """
    storage = remotes.s3_client("storage", root)
    data = s3_objects.read_object(storage, "storage", s3_objects.storage_key(storage, digest))
    if data is not None and md5_of(data) != digest:
        raise ArtifactError(
            storage.url(s3_objects.storage_key(storage, digest)),
            f"is corrupt, it has md5 {md5_of(data)} and is not the pinned {path}",
            "`batchyield data audit` tells what else is damaged; delete that object, and where the file is at hand "
            "`dvc push`, or for the raw data `batchyield data mirror`, mends it",
        )
    return data


def mirror(root: Path, data: bytes, path: str) -> StoredCopy:
    """Keeps bytes in our storage where DVC would, and reads them back.

    DVC itself never pushes an import that is pinned by version (`push: false`): it trusts the bucket to keep it.

    Args:
        root: the checkout.
        data: the bytes.
        path: of their file in the workspace, for messages.

    Raises:
        SetupError: the storage does not answer, refuses, or gives back other bytes.
    """
    storage = remotes.s3_client("storage", root)
    made = s3_objects.check_copy(storage, "storage", path, md5_of(data))
    if made.state is not ObjectState.INTACT:
        s3_objects.write_object(storage, "storage", made.key, data)
        made = s3_objects.check_copy(storage, "storage", path, made.md5)
    if made.state is not ObjectState.INTACT:
        raise SetupError(
            f"{storage.url()} does not give back what was put there: {made.key} is {made.state} {made.found}".rstrip(),
            "repair the storage (`batchyield data audit` lists what else is wrong), then run the same command again",
        )
    return made


def cache_path(root: Path, digest: str) -> Path:
    """Where the DVC cache has the file of that md5, if it has it."""
    return remotes.cache_dir(root) / "files/md5" / digest[:2] / digest[2:]
