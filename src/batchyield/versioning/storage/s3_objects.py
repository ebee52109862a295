"""What S3 says of pinned objects: whether they are there, and whether their bytes are the pinned ones."""

import hashlib
from enum import StrEnum
from typing import Any

import msgspec

from batchyield.versioning.storage.remotes import Remote, s3_errors

CHUNK = 1 << 20
ABSENT = {"404", "NoSuchKey", "NoSuchVersion"}
UNTOLD = {"NotImplemented", "MethodNotAllowed", "AccessDenied", "403", "405", "501"}


class Versioning(StrEnum):
    """Whether a bucket keeps what is overwritten or deleted; `off` is also what a server without versions answers."""

    ON = "on"
    SUSPENDED = "suspended"
    OFF = "off"
    UNKNOWN = "unknown"


class ObjectState(StrEnum):
    """What became of a pinned object."""

    INTACT = "intact"
    OLDER = "older version"
    CHANGED = "changed"
    CORRUPT = "corrupt"
    MISSING = "missing"


class SourceStatus(msgspec.Struct, frozen=True):
    """The raw data where they came from.

    Attributes:
        url: of the object.
        versioning: of its bucket.
        state: intact, an older version that the bucket keeps, changed or missing.
        pinned: ETag and size as pinned.
        found: ETag and size of what is there now; empty where nothing is.
        version: id of the version that holds the pinned bytes, where that is known.
    """

    url: str
    versioning: Versioning
    state: ObjectState
    pinned: str
    found: str
    version: str | None = None


class StoredCopy(msgspec.Struct, frozen=True):
    """One pinned file in our storage.

    Attributes:
        path: in the workspace.
        md5: as pinned.
        key: of the object.
        state: intact, corrupt or missing.
        found: md5 and size of a corrupt object.
    """

    path: str
    md5: str
    key: str
    state: ObjectState
    found: str = ""


class Orphan(msgspec.Struct, frozen=True):
    """An object of our storage that no lock names; size in bytes."""

    key: str
    size: int


def read_versioning(remote: Remote) -> Versioning:
    """Whether the remote's bucket keeps versions; unknown where the server or its policy does not say."""
    from botocore.exceptions import ClientError

    try:
        told = remote.client.get_bucket_versioning(Bucket=remote.bucket)
    except ClientError as error:
        if error.response["Error"].get("Code") in UNTOLD:
            return Versioning.UNKNOWN
        raise
    return {"Enabled": Versioning.ON, "Suspended": Versioning.SUSPENDED}.get(told.get("Status"), Versioning.OFF)


def check_source(
    remote: Remote, name: str, path: str, etag: str, size: int | None, version: str | None
) -> SourceStatus:
    """Lays the source object beside its pin.

    Args:
        remote: that holds it.
        name: of the remote, for messages.
        path: in the remote.
        etag: as pinned, without quotes.
        size: as pinned, in bytes.
        version: id as pinned, where the pin has one; no other version will do then.
    """
    with s3_errors(name):
        kept = read_versioning(remote)
        which = {"VersionId": version} if version else {}
        now = _asked(remote.client.head_object, Bucket=remote.bucket, Key=remote.key(path), **which)
        state, found = ObjectState.MISSING, ""
        if now is not None:
            found = _said(_bare(now), now["ContentLength"])
            same = _bare(now) == etag and size in (None, now["ContentLength"])
            state = ObjectState.INTACT if same else ObjectState.CHANGED
        if state is ObjectState.INTACT and now:
            version = version or now.get("VersionId")
        elif not version and kept in (Versioning.ON, Versioning.SUSPENDED):  # DVC asks for a pinned version alone
            version = _version(remote, path, etag)
            state = ObjectState.OLDER if version else state
    return SourceStatus(remote.url(path), kept, state, _said(etag, size), found, version)


def check_copy(remote: Remote, name: str, path: str, md5: str) -> StoredCopy:
    """Downloads one pinned object in chunks and says whether its bytes have the pinned md5."""
    key = storage_key(remote, md5)
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with s3_errors(name):
        answer = _asked(remote.client.get_object, Bucket=remote.bucket, Key=key)
        if answer is None:
            return StoredCopy(path, md5, key, ObjectState.MISSING)
        for chunk in answer["Body"].iter_chunks(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    if digest.hexdigest() == md5.removesuffix(".dir"):
        return StoredCopy(path, md5, key, ObjectState.INTACT)
    return StoredCopy(path, md5, key, ObjectState.CORRUPT, f"md5 {digest.hexdigest()}, {size} bytes")


def read_object(remote: Remote, name: str, key: str, version: str | None = None) -> bytes | None:
    """An object's bytes; None where there is no such object.

    Raises:
        SetupError: the remote `name` does not answer, refuses, or breaks off.
    """
    with s3_errors(name):
        which = {"VersionId": version} if version else {}
        answer = _asked(remote.client.get_object, Bucket=remote.bucket, Key=key, **which)
        return None if answer is None else bytes(answer["Body"].read())


def write_object(remote: Remote, name: str, key: str, data: bytes) -> str | None:
    """Puts an object and returns the id of its version, where the bucket keeps versions.

    Raises:
        SetupError: the remote `name` does not answer, or refuses.
    """
    with s3_errors(name):
        told = remote.client.put_object(Bucket=remote.bucket, Key=key, Body=data).get("VersionId")
        return None if told is None else str(told)


def list_members(remote: Remote, name: str, folder: StoredCopy) -> list[tuple[str, str]]:
    """Path and md5 of each file of an output that is a folder; none where `folder` is a file or not intact."""
    if not folder.md5.endswith(".dir") or folder.state is not ObjectState.INTACT:
        return []
    with s3_errors(name):
        listed = remote.client.get_object(Bucket=remote.bucket, Key=folder.key)["Body"].read()
    return [(f"{folder.path}/{file['relpath']}", file["md5"]) for file in msgspec.json.decode(listed)]


def list_objects(remote: Remote, name: str) -> dict[str, int]:
    """Every object of the remote: key -> size in bytes, in the order of the keys."""
    pages = remote.client.get_paginator("list_objects_v2")
    with s3_errors(name):
        found = {
            item["Key"]: int(item["Size"])
            for page in pages.paginate(Bucket=remote.bucket, Prefix=remote.key(""))
            for item in page.get("Contents", ())
        }
    return dict(sorted(found.items()))


def storage_key(remote: Remote, md5: str) -> str:
    """The key under which DVC 3 stores a file of that md5."""
    return remote.key(f"files/md5/{md5[:2]}/{md5[2:]}")


def _asked(call: Any, **question: str) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError

    try:
        answer: dict[str, Any] = call(**question)
    except ClientError as error:
        code = error.response["Error"].get("Code")
        if code in ABSENT or (code == "400" and "VersionId" in question):  # AWS: an id that never was one of its own
            return None
        raise
    return answer


def _version(remote: Remote, path: str, etag: str) -> str | None:
    pages = remote.client.get_paginator("list_object_versions")
    for page in pages.paginate(Bucket=remote.bucket, Prefix=remote.key(path)):
        for item in page.get("Versions", ()):
            if item["Key"] == remote.key(path) and _bare(item) == etag:
                return str(item["VersionId"])
    return None


def _bare(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')


def _said(etag: str, size: int | None) -> str:
    return f"ETag {etag}" if size is None else f"ETag {etag}, {size} bytes"
