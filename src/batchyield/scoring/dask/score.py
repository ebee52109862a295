"""Score parts on Dask workers: results in order, with a bounded number under way, equal to those of one process."""

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any, NamedTuple, TypeVar

from distributed import Client, Future
from distributed.scheduler import KilledWorker
from distributed.utils import CancelledError

from batchyield.errors import SetupError
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
    open_uploaded,
    score_on_worker,
)
from batchyield.scoring.local import FileChunk

CHUNKS_PER_THREAD = 3
"""Parts under way for each thread: one at work, one that waits for it, one that waits to be written."""
POLL_SECONDS = 5.0
"""How often it is asked whether there are workers at all, while one result is waited for."""

Item = TypeVar("Item")


def run_in_order(client: Client, submit: Callable[[Item], Future], items: Iterable[Item]) -> Iterator[Any]:
    """The result of each item, in order. What is not waited for any more is let go of, and so is not worked on.

    Args:
        client: of the scheduler.
        submit: hands an item to it.
        items: read as workers become free for them, however many there are.

    Raises:
        SetupError: workers died over an item again and again, none is left, or the scheduler went away.
    """
    address, items, pending = client.scheduler.address, iter(items), deque[Future]()
    with translate_errors(address):
        while True:
            if client.status != "running":  # it would try to come back, but what it had asked for is lost
                raise scheduler_lost(address, "the connection is closed")
            room = CHUNKS_PER_THREAD * max(1, sum(client.nthreads().values())) - len(pending)
            pending.extend(map(submit, islice(items, max(0, room))))
            if not pending:
                return
            yield _result(client, address, pending.popleft())


def _result(client: Client, address: str, future: Future) -> Any:
    seen = time.monotonic()
    while True:
        try:
            return future.result(timeout=POLL_SECONDS)
        except TimeoutError:
            if client.nthreads():
                seen = time.monotonic()
            elif time.monotonic() - seen > WORKERS_TIMEOUT_SECONDS:
                raise no_workers(address) from None
        except (KilledWorker, CancelledError, OSError):
            raise
        except Exception as error:  # whatever a worker has that cannot even read what it is to do
            raise SetupError(f"a worker of {address} cannot do the work: {error}", SAME_COMMIT_REMEDY) from None


class CheckedWorkers(NamedTuple):
    """What answers, here and in so many workers."""

    member: WorkerEnvironment
    workers: int


def check_workers(client: Client, shipped: UploadedModel) -> CheckedWorkers:
    """A check before the first part: would every worker that there is answer as this process does?

    Raises:
        ArtifactError: the model must not be used.
        EnvironmentMismatchError: a worker would answer with something else, or cannot answer.
    """
    here = open_uploaded(shipped).member
    with translate_errors(client.scheduler.address):
        answers = client.run(describe_environment, shipped, on_error="return")
    unlike = {}
    for address, found in answers.items():
        if not isinstance(found, WorkerEnvironment):
            unlike[address] = found.told if isinstance(found, WorkerFailure) else f"{type(found).__name__}: {found}"
        elif differs := here.unlike(found):
            unlike[address] = differs
    if unlike:
        raise EnvironmentMismatchError(unlike)
    return CheckedWorkers(here, len(answers))


def score_on_workers(
    client: Client, shipped: UploadedModel, expected: WorkerEnvironment, parts: Iterable[FileChunk]
) -> Iterator[bytes]:
    """The lines of each part, in order, as `batchyield.scoring.local.score` makes them.

    Args:
        client: of a scheduler with workers.
        shipped: the model.
        expected: from `agreed`; a worker that comes later is held against it, too.
        parts: of which only some for each worker are held at a time.

    Raises:
        InputError: a part cannot be read as batches.
        BatchyieldError: a worker would answer otherwise than this process, or failed.
        SetupError: the scheduler or all workers are lost.
    """
    run, numbers = uuid.uuid4().hex, count()
    # A task and not scattered data: when the workers that hold the model die, the next ones get it again.
    model = client.submit(_as_it_is, shipped, key=f"model-{run}")

    def submit(part: FileChunk) -> Future:
        return client.submit(score_on_worker, model, expected, part, key=f"score-{run}-{next(numbers)}")

    for lines in run_in_order(client, submit, parts):
        if isinstance(lines, WorkerFailure):
            raise lines.error()
        yield lines


def _as_it_is(shipped: UploadedModel) -> UploadedModel:
    return shipped
