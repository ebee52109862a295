"""The Dask tasks: open the uploaded model if its bytes are pinned, report the environment, score a chunk."""

import hashlib
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
from distributed import get_worker

from batchyield.errors import BatchyieldError, ConfigError, InputError, Violation
from batchyield.files import md5_of
from batchyield.scoring.dask.cluster import SAME_COMMIT_REMEDY
from batchyield.scoring.local import FileChunk, score_chunk
from batchyield.serving.artifact import FILES, open_artifact
from batchyield.serving.predictor import Predictor
from batchyield.serving.responses import encode_predictions_csv

PACKAGE = Path(__file__).parents[2]
"""Source directory of batchyield, whose content is part of a worker's environment."""


@dataclass(frozen=True)
class UploadedModel:
    """A model for workers; equal if the pins are equal.

    Attributes:
        pins: (file name, md5) of each of its files.
        files: file name -> bytes; the worker compares them with the pins.
    """

    pins: tuple[tuple[str, str], ...]
    files: Mapping[str, bytes] = field(compare=False, repr=False)


class WorkerEnvironment(msgspec.Struct, frozen=True):
    """Everything in a process that determines the bytes of the predictions.

    Attributes:
        model: md5 of the model.
        code: md5 of batchyield's modules.
        answers: md5 of the predictions of the golden batches, to the last digit, as another CPU may round differently.
    """

    model: str
    code: str
    numpy: str
    onnxruntime: str
    distributed: str
    answers: str


def environment_mismatch(expected: WorkerEnvironment, actual: WorkerEnvironment) -> str:
    """Return how two environments differ, as text; empty if they are equal."""
    fields = ((name, getattr(expected, name), getattr(actual, name)) for name in expected.__struct_fields__)
    return ", ".join(f"{name} {found} and not {wanted}" for name, wanted, found in fields if wanted != found)


class OpenedModel(NamedTuple):
    """An opened model and the environment of this process."""

    predictor: Predictor
    environment: WorkerEnvironment


@dataclass(frozen=True)
class WorkerFailure:
    """The error of a task, returned because Dask logs raised exceptions and does not always deliver them."""

    message: str
    violations: tuple[Violation, ...] = ()

    def error(self) -> BatchyieldError:
        """Return the exception for the client to raise."""
        return InputError(*self.violations) if self.violations else BatchyieldError(self.message)


class EnvironmentMismatchError(ConfigError):
    """Workers whose predictions could differ from the client's.

    Attributes:
        workers: address -> what differs or is missing.
    """

    def __init__(self, workers: Mapping[str, str]) -> None:
        self.workers = dict(workers)
        lines = "\n".join(f"  {address}: {mismatch}" for address, mismatch in sorted(workers.items()))
        super().__init__(f"these workers have another environment than this client:\n{lines}", SAME_COMMIT_REMEDY)


def upload_model(directory: Path, pins: Mapping[str, str]) -> UploadedModel:
    """Return a model to send to workers, read from its directory and checked; `pins` are from `read_pins`."""
    open_artifact(directory, pins)
    files = {name: (directory / name).read_bytes() for name in FILES}
    return UploadedModel(tuple((name, pins[name]) for name in FILES), files)


@lru_cache(maxsize=4)
def open_uploaded(model: UploadedModel) -> OpenedModel:
    """Open and check a model, once per process."""
    with tempfile.TemporaryDirectory(prefix="batchyield-model-") as folder:
        for name, data in model.files.items():
            Path(folder, name).write_bytes(data)
        artifact = open_artifact(Path(folder), dict(model.pins))
    golden = encode_predictions_csv(artifact.predictor.predict(artifact.golden.batches))
    code = hashlib.md5(usedforsecurity=False)
    for path in sorted(PACKAGE.rglob("*.py")):
        code.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    environment = WorkerEnvironment(
        model=artifact.md5,
        code=code.hexdigest(),
        **{name: version(name) for name in ("numpy", "onnxruntime", "distributed")},
        answers=md5_of(golden),
    )
    return OpenedModel(artifact.predictor, environment)


def describe_environment(model: UploadedModel) -> WorkerEnvironment | WorkerFailure:
    """Return the environment of this worker."""
    try:
        return open_uploaded(model).environment
    except BatchyieldError as error:
        return WorkerFailure(str(error))


def score_on_worker(model: UploadedModel, expected: WorkerEnvironment, chunk: FileChunk) -> bytes | WorkerFailure:
    """Return the lines of a chunk, unless the environment is not the client's (the worker may have joined later)."""
    try:
        opened = open_uploaded(model)
        if mismatch := environment_mismatch(expected, opened.environment):
            return WorkerFailure(str(EnvironmentMismatchError({get_worker().address: mismatch})))
        return score_chunk(opened.predictor, chunk)
    except InputError as error:
        return WorkerFailure(str(error), error.violations)
    except BatchyieldError as error:
        return WorkerFailure(str(error))
    except Exception as error:
        traceback.print_exc()
        problem = f"failed with {type(error).__name__}: {error}"
        where = f"{chunk.file}, a batch after number {chunk.chunk.before}: the worker {get_worker().address}"
        return WorkerFailure(f"{where} {problem}\n  this is a bug; the worker's log has the traceback")
