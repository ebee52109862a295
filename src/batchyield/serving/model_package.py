"""The installed package `batchyield_model`: a released model with its pin, opened and checked on first use."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from batchyield.errors import ArtifactError, InputError, Violation
from batchyield.plant.batch import Batch
from batchyield.plant.csv_reader import read_sheet
from batchyield.serving.artifact import Artifact, open_artifact
from batchyield.serving.prediction import Prediction

PIN_FILE = "pin.json"
REINSTALL = "install it again: `pip install --force-reinstall --no-deps batchyield-model`"

BatchInput = Batch | Mapping[str, Any]


class PackagePin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content and origin of the package; `model` and `version` are those of the registry.

    Attributes:
        revision: commit whose dvc.lock pins the model.
        files: file name of the artifact -> md5.
        lock: md5 of that commit's dvc.lock.
        raw: md5 of the raw data it was trained on; empty if its commit imports none.
    """

    model: str
    version: str
    revision: str
    files: dict[str, str]
    lock: str
    raw: str


class ModelPackage:
    """A released model in the directory of an installed package: the artifact's four files and `pin.json`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = Lock()
        self._artifact: Artifact | None = None

    @cached_property
    def pin(self) -> PackagePin:
        """Return the content of `pin.json`; raise ArtifactError if it is missing or invalid."""
        file = self._directory / PIN_FILE
        try:
            return msgspec.json.decode(file.read_bytes(), type=PackagePin)
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise ArtifactError(str(file), f"cannot be read: {error}", REINSTALL) from error

    def model(self) -> Artifact:
        """Return the model, opened and checked once; safe to call from several threads.

        Raises:
            ArtifactError: a file is not the pinned one, or the installed batchyield does not fit the model.
        """
        with self._lock:
            if self._artifact is None:
                self._artifact = open_artifact(self._directory, self.pin.files)
            return self._artifact

    def predict(self, batches: BatchInput | Sequence[BatchInput] | Path | str) -> list[Prediction]:
        """Return one prediction for each batch, in order, equal to the service's.

        Args:
            batches: one or more batches, each a `Batch` or a mapping from reading to value; or the path of the
                plant's CSV.

        Raises:
            InputError: a batch or the file cannot be read; carries position and reason.
            ArtifactError: the model failed its checks.
        """
        predictor = self.model().predictor
        if isinstance(batches, (str, Path)):
            try:
                sheet = read_sheet(Path(batches).read_bytes(), sparse=True)
            except OSError as error:
                raise InputError(Violation(str(batches), f"cannot be read: {error.strerror}")) from error
            return predictor.predict(sheet.batches, sheet.row_warnings())
        inputs = [batches] if isinstance(batches, (Batch, Mapping)) else batches
        converted = []
        for index, item in enumerate(inputs):
            try:
                converted.append(item if isinstance(item, Batch) else msgspec.convert(item, Batch))
            except msgspec.ValidationError as error:
                problem, _, where = str(error).partition(" - at `$")
                raise InputError(Violation(f"$[{index}]{where.rstrip('`')}", problem)) from None
        return predictor.predict(converted)
