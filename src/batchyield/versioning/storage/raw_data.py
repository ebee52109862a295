"""The raw data: read their pin, compare it with the source, and fetch the pinned bytes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ArtifactError, BatchyieldError, ConfigError, ConflictError, StorageError
from batchyield.files import md5_of, md5_of_file, write_atomic
from batchyield.plant.csv_reader import join_files
from batchyield.serving.lockfile import LockedFile, raise_if_conflict, read_lock
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.revisions import read_text_at
from batchyield.versioning.storage import content_store, embedded_s3, raw_folder, remotes, s3_objects
from batchyield.versioning.storage.content_store import FOLDER_SUFFIX
from batchyield.versioning.storage.raw_folder import FILE, FOLDER, pin_of
from batchyield.versioning.storage.s3_objects import ObjectState, SourceStatus, Versioning

DATA, PIN = FILE, pin_of(FILE)
KEY = "raw/batches.csv"
PATHS = (FILE.as_posix(), FOLDER.as_posix())
PINS = (PIN, pin_of(FOLDER))


class Import(msgspec.Struct, frozen=True):
    """The dep of a `.dvc` file: an S3 object by ETag or version."""

    path: str
    etag: str
    size: int | None = None
    version_id: str | None = None


class Pin(msgspec.Struct, frozen=True):
    """A `.dvc` file of the raw data: it imports one object, or pins a folder, which has no deps."""

    outs: tuple[LockedFile]
    deps: tuple[Import, ...] = ()

    @property
    def md5(self) -> str:
        """Md5 of the pinned bytes."""
        return self.outs[0].md5

    @property
    def is_folder(self) -> bool:
        """Whether it pins a folder."""
        return self.md5.endswith(FOLDER_SUFFIX)

    @property
    def data(self) -> Path:
        """The file or folder that it pins."""
        return FOLDER if self.is_folder else FILE

    @property
    def location(self) -> tuple[str, str]:
        """The DVC remote that a file is imported from, and the path in the remote."""
        if self.is_folder:
            return "source", KEY
        name, _, path = self.deps[0].path.removeprefix("remote://").partition("/")
        return name, path


def parse_pin(text: bytes | str) -> Pin:
    """Return the pin in the text of a `.dvc` file.

    Raises:
        ArtifactError: it pins no object.
        ConflictError: it has git's conflict markers.
        ConfigError: the pinned object is not in a DVC remote.
    """
    try:
        pin = msgspec.yaml.decode(text, type=Pin)
    except (msgspec.MsgspecError, ValueError) as error:
        choice = f"choose one: `git checkout --ours {PIN}` or `git checkout --theirs {PIN}`, then `git add {PIN}`"
        raise_if_conflict(text, str(PIN), "two branches pinned other raw data", choice)
        raise ArtifactError(str(PIN), f"pins no S3 object: {error}", f"`git checkout {PIN}`") from error
    if pin.is_folder:
        return pin
    if len(pin.deps) != 1:
        raise ArtifactError(str(PIN), f"pins no S3 object: it has {len(pin.deps)} deps", f"`git checkout {PIN}`")
    if not pin.deps[0].path.startswith("remote://"):
        raise ConfigError(
            f"{PIN} imports {pin.deps[0].path}", "import it from a DVC remote: remote://source/raw/batches.csv"
        )
    return pin


def read_pin(root: Path = Path()) -> Pin:
    """Return the pin of a checkout.

    Raises:
        ArtifactError, ConfigError: as `parse_pin`; also if the file cannot be read, or both forms are pinned.
    """
    if all((root / path).exists() for path in PINS):
        raise ConfigError(
            f"{' and '.join(map(str, PINS))} both pin raw data", "remove the one that dvc.yaml does not name"
        )
    path = PIN if not (root / PINS[1]).exists() else PINS[1]
    try:
        return parse_pin((root / path).read_bytes())
    except OSError as error:
        raise ArtifactError(str(PIN), f"cannot be read: {error.strerror}", f"`git checkout {PIN}`") from error


def read_pin_at(revision: str, root: Path = Path()) -> Pin | None:
    """Return the pin of a revision; None if it has none. Raises the errors of `parse_pin`."""
    texts = (read_text_at(revision, path, root) for path in PINS)
    return next((parse_pin(text) for text in texts if text is not None), None)


def check_source(root: Path, pin: Pin) -> SourceStatus:
    """Compare the source object with its pin; if the pin has a version id, only that version counts, as for DVC.

    Raises:
        StorageError: the remote cannot be reached, or refuses.
    """
    (name, path), dep = pin.location, pin.deps[0]
    remote, version = remotes.s3_client(name, root), dep.version_id
    with remotes.s3_errors(name):
        kept = s3_objects.read_versioning(remote)
        which = {"VersionId": version} if version else {}
        now = s3_objects.call(remote.client.head_object, Bucket=remote.bucket, Key=remote.key(path), **which)
        state, found = ObjectState.MISSING, ""
        if now is not None:
            found = _describe(_etag(now), now["ContentLength"])
            same = _etag(now) == dep.etag and dep.size in (None, now["ContentLength"])
            state = ObjectState.INTACT if same else ObjectState.CHANGED
        if state is ObjectState.INTACT and now:
            version = version or now.get("VersionId")
        elif not version and kept in (Versioning.ON, Versioning.SUSPENDED):  # DVC requests only the pinned version
            version = _version(remote, path, dep.etag)
            state = ObjectState.OLDER if version else state
    return SourceStatus(remote.url(path), kept, state, _describe(dep.etag, dep.size), found, version)


def _version(remote: remotes.Remote, path: str, etag: str) -> str | None:
    pages = remote.client.get_paginator("list_object_versions")
    for page in pages.paginate(Bucket=remote.bucket, Prefix=remote.key(path)):
        for item in page.get("Versions", ()):
            if item["Key"] == remote.key(path) and _etag(item) == etag:
                return str(item["VersionId"])
    return None


def _etag(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')


def _describe(etag: str, size: int | None) -> str:
    return f"ETag {etag}" if size is None else f"ETag {etag}, {size} bytes"


def fetch(root: Path = Path()) -> str:
    """Write the pinned raw data to the workspace, and return where they came from.

    The DVC cache and the storage come before the source, whose object may have changed since it was pinned. Only bytes
    with the pinned md5 are accepted. The pin does not change.

    Raises:
        StorageError: the pinned bytes cannot be found.
        ConflictError: the workspace file is the only copy of its bytes, and would be lost.
    """
    pin = read_pin(root)
    if pin.is_folder:
        return raw_folder.fetch(root, pin.md5)
    if not is_current(root, pin.md5):
        data, origin = _read(root, pin)
        content_store.add_to_cache(root, data)
        write_atomic(root / DATA, data)
        return origin
    content_store.add_to_cache(root, (root / DATA).read_bytes())
    return "already in the workspace"


def clean_cache(root: Path = Path()) -> list[str]:
    """Remove corrupt pinned files from the DVC cache, and their copies in the workspace; return a message for each.

    DVC does not hash a read-only file of its cache. Once it is removed, `dvc repro` and `dvc pull` restore it.
    """
    outputs = {path: digest for path, (_, digest) in read_lock(root / LOCK).outs().items()}
    pin = read_pin(root)
    messages = []
    for path, digest in ({pin.data.as_posix(): pin.md5} | _cached_members(root, pin) | outputs).items():
        cached, here = content_store.cache_path(root, digest), root / path
        if cached.is_file() and (actual := md5_of_file(cached)) != digest.removesuffix(FOLDER_SUFFIX):
            if here.is_file() and md5_of_file(here) == actual:
                here.unlink()
            cached.unlink()
            problem = "was corrupt in the DVC cache and is removed: `dvc repro` rebuilds it, `dvc pull` fetches it"
            messages.append(f"{path} {problem}")
    return messages


def _cached_members(root: Path, pin: Pin) -> dict[str, str]:
    """Return path -> md5 of the files of a pinned folder, if the cache has an intact list of them."""
    listed = content_store.cache_path(root, pin.md5)
    if not pin.is_folder or not listed.is_file() or md5_of_file(listed) != pin.md5.removesuffix(FOLDER_SUFFIX):
        return {}
    return {(FOLDER / name).as_posix(): md5 for name, md5 in raw_folder.read_members(root, pin.md5).items()}


def read_pinned(root: Path, pin: Pin) -> bytes:
    """Return the pinned raw data, from the DVC cache or the storage; the files of a folder joined into one.

    Raises:
        StorageError: neither has them, or the storage cannot be reached.
        ArtifactError: the storage has other bytes.
        InputError: a file of a folder cannot be split into cells.
    """
    if pin.is_folder:
        return join_files(raw_folder.read_files(root, pin.md5).values())
    return content_store.read_pinned(root, {DATA.as_posix(): pin.md5}, f"the pin {pin.md5}")[DATA.as_posix()]


def is_current(root: Path, digest: str) -> bool:
    """Return whether the workspace file has this md5; if not, it may be overwritten.

    Raises:
        ConflictError: it has other bytes, and is their only copy.
    """
    file = root / DATA
    if not file.exists():
        return False
    md5 = md5_of_file(file)
    if md5 != digest and content_store.read_cached(root, md5) is None:
        raise ConflictError(
            f"{DATA} has md5 {md5}, {PIN} pins {digest}, and the DVC cache has no copy of the former",
            f"move {DATA} away and try again; `batchyield data import FILE` makes a file the pinned one",
        )
    return md5 == digest


def _read(root: Path, pin: Pin) -> tuple[bytes, str]:
    if (data := content_store.read_cached(root, pin.md5)) is not None:
        return data, "from the DVC cache"
    problems = ["the DVC storage has no copy"]
    try:
        if (data := content_store.read_stored(root, pin.md5, DATA.as_posix())) is not None:
            return data, "from the DVC storage"
    except BatchyieldError as error:
        problems = [str(error)]
    try:
        return _read_source(root, pin), "from the source bucket"
    except BatchyieldError as error:
        problems.append(str(error))
    if md5_of(sample := _simulate(root)) == pin.md5:
        server = remotes.embedded_server(root=root) if "source" in remotes.embedded_remotes(root) else None
        if server and embedded_s3.is_healthy(server) and not embedded_s3.has_object(server, KEY):
            embedded_s3.put_object(server, KEY, sample)
        return sample, "generated: they are the sample plant's"
    reasons = "".join(f"\n- {problem}" for problem in problems)
    raise StorageError(
        f"the raw data that {PIN} pins, md5 {pin.md5}, cannot be fetched:{reasons}",
        "correct one of these and run the same command again; a checkout that has them can `batchyield data mirror`",
    )


def _simulate(root: Path) -> bytes:
    """Return the sample plant's file as the code of the checkout at `root` makes it; empty if it cannot."""
    command = [sys.executable, "-m", "batchyield.cli", "data", "simulate"]
    environment = os.environ | {"PYTHONPATH": str(root.resolve() / "src")}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True).stdout  # noqa: S603 - our own code


def _read_source(root: Path, pin: Pin) -> bytes:
    (name, path), status = pin.location, check_source(root, pin)
    remote = remotes.s3_client(name, root)
    if status.state in (ObjectState.INTACT, ObjectState.OLDER):
        data = s3_objects.read_object(remote, name, remote.key(path), status.version)
        if data is not None and md5_of(data) == pin.md5:
            return data
        problem = f"sent {len(data or b'')} bytes that are not the pinned ones"
        raise StorageError(f"{status.url} {problem}", "`batchyield data audit` lists what is wrong there")
    problem = f"is no longer the object that {PIN} pins: it has {status.found}" if status.found else "does not exist"
    which = f" in version {status.version}" if status.version else ""
    raise StorageError(
        f"{status.url}{which} {problem}",
        "`batchyield data import FILE` pins another file; `batchyield data demo` fills an empty embedded bucket",
    )
