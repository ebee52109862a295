"""dvc.lock read as what it is, a list of files and their hashes, with no need of DVC."""

from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ArtifactError


class LockedFile(msgspec.Struct, frozen=True):
    """A file that a stage read or wrote, by content."""

    path: str
    md5: str
    size: int | None = None


class LockedStage(msgspec.Struct, frozen=True):
    """One stage as it last ran: its command, and what went in and out."""

    cmd: str
    deps: tuple[LockedFile, ...] = ()
    params: dict[str, Any] = {}
    outs: tuple[LockedFile, ...] = ()


class DvcLock(msgspec.Struct, frozen=True):
    """The whole pin."""

    stages: dict[str, LockedStage]

    def outs(self) -> dict[str, tuple[str, str]]:
        """Every output: path -> (stage, md5), in pipeline order."""
        return {out.path: (name, out.md5) for name, stage in self.stages.items() for out in stage.outs}

    def entries(self) -> list[LockedFile]:
        """Return every output, then every input, of all stages."""
        stages = self.stages.values()
        return [out for stage in stages for out in stage.outs] + [dep for stage in stages for dep in stage.deps]


def parse_lock(data: bytes | str, name: str = "dvc.lock") -> DvcLock:
    """Reads the text of a dvc.lock.

    Raises:
        ArtifactError: it is not one.
    """
    try:
        return msgspec.yaml.decode(data, type=DvcLock)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ArtifactError(name, f"is not a readable DVC lock: {error}", "run `git checkout dvc.lock`") from error


def read_lock(path: Path) -> DvcLock:
    """Reads a dvc.lock file.

    Raises:
        ArtifactError: it is missing or not readable as a lock.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(str(path), f"cannot be read: {error.strerror}", "run `git checkout dvc.lock`") from error
    return parse_lock(data, str(path))
