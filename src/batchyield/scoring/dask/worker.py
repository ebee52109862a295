"""The Dask tasks: open the uploaded model if its bytes are pinned, report the environment, score a chunk."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from distributed import get_worker
from msgspec.structs import asdict

from batchyield.errors import BatchyieldError, InputError
from batchyield.files import md5_of
from batchyield.parallel.environment import EnvironmentMismatchError, code_md5, environment_mismatch
from batchyield.parallel.tasks import WorkerFailure, run_task
from batchyield.scoring.chunks import FileChunk
from batchyield.scoring.local import ChunkFailure, score_chunk
from batchyield.scoring.predicted import Form, has_arrow
from batchyield.serving.artifact import FILES, open_artifact
from batchyield.serving.predictor import Predictor
from batchyield.serving.responses import encode_predictions_csv


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
    pyarrow: str
    answers: str


class OpenedModel(NamedTuple):
    """An opened model and the environment of this process."""

    predictor: Predictor
    environment: WorkerEnvironment


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
    environment = WorkerEnvironment(
        model=artifact.md5,
        code=code_md5(),
        **{name: version(name) for name in ("numpy", "onnxruntime", "distributed")},
        pyarrow=version("pyarrow") if has_arrow() else "none",
        answers=md5_of(golden),
    )
    return OpenedModel(artifact.predictor, environment)


def describe_environment(model: UploadedModel) -> dict[str, str] | WorkerFailure:
    """Return the environment of this worker."""
    try:
        return asdict(open_uploaded(model).environment)
    except BatchyieldError as error:
        return WorkerFailure(str(error))


def score_on_worker(expected: WorkerEnvironment, form: Form, model: UploadedModel, chunk: Any) -> Any:
    """Return the predictions of a chunk, a `ChunkFailure` if it is bad, and an item that is no chunk as it is.

    A `WorkerFailure` if the environment is not the client's, as the worker may have joined later.
    """
    if not isinstance(chunk, FileChunk):
        return chunk
    where = f"{chunk.file}, a batch after number {chunk.chunk.before}: the worker {get_worker().address}"
    return run_task(partial(_score_checked, expected, form), model, chunk, where)


def _score_checked(
    expected: WorkerEnvironment, form: Form, model: UploadedModel, chunk: FileChunk
) -> bytes | ChunkFailure:
    opened = open_uploaded(model)
    if mismatch := environment_mismatch(asdict(expected), asdict(opened.environment)):
        raise EnvironmentMismatchError({get_worker().address: mismatch})
    try:
        return score_chunk(opened.predictor, chunk, form=form)
    except InputError as error:
        return ChunkFailure(error.violations)
