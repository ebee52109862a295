"""Reads dvc.lock, the list of a pipeline's files and their hashes, without DVC."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ArtifactError, ConflictError


class LockedFile(msgspec.Struct, frozen=True):
    """A file or folder that a stage read or wrote, with its md5 and size in bytes."""

    path: str
    md5: str
    size: int | None = None


class LockedStage(msgspec.Struct, frozen=True):
    """One stage as it last ran: command, dependencies, parameters and outputs."""

    cmd: str
    deps: tuple[LockedFile, ...] = ()
    params: dict[str, Any] = {}
    outs: tuple[LockedFile, ...] = ()


class DvcLock(msgspec.Struct, frozen=True):
    """The content of dvc.lock."""

    stages: dict[str, LockedStage]

    def outs(self) -> dict[str, tuple[str, str]]:
        """Return every output, in pipeline order: path -> (stage, md5)."""
        return {out.path: (name, out.md5) for name, stage in self.stages.items() for out in stage.outs}

    def entries(self) -> list[LockedFile]:
        """Return every output, then every dependency, of all stages."""
        stages = self.stages.values()
        return [out for stage in stages for out in stage.outs] + [dep for stage in stages for dep in stage.deps]


@lru_cache(maxsize=1)  # a start reads the same lock for the pins and for the bias update
def parse_lock(data: bytes | str, name: str = "dvc.lock") -> DvcLock:
    """Parse the text of a dvc.lock, which errors call `name`.

    Raises:
        ArtifactError: it is not a lock.
        ConflictError: it has git's conflict markers.
    """
    try:
        return msgspec.yaml.decode(data, type=DvcLock)
    except (msgspec.MsgspecError, ValueError) as error:
        raise_if_conflict(data, name)
        raise ArtifactError(name, f"is not a readable DVC lock: {error}", "run `git checkout dvc.lock`") from error


def raise_if_conflict(
    data: bytes | str,
    name: str,
    cause: str = "two branches built other models",
    remedy: str = "solve the conflicts in conf/ and src/, then `batchyield review resolve` rebuilds and stages it",
) -> None:
    """Raise ConflictError if a file has git's conflict markers; `cause` and `remedy` are for one that a rebuild writes.

    Args:
        data: content of the file.
        name: what the error calls it.
    """
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    if any(line.startswith("<<<<<<< ") for line in text.splitlines()):
        raise ConflictError(f"{name} has git's conflict markers: {cause}", remedy)


def read_lock(path: Path) -> DvcLock:
    """Read a dvc.lock file; raise ArtifactError if it is missing or is not one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(str(path), f"cannot be read: {error.strerror}", "run `git checkout dvc.lock`") from error
    return parse_lock(data, str(path))
