"""Check, read and write S3 objects: whether they exist, and whether their bytes are the pinned ones."""

import hashlib
from enum import StrEnum
from typing import Any

import msgspec

from batchyield.versioning.storage.remotes import Remote, s3_errors

CHUNK_BYTES = 1 << 20
ABSENT = {"404", "NoSuchKey", "NoSuchVersion"}
UNSUPPORTED = {"NotImplemented", "MethodNotAllowed", "AccessDenied", "403", "405", "501"}


class Versioning(StrEnum):
    """Versioning of a bucket; a server without this feature answers `off`."""

    ON = "on"
    SUSPENDED = "suspended"
    OFF = "off"
    UNKNOWN = "unknown"


class ObjectState(StrEnum):
    """State of a pinned object."""

    INTACT = "intact"
    OLDER = "older version"
    CHANGED = "changed"
    CORRUPT = "corrupt"
    MISSING = "missing"


class SourceStatus(msgspec.Struct, frozen=True):
    """State of the source object of the raw data.

    Attributes:
        pinned: ETag and size as pinned.
        found: ETag and size of the current object; empty if there is none.
        version: id of the version that has the pinned bytes, if known.
    """

    url: str
    versioning: Versioning
    state: ObjectState
    pinned: str
    found: str
    version: str | None = None


class StoredCopy(msgspec.Struct, frozen=True):
    """State of one pinned file in the storage; `found` has the md5 and size of a corrupt object."""

    path: str
    md5: str
    key: str
    state: ObjectState
    found: str = ""


class Orphan(msgspec.Struct, frozen=True):
    """An object of the storage that no lock pins; size in bytes."""

    key: str
    size: int


def read_versioning(remote: Remote) -> Versioning:
    """Return the versioning of the remote's bucket; UNKNOWN if the server or its policy does not answer."""
    from botocore.exceptions import ClientError

    try:
        answer = remote.client.get_bucket_versioning(Bucket=remote.bucket)
    except ClientError as error:
        if error.response["Error"].get("Code") in UNSUPPORTED:
            return Versioning.UNKNOWN
        raise
    return {"Enabled": Versioning.ON, "Suspended": Versioning.SUSPENDED}.get(answer.get("Status"), Versioning.OFF)


def check_copy(remote: Remote, name: str, path: str, md5: str) -> StoredCopy:
    """Download a pinned object in chunks and compare its md5 with the pin.

    Raises:
        StorageError: the remote cannot be reached, or refuses.
    """
    key = storage_key(remote, md5)
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with s3_errors(name):
        answer = call(remote.client.get_object, Bucket=remote.bucket, Key=key)
        if answer is None:
            return StoredCopy(path, md5, key, ObjectState.MISSING)
        for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    if digest.hexdigest() == md5.removesuffix(".dir"):
        return StoredCopy(path, md5, key, ObjectState.INTACT)
    return StoredCopy(path, md5, key, ObjectState.CORRUPT, f"md5 {digest.hexdigest()}, {size} bytes")


def read_object(remote: Remote, name: str, key: str, version: str | None = None) -> bytes | None:
    """Return the bytes of an object, or None if there is no such object.

    Raises:
        StorageError: the remote `name` cannot be reached, refuses, or closes the connection early.
    """
    with s3_errors(name):
        which = {"VersionId": version} if version else {}
        answer = call(remote.client.get_object, Bucket=remote.bucket, Key=key, **which)
        return None if answer is None else bytes(answer["Body"].read())


def write_object(remote: Remote, name: str, key: str, data: bytes) -> str | None:
    """Write an object and return its version id, or None if the bucket keeps no versions.

    Raises:
        StorageError: the remote `name` cannot be reached, or refuses.
    """
    with s3_errors(name):
        version = remote.client.put_object(Bucket=remote.bucket, Key=key, Body=data).get("VersionId")
        return None if version is None else str(version)


def list_members(remote: Remote, name: str, folder: StoredCopy) -> list[tuple[str, str]]:
    """Return path and md5 of each file of an output folder; an empty list if `folder` is a file or not intact."""
    if not folder.md5.endswith(".dir") or folder.state is not ObjectState.INTACT:
        return []
    with s3_errors(name):
        listed = remote.client.get_object(Bucket=remote.bucket, Key=folder.key)["Body"].read()
    return [(f"{folder.path}/{file['relpath']}", file["md5"]) for file in msgspec.json.decode(listed)]


def list_objects(remote: Remote, name: str) -> dict[str, int]:
    """Return key -> size in bytes of all objects of the remote, sorted by key."""
    pages = remote.client.get_paginator("list_objects_v2")
    with s3_errors(name):
        sizes = {
            item["Key"]: int(item["Size"])
            for page in pages.paginate(Bucket=remote.bucket, Prefix=remote.key(""))
            for item in page.get("Contents", ())
        }
    return dict(sorted(sizes.items()))


def storage_key(remote: Remote, md5: str) -> str:
    """Return the key under which DVC 3 stores a file with that md5."""
    return remote.key(f"files/md5/{md5[:2]}/{md5[2:]}")


def call(operation: Any, **arguments: str) -> dict[str, Any] | None:
    """Call a method of botocore's client; return its answer, or None if there is no such object or version."""
    from botocore.exceptions import ClientError

    try:
        answer: dict[str, Any] = operation(**arguments)
    except ClientError as error:
        code = error.response["Error"].get("Code")
        if code in ABSENT or (code == "400" and "VersionId" in arguments):  # AWS: an id that never was one of its own
            return None
        raise
    return answer
