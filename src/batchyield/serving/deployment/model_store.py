"""Store of deployed models: the desired state that every worker watches, the history, and the models' files.

The directory is self-contained, so it can be moved or mounted:

    desired.json    which models should serve; written atomically by `batchyield deploy`
    serving.json    the last known good deployment, for a worker that starts
    history.json    deployments that served before, latest last, for `batchyield deploy rollback`
    models/         the artifacts of all these
    workers/        status of each worker
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from batchyield.errors import ArtifactError
from batchyield.files import md5_of, md5_of_file, sync_folder, write_atomic
from batchyield.serving.artifact import FILES, MODEL, canonical_json, read_pinned_file

DEFAULT_MODELS_DIRECTORY = ".serving"

PINS_FILE = "pins.json"
"""File beside a fetched model: md5 of each of its files, its commit and its version."""

Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+@/-]{1,100}$")]
"""Text that is safe in an HTTP response header."""

FileVersion = tuple[int, int, int]
"""Modification time in nanoseconds, size in bytes and inode of a file."""


class Deployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pinned model and its location.

    Attributes:
        directory: of its four files, relative to `models/`; absolute for the workspace's model, pinned by dvc.lock.
        pins: file name -> md5.
        revision: commit whose dvc.lock pins the model.
        version: released version.
    """

    directory: str
    pins: dict[str, str]
    revision: Token
    version: Token

    @property
    def md5(self) -> str:
        """Return the md5 of the model; empty if `pins` lacks it."""
        return self.pins.get(MODEL, "")

    @property
    def of_lock(self) -> bool:
        """Return whether this is the model that the workspace's dvc.lock pins, not a deployed one."""
        return Path(self.directory).is_absolute()

    def __str__(self) -> str:
        return f"{self.md5[:12]}, version {self.version}, revision {self.revision[:12]}"


class DesiredState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which models should answer requests (None: the one of dvc.lock) and predict the same rows without answering.

    `revision` increases with every change.
    """

    revision: Annotated[int, Meta(ge=0)] = 0
    serving: Deployment | None = None
    shadow: Deployment | None = None


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Deployments that served before, latest last."""

    served: tuple[Deployment, ...] = ()


Stored = TypeVar("Stored", DesiredState, History, Deployment)


class ModelStore:
    """The desired state, the history and the model files in one directory, `root`.

    Its methods raise ArtifactError if a file of the store cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workers = root / "workers"
        self._desired = root / "desired.json"
        self._good = root / "serving.json"
        self._history = root / "history.json"
        self._store = root / "models"

    def desired_version(self) -> FileVersion | None:
        """Return a value that changes with every write of the desired state; None if there is none."""
        try:
            status = self._desired.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def desired(self) -> DesiredState:
        """Return the desired state; by default, the model pinned by dvc.lock serves without a shadow."""
        return _read(self._desired, DesiredState) or DesiredState()

    def set_desired(self, desired: DesiredState) -> None:
        """Write the desired state; workers apply it within a quarter of a second."""
        write_atomic(self._desired, canonical_json(desired))

    def last_known_good(self) -> Deployment | None:
        """Return the deployment that was last marked good, or None."""
        return _read(self._good, Deployment)

    def mark_good(self, deployment: Deployment) -> None:
        """Store a deployment as the last known good one; the model of dvc.lock needs no entry and clears it."""
        if deployment.of_lock:
            self._good.unlink(missing_ok=True)
        else:
            write_atomic(self._good, canonical_json(deployment))

    def history(self) -> tuple[Deployment, ...]:
        """Return the deployments that served before, latest last."""
        return (_read(self._history, History) or History()).served

    def set_history(self, served: tuple[Deployment, ...]) -> None:
        """Write the history and delete models without a reference; none is deleted if a file cannot be read."""
        write_atomic(self._history, canonical_json(History(served)))
        desired = self.desired()
        referenced = (*served, desired.serving, desired.shadow, self.last_known_good())
        directories = {deployment.directory for deployment in referenced if deployment}
        for directory in self._store.glob("[!.]*"):
            if directory.name not in directories:
                shutil.rmtree(directory, ignore_errors=True)

    def path(self, deployment: Deployment) -> Path:
        """Return the directory of a deployment's four files."""
        return self._store / deployment.directory

    def holds(self, deployment: Deployment) -> bool:
        """Return whether the files of a deployment are there, with their pinned bytes."""
        files = {self.path(deployment) / name: md5 for name, md5 in deployment.pins.items()}
        return all(file.is_file() and md5_of_file(file) == md5 for file, md5 in files.items())

    def add(self, source: Path, deployment: Deployment) -> Deployment:
        """Copy a model's files into the store and return the deployment of the copy, named as its directory.

        Raises:
            ArtifactError: a file in `source` is missing or has other bytes than pinned.
        """
        return self.write(
            deployment, {name: read_pinned_file(source / name, md5) for name, md5 in deployment.pins.items()}
        )

    def write(self, deployment: Deployment, files: Mapping[str, bytes]) -> Deployment:
        """Write the files of a deployment unless the store holds them; return the deployment of the copy."""
        stored = msgspec.structs.replace(deployment, directory=_copy_name(deployment))
        if not self.holds(stored):
            try:
                write_directory(self.path(stored), files)
            except OSError:
                if not self.holds(stored):  # else another worker was faster
                    raise
        return stored

    def kept(self, deployment: Deployment) -> Deployment:
        """Return the copy of the workspace's model if the store holds one, else the deployment itself."""
        copy = msgspec.structs.replace(deployment, directory=_copy_name(deployment))
        return copy if deployment.of_lock and self.holds(copy) else deployment

    def keep(self, deployment: Deployment) -> Deployment:
        """Return a deployment whose files stay if the workspace changes: a copy of the workspace's model, or itself.

        Raises:
            ArtifactError: the workspace has other bytes by now, and there is no copy yet.
        """
        kept = self.kept(deployment)
        return self.add(Path(kept.directory), kept) if kept.of_lock else kept


def _copy_name(deployment: Deployment) -> str:
    """Return the directory of a deployment in the store; a workspace's model is named by its pins."""
    if not deployment.of_lock:
        return Path(deployment.directory).name
    return f"{deployment.md5}-{md5_of(canonical_json(deployment.pins))[:8]}-workspace"


def read_deployment(folder: Path) -> Deployment:
    """Return the deployment that a fetched model's `pins.json` describes; raise ArtifactError if it is unreadable."""
    file = folder / PINS_FILE
    try:
        fields = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
        pins = {name: fields[name] for name in FILES}
        return Deployment(folder.name, pins, fields["revision"], fields.get("version", "unreleased"))
    except (OSError, msgspec.MsgspecError, KeyError) as error:
        remedy = "remove the directory and fetch the model again"
        raise ArtifactError(str(file), f"cannot be read: {error}", remedy) from error


def write_directory(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a temporary directory and rename it to `directory`, replacing what was there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        for name, data in files.items():
            write_atomic(temporary / name, data)
        temporary.chmod(0o755)
        shutil.rmtree(directory, ignore_errors=True)
        temporary.rename(directory)
        sync_folder(directory.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(file: Path, kind: type[Stored]) -> Stored | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        remedy = "rewrite it with `batchyield deploy start REV`"
        raise ArtifactError(str(file), f"cannot be read: {error}", remedy) from error
