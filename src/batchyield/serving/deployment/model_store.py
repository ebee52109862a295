"""Which model is to serve and which to shadow: one small file that every worker watches, and the models beside it.

The folder is self-contained, so that it can be moved or mounted elsewhere:

    desired.json    what is wanted; written whole by `batchyield deploy start`, `rollback` and `shadow`
    serving.json    the last wanted model that was opened and found good, for a worker that starts anew
    history.json    what served before, latest last, for `batchyield deploy rollback`
    models/         the artifacts of all these
    workers/        what each worker says of itself
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from batchyield.errors import ArtifactError
from batchyield.files import write_atomic
from batchyield.serving.artifact import MODEL, canonical_json

DEFAULT_MODELS_DIRECTORY = ".serving"

Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+@/-]{1,100}$")]
"""Goes into the headers of answers."""


class Deployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pinned model and where it lies.

    Attributes:
        directory: of the four files, below `models/`; absolute where it is the model that a lock pins.
        pins: file name -> md5.
        revision: commit of the lock that pins it.
        version: released version.
    """

    directory: str
    pins: dict[str, str]
    revision: Token
    version: Token

    @property
    def md5(self) -> str:
        """The model's own pin; empty where none is told, which nothing opens."""
        return self.pins.get(MODEL, "")

    @property
    def of_lock(self) -> bool:
        """Whether it is the model that the workspace's lock pins, rather than one that was deployed."""
        return Path(self.directory).is_absolute()

    def __str__(self) -> str:
        return f"{self.md5[:12]}, version {self.version}, revision {self.revision[:12]}"


class DesiredState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wanted.

    Attributes:
        revision: grows with every wish.
        serving: what is to answer; None: the model that the lock pins.
        shadow: what is to see the same rows.
    """

    revision: Annotated[int, Meta(ge=0)] = 0
    serving: Deployment | None = None
    shadow: Deployment | None = None


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What served before, latest last."""

    served: tuple[Deployment, ...] = ()


Told = TypeVar("Told", DesiredState, History, Deployment)


class ModelStore:
    """The folder of what is wanted.

    Attributes:
        root: the folder itself.
        workers: where each worker says what it serves.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workers = root / "workers"
        self._desired = root / "desired.json"
        self._good = root / "serving.json"
        self._history = root / "history.json"
        self._store = root / "models"

    def desired_version(self) -> tuple[int, int, int] | None:
        """Changes whenever something else is wanted; None where nothing is. Costs a `stat`."""
        try:
            found = self._desired.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def desired(self) -> DesiredState:
        """What is wanted.

        Raises:
            ArtifactError: the file cannot be read as a wish.
        """
        return _read(self._desired, DesiredState) or DesiredState()

    def set_desired(self, desired: DesiredState) -> None:
        """Says what is wanted from now on."""
        write_atomic(self._desired, canonical_json(desired))

    def last_known_good(self) -> Deployment | None:
        """The model that was last found good.

        Raises:
            ArtifactError: the file cannot be read.
        """
        return _read(self._good, Deployment)

    def mark_good(self, deployment: Deployment) -> None:
        """Remembers a model that was opened, unless it is the lock's, which needs no remembering."""
        if deployment.of_lock:
            self._good.unlink(missing_ok=True)
        else:
            write_atomic(self._good, canonical_json(deployment))

    def history(self) -> tuple[Deployment, ...]:
        """What served before, latest last.

        Raises:
            ArtifactError: the file cannot be read.
        """
        return (_read(self._history, History) or History()).served

    def set_history(self, served: tuple[Deployment, ...]) -> None:
        """Writes the history anew, and removes the models that nothing names any more.

        Raises:
            ArtifactError: another file that names models cannot be read; none is removed then.
        """
        write_atomic(self._history, canonical_json(History(served)))
        desired = self.desired()
        named = {one.directory for one in (*served, desired.serving, desired.shadow, self.last_known_good()) if one}
        for folder in self._store.glob("[!.]*"):
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)

    def path(self, deployment: Deployment) -> Path:
        """Where a model's four files lie."""
        return self._store / deployment.directory

    def add(self, folder: Path, deployment: Deployment) -> Deployment:
        """Copies a model into the store; what is returned names the copy.

        Args:
            folder: holds its files now.
            deployment: what it is; its directory becomes the name in the store.

        Raises:
            ArtifactError: a file is missing.
        """
        kept = msgspec.structs.replace(deployment, directory=Path(deployment.directory).name)
        try:
            files = {name: (folder / name).read_bytes() for name in deployment.pins}
        except OSError as error:
            raise ArtifactError(str(folder), f"is not whole: {error.strerror}") from error
        if not _holds(self.path(kept), files):
            write_directory(self.path(kept), files)
        return kept


def write_directory(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder of files aside, then renames it into place; what was there goes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, data in files.items():
            write_atomic(aside / name, data)
        aside.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    return all((folder / name).is_file() and (folder / name).read_bytes() == data for name, data in files.items())


def _read(file: Path, kind: type[Told]) -> Told | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise ArtifactError(
            str(file),
            f"cannot be read: {error}",
            "`batchyield deploy start REV` or `batchyield deploy rollback REV` writes it anew",
        ) from error
