"""Scores chunks on Dask workers that make the same predictions as this process."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from distributed import Client
from msgspec.structs import asdict

from batchyield.parallel.dask_tasks import check_environments, run_tasks
from batchyield.scoring.chunks import FileChunk
from batchyield.scoring.dask.worker import (
    UploadedModel,
    WorkerEnvironment,
    describe_environment,
    open_uploaded,
    score_on_worker,
)
from batchyield.scoring.local import ChunkFailure
from batchyield.scoring.predicted import Form


class CheckedWorkers(NamedTuple):
    """The environment that this process and the workers have in common, and the number of workers."""

    environment: WorkerEnvironment
    workers: int


def check_workers(client: Client, model: UploadedModel) -> CheckedWorkers:
    """Check before the first chunk that every worker would make the same predictions as this process.

    Raises:
        ArtifactError: the model failed its checks.
        EnvironmentMismatchError: a worker has another environment, or cannot report it.
    """
    expected = open_uploaded(model).environment
    return CheckedWorkers(expected, check_environments(client, asdict(expected), describe_environment, model))


def score_on_workers(
    client: Client, model: UploadedModel, expected: WorkerEnvironment, chunks: Iterable[FileChunk], form: Form = "csv"
) -> Iterator[bytes]:
    """Yield the predictions of each chunk, in order, as `scoring.local.score_chunk` returns them.

    Chunks are read lazily. Workers that join later are compared with the environment that `check_workers` returned.

    Raises:
        InputError: a chunk cannot be read as batches.
        BatchyieldError: a worker has another environment, or failed.
        ServiceError: the scheduler or all workers are lost.
    """
    for part in score_items(client, model, expected, form, chunks):
        if isinstance(part, ChunkFailure):
            raise part.error()
        yield part


def score_items(
    client: Client, model: UploadedModel, expected: WorkerEnvironment, form: Form, items: Iterable[FileChunk | Any]
) -> Iterator[Any]:
    """Yield what `score_on_workers` does, with bad chunks as `ChunkFailure` and items that are no chunk as they are."""
    return run_tasks(client, partial(score_on_worker, expected, form), model, items)
