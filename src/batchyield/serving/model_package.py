"""What `import batchyield_model` gives: a released model beside its pin, opened and checked when it is first asked."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from batchyield.errors import ArtifactError, InputError, Violation
from batchyield.plant.batch import Batch
from batchyield.plant.csv_reader import read_sheet
from batchyield.serving.artifact import Artifact, open_artifact
from batchyield.serving.responses import Prediction

PIN_FILE = "pin.json"
REINSTALL = "install it again: `pip install --force-reinstall --no-deps batchyield-model`"

Given = Batch | Mapping[str, Any]


class PackagePin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the package holds and where it comes from.

    Attributes:
        model: its name in the registry.
        version: as released.
        revision: commit whose lock pins it.
        files: name of each of the artifact's files -> md5.
        lock: md5 of that commit's dvc.lock.
        raw: md5 of the raw data it was trained on; empty where its commit imports none.
    """

    model: str
    version: str
    revision: str
    files: dict[str, str]
    lock: str
    raw: str


class ModelPackage:
    """A released model in an installed package.

    Args:
        folder: of the package; holds the artifact's four files and `pin.json`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opening = Lock()
        self._opened: Artifact | None = None

    @cached_property
    def pin(self) -> PackagePin:
        """What the package holds.

        Raises:
            ArtifactError: `pin.json` is missing or no pin.
        """
        try:
            return msgspec.json.decode((self._folder / PIN_FILE).read_bytes(), type=PackagePin)
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise ArtifactError(str(self._folder / PIN_FILE), f"cannot be read: {error}", REINSTALL) from error

    def model(self) -> Artifact:
        """The model, opened once: its bytes are those of the pin, and it answers its golden rows as it did.

        Raises:
            ArtifactError: a file is not the pinned one, or the installed batchyield is not the one it was made with.
        """
        with self._opening:
            if self._opened is None:
                self._opened = open_artifact(self._folder, self.pin.files)
            return self._opened

    def predict(self, batches: Given | Sequence[Given] | Path | str) -> list[Prediction]:
        """Predicts yields, as the service does: one prediction for each batch, in order.

        Args:
            batches: a batch, or any number of them, each a `Batch` or a mapping of its readings by name; or the path
                of a CSV as the plant writes it.

        Raises:
            InputError: a batch or the file cannot be read as such; says which, where and why.
            ArtifactError: the model must not be used.
        """
        predictor = self.model().predictor
        if isinstance(batches, (str, Path)):
            sheet = read_sheet(_content(Path(batches)))
            return predictor.predict(sheet.batches, sheet.warnings)
        several = [batches] if isinstance(batches, (Batch, Mapping)) else batches
        return predictor.predict(list(_batches(several)))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(Violation(str(path), f"cannot be read: {error.strerror}")) from error


def _batches(several: Sequence[Given]) -> Iterator[Batch]:
    for index, given in enumerate(several):
        try:
            yield given if isinstance(given, Batch) else msgspec.convert(given, Batch)
        except msgspec.ValidationError as error:
            problem, _, where = str(error).partition(" - at `$")
            raise InputError(Violation(f"$[{index}]{where.rstrip('`')}", problem)) from None
