"""Scores chunks on Dask workers: results in order, a bounded number of chunks in progress."""

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from itertools import count, islice
from typing import Any, NamedTuple, TypeVar

from distributed import Client, Future
from distributed.scheduler import KilledWorker
from distributed.utils import CancelledError

from batchyield.errors import ServiceError
from batchyield.scoring.dask.cluster import (
    SAME_COMMIT_REMEDY,
    WORKERS_TIMEOUT_SECONDS,
    no_workers,
    scheduler_lost,
    translate_errors,
)
from batchyield.scoring.dask.worker import (
    EnvironmentMismatchError,
    UploadedModel,
    WorkerEnvironment,
    WorkerFailure,
    describe_environment,
    environment_mismatch,
    open_uploaded,
    score_on_worker,
)
from batchyield.scoring.local import FileChunk

CHUNKS_PER_THREAD = 3
"""Chunks in progress per worker thread: one running, one queued, one finished and not yet written."""
POLL_SECONDS = 5.0
"""How often, while waiting for a result, the presence of workers is checked."""

Item = TypeVar("Item")


def run_in_order(client: Client, submit: Callable[[Item], Future], items: Iterable[Item]) -> Iterator[Any]:
    """Yield the result of each item, in order; futures are cancelled when the iterator is closed.

    Items are read lazily, as workers become free, and submitted to the scheduler by `submit`.
    """
    address, items, pending = client.scheduler.address, iter(items), deque[Future]()
    with translate_errors(address):
        while True:
            if client.status != "running":  # Dask reconnects, but its tasks are cancelled
                raise scheduler_lost(address, "the connection is closed")
            room = CHUNKS_PER_THREAD * max(1, sum(client.nthreads().values())) - len(pending)
            pending.extend(map(submit, islice(items, max(0, room))))
            if not pending:
                return
            yield _result(client, address, pending.popleft())


def _result(client: Client, address: str, future: Future) -> Any:
    last_seen = time.monotonic()
    while True:
        try:
            return future.result(timeout=POLL_SECONDS)
        except TimeoutError:
            if client.nthreads():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > WORKERS_TIMEOUT_SECONDS:
                raise no_workers(address) from None
        except (KilledWorker, CancelledError, OSError):
            raise
        except Exception as error:  # any error of a worker that cannot deserialize its task
            raise ServiceError(f"a worker of {address} cannot run the task: {error}", SAME_COMMIT_REMEDY) from None


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
    with translate_errors(client.scheduler.address):
        results = client.run(describe_environment, model, on_error="return")
    mismatches = {}
    for address, result in results.items():
        if isinstance(result, WorkerFailure):
            mismatches[address] = result.message
        elif not isinstance(result, WorkerEnvironment):
            mismatches[address] = f"{type(result).__name__}: {result}"
        elif mismatch := environment_mismatch(expected, result):
            mismatches[address] = mismatch
    if mismatches:
        raise EnvironmentMismatchError(mismatches)
    return CheckedWorkers(expected, len(results))


def score_on_workers(
    client: Client, model: UploadedModel, expected: WorkerEnvironment, chunks: Iterable[FileChunk]
) -> Iterator[bytes]:
    """Yield the lines of each chunk, in order, as `scoring.local.score_chunk` returns them; chunks are read lazily.

    Workers that join later are compared with the environment that `check_workers` returned, too.

    Raises:
        InputError: a chunk cannot be read as batches.
        BatchyieldError: a worker has another environment, or failed.
        ServiceError: the scheduler or all workers are lost.
    """
    run, numbers = uuid.uuid4().hex, count()
    # A task and not scattered data: if the workers that hold the model die, the scheduler sends it to others.
    sent_model = client.submit(copy, model, key=f"model-{run}")

    def submit(chunk: FileChunk) -> Future:
        return client.submit(score_on_worker, sent_model, expected, chunk, key=f"score-{run}-{next(numbers)}")

    for lines in run_in_order(client, submit, chunks):
        if isinstance(lines, WorkerFailure):
            raise lines.error()
        yield lines
