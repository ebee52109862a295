"""What a worker does: it takes a model only by its pin, says what it answers with, and answers parts."""

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

from batchyield.errors import BatchyieldError, InputError, SetupError, Violation
from batchyield.scoring.dask.cluster import SAME_COMMIT_REMEDY
from batchyield.scoring.local import FileChunk, score_chunk
from batchyield.serving.artifact import FILES, open_artifact
from batchyield.serving.predictor import Predictor
from batchyield.serving.responses import encode_predictions_csv

CODE = Path(__file__).parents[2]


@dataclass(frozen=True)
class UploadedModel:
    """A model on its way to workers; two are equal if their pins are.

    Attributes:
        pins: (file name, md5) of each of its files.
        files: file name -> bytes; whoever gets them compares them with the pins.
    """

    pins: tuple[tuple[str, str], ...]
    files: Mapping[str, bytes] = field(compare=False, repr=False)


class WorkerEnvironment(msgspec.Struct, frozen=True):
    """What decides the bytes of an answer, in one process.

    Attributes:
        model: md5 of the model.
        code: md5 of batchyield's modules.
        numpy: its version.
        onnxruntime: its version.
        distributed: its version.
        answers: md5 of the answers to the model's golden batches, to the last digit: another CPU may round otherwise.
    """

    model: str
    code: str
    numpy: str
    onnxruntime: str
    distributed: str
    answers: str

    def unlike(self, other: "WorkerEnvironment") -> str:
        """What of `other` is not as here, for people; empty where they are alike."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in self.__struct_fields__)
        return ", ".join(f"{name} {theirs} and not {ours}" for name, ours, theirs in pairs if ours != theirs)


class OpenedModel(NamedTuple):
    """An opened model, and with what it is opened."""

    predictor: Predictor
    member: WorkerEnvironment


@dataclass(frozen=True)
class WorkerFailure:
    """Why there is no answer. It is returned: Dask logs what is raised, and does not always deliver it."""

    told: str
    violations: tuple[Violation, ...] = ()

    def error(self) -> BatchyieldError:
        """What the caller is to raise."""
        return InputError(*self.violations) if self.violations else BatchyieldError(self.told)


class EnvironmentMismatchError(SetupError):
    """Workers that would not answer as the client does.

    Attributes:
        workers: the address of each -> what differs, or what it lacks.
    """

    def __init__(self, workers: Mapping[str, str]) -> None:
        self.workers = dict(workers)
        told = "\n".join(f"  {address}: {what}" for address, what in sorted(workers.items()))
        super().__init__(f"not every worker answers as this client does:\n{told}", SAME_COMMIT_REMEDY)


def upload_model(directory: Path, pins: Mapping[str, str]) -> UploadedModel:
    """Takes a model from its folder.

    Args:
        directory: holds the four files.
        pins: from `read_pins`.

    Raises:
        ArtifactError: it must not be used.
    """
    open_artifact(directory, pins)
    return UploadedModel(
        tuple((name, pins[name]) for name in FILES), {name: (directory / name).read_bytes() for name in FILES}
    )


@lru_cache(maxsize=4)
def open_uploaded(shipped: UploadedModel) -> OpenedModel:
    """Opens a model, once in a process.

    Raises:
        ArtifactError: its bytes are not the pinned ones, or it does not answer as it did when it was made.
    """
    with tempfile.TemporaryDirectory(prefix="batchyield-model-") as folder:
        for name, data in shipped.files.items():
            Path(folder, name).write_bytes(data)
        artifact = open_artifact(Path(folder), dict(shipped.pins))
    golden = encode_predictions_csv(artifact.predictor.predict(artifact.golden.batches))
    return OpenedModel(
        artifact.predictor,
        WorkerEnvironment(
            model=artifact.md5,
            code=_code(),
            **{name: version(name) for name in ("numpy", "onnxruntime", "distributed")},
            answers=hashlib.md5(golden, usedforsecurity=False).hexdigest(),
        ),
    )


def describe_environment(shipped: UploadedModel) -> WorkerEnvironment | WorkerFailure:
    """With what this worker would answer."""
    try:
        return open_uploaded(shipped).member
    except BatchyieldError as error:
        return WorkerFailure(str(error))


def score_on_worker(shipped: UploadedModel, expected: WorkerEnvironment, part: FileChunk) -> bytes | WorkerFailure:
    """The lines of a part.

    Args:
        shipped: the model.
        expected: the client itself. A worker that came later than the first check is held against it here.
        part: what to answer.
    """
    try:
        here = open_uploaded(shipped)
        if differs := expected.unlike(here.member):
            return WorkerFailure(str(EnvironmentMismatchError({get_worker().address: differs})))
        return score_chunk(here.predictor, part)
    except InputError as error:
        return WorkerFailure(str(error), error.violations)
    except BatchyieldError as error:
        return WorkerFailure(str(error))
    except Exception as error:
        traceback.print_exc()
        problem = f"failed with {type(error).__name__}: {error}"
        where = f"{part.file}, a batch after number {part.portion.before}: the worker {get_worker().address}"
        return WorkerFailure(f"{where} {problem}\n  this should not happen: its log has the traceback")


def _code() -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(CODE.rglob("*.py")):
        digest.update(path.relative_to(CODE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
