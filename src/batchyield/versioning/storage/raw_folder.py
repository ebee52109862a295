"""Raw data in a folder: which files its pin names, and how they are pinned, stored and fetched.

DVC keeps the list of the files under the md5 of the pin, and each file under its own. So a file that is added costs one
object, and no version of a file is ever overwritten. The folder is not imported from a source bucket; our storage has
it.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from batchyield.errors import ArtifactError, ConfigError, ConflictError, StorageError
from batchyield.files import folder_list, md5_of, md5_of_file, remove_partial_files, write_atomic
from batchyield.versioning.dvc import dvc
from batchyield.versioning.storage import content_store, remotes, s3_objects
from batchyield.versioning.storage.content_store import FOLDER_SUFFIX

FILE, FOLDER = Path("data/raw/batches.csv"), Path("data/raw/batches")
"""The raw data: one file or a folder of files, whichever dvc.yaml names and DVC pins."""

PIPELINE = Path("dvc.yaml")


class _Member(msgspec.Struct):
    md5: str
    relpath: str


class FilesDiff(msgspec.Struct, frozen=True):
    """Comparison of the files of a folder with those of an earlier pin, by name.

    Attributes:
        count: files now.
        added, changed, removed: names.
    """

    count: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def history_changed(self) -> bool:
        """Whether files that earlier models were trained on are gone or have other bytes."""
        return bool(self.changed or self.removed)

    def describe(self) -> str:
        """Return the comparison in words."""
        lists = (("added", self.added), ("CHANGED", self.changed), ("REMOVED", self.removed))
        parts = [f"{len(names)} {what}: {_listed(names)}" for what, names in lists if names]
        warning = "; the history changed: earlier models were trained on other bytes" if self.history_changed else ""
        return f"{self.count}, {'; '.join(parts) or 'as before'}{warning}"


def _listed(names: tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def pin_of(path: Path) -> Path:
    """Return the `.dvc` file that pins a file or folder."""
    return path.with_name(f"{path.name}.dvc")


def diff_files(before: Mapping[str, str], after: Mapping[str, str]) -> FilesDiff:
    """Compare two folders, each name -> md5."""
    return FilesDiff(
        len(after),
        tuple(name for name in after if name not in before),
        tuple(name for name in after if name in before and before[name] != after[name]),
        tuple(name for name in before if name not in after),
    )


def read_members(root: Path, digest: str) -> dict[str, str]:
    """Return name -> md5 of the files of a pinned folder, from the DVC cache, else from the storage.

    Raises:
        StorageError: neither has the list of the files.
        ArtifactError: it is no such list.
    """
    path = FOLDER.as_posix()
    listed = content_store.read_pinned(root, {path: digest}, f"the pin {digest}")[path]
    content_store.add_to_cache(root, listed, FOLDER_SUFFIX)
    try:
        return {member.relpath: member.md5 for member in msgspec.json.decode(listed, type=list[_Member])}
    except msgspec.MsgspecError as error:
        raise ArtifactError(f"the list of {path}", f"cannot be read: {error}", "`batchyield data audit`") from error


def read_files(root: Path, digest: str) -> dict[str, bytes]:
    """Return name -> bytes of the files of a pinned folder; raises the errors of `read_members`."""
    paths = {(FOLDER / name).as_posix(): md5 for name, md5 in read_members(root, digest).items()}
    found = content_store.read_pinned(root, paths, f"the pin {digest}")
    return {Path(path).name: found[path] for path in paths}


def fetch(root: Path, digest: str, copied: Collection[str] = ()) -> str:
    """Write the files of a pinned folder to the workspace, and return where they came from.

    Files whose md5 is in `copied` have a copy elsewhere, so that they may be replaced.

    Raises:
        StorageError: a file cannot be found.
        ConflictError: the folder has bytes that would be lost.
    """
    members = read_members(root, digest)
    here = hash_files(root / FOLDER)
    require_kept(root, {n: md5 for n, md5 in here.items() if members.get(n) != md5 and md5 not in copied})
    lacking = {(FOLDER / name).as_posix(): md5 for name, md5 in members.items() if here.get(name) != md5}
    cached = all(content_store.cache_path(root, md5).is_file() for md5 in lacking.values())
    for path, data in content_store.read_pinned(root, lacking, f"the pin {digest}").items():
        content_store.add_to_cache(root, data)
        write_atomic(root / path, data)
    for name in here.keys() - members.keys():
        (root / FOLDER / name).unlink()
    for name in members.keys() & here.keys():
        if not content_store.cache_path(root, members[name]).is_file():
            content_store.add_to_cache(root, (root / FOLDER / name).read_bytes())
    if not lacking:
        return "already in the workspace"
    return f"{len(lacking)} of {len(members)} files from the DVC {'cache' if cached else 'storage'}"


def hash_files(folder: Path) -> dict[str, str]:
    """Return name -> md5 of the files in a folder, sorted by name; none if it does not exist."""
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    return {file.name: md5_of_file(file) for file in files}


def require_kept(root: Path, files: Mapping[str, str]) -> None:
    """Check that the DVC cache has a copy of files of the workspace that are about to be replaced.

    Raises:
        ConflictError: it has none of some.
    """
    if lost := [name for name, md5 in files.items() if not content_store.cache_path(root, md5).is_file()]:
        raise ConflictError(
            f"{FOLDER} has {_listed(tuple(lost))}, which its pin does not name and the DVC cache has no copy of",
            f"move them elsewhere and try again; `batchyield data import {FOLDER}` pins the folder as it is",
        )


def pin_files(root: Path, files: Mapping[str, bytes]) -> str:
    """Write the files to the workspace, pin the folder, make it the raw data of dvc.yaml, and return the new md5.

    Raises:
        ConfigError: the folder has hidden files, which DVC would pin too.
        ConflictError: the folder has other bytes that would be lost.
        CommandError: DVC refuses.
    """
    md5s = {name: md5_of(data) for name, data in files.items()}
    for name in files:
        remove_partial_files(root / FOLDER / name)
    here = hash_files(root / FOLDER)
    if hidden := [name for name in here if name.startswith(".")]:
        raise ConfigError(f"{FOLDER} has {', '.join(hidden)}, which DVC would pin too", "move that elsewhere")
    require_kept(root, {name: md5 for name, md5 in here.items() if md5s.get(name) != md5})
    for name, data in files.items():
        if here.get(name) != md5s[name]:
            write_atomic(root / FOLDER / name, data)
    for name in here.keys() - md5s.keys():
        (root / FOLDER / name).unlink()
    dvc("add", FOLDER.as_posix(), cwd=root, quiet=True)
    read_from(root, FOLDER)
    return f"{md5_of(folder_list(md5s))}{FOLDER_SUFFIX}"


def read_from(root: Path, raw: Path) -> None:
    """Make `raw`, the file or the folder, the raw data in dvc.yaml, and remove the other one with its pin.

    Raises:
        ConfigError: dvc.yaml names neither.
        CommandError: DVC refuses.
    """
    other = FILE if raw == FOLDER else FOLDER
    text = (root / PIPELINE).read_text("utf-8")
    changed = text.replace(f"- {other.as_posix()}\n", f"- {raw.as_posix()}\n")
    if f"- {raw.as_posix()}\n" not in changed:
        raise ConfigError(f"no stage of {PIPELINE} reads {other} or {raw}", f"`git checkout {PIPELINE}`")
    if changed != text:
        write_atomic(root / PIPELINE, changed.encode())
    if (root / pin_of(other)).exists():
        dvc("remove", "--outs", pin_of(other).as_posix(), cwd=root, quiet=True)


def mirror(root: Path, files: Mapping[str, bytes]) -> str:
    """Write the files and their list to the storage where DVC would, and return the key of the list.

    What is written is read back and compared. Files that are there already are not read again; `data audit` does that.

    Raises:
        StorageError: the storage cannot be reached, refuses, or returns other bytes.
    """
    storage = remotes.s3_client("storage", root)
    there = s3_objects.list_objects(storage, "storage")
    for name, data in files.items():
        if s3_objects.storage_key(storage, md5_of(data)) not in there:
            content_store.mirror(root, data, (FOLDER / name).as_posix())
    listed = folder_list({name: md5_of(data) for name, data in files.items()})
    return content_store.mirror(root, listed, FOLDER.as_posix(), FOLDER_SUFFIX).key


def read_workspace(root: Path) -> dict[str, bytes]:
    """Return name -> bytes of the files of the workspace's folder.

    Raises:
        StorageError: the folder does not exist.
    """
    if not (root / FOLDER).is_dir():
        raise StorageError(f"{FOLDER} is not there", "`batchyield data fetch`")
    return {name: (root / FOLDER / name).read_bytes() for name in hash_files(root / FOLDER)}
