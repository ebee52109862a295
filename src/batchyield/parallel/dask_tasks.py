"""Tasks on Dask workers: results in order, a bounded number in progress, and only workers with the same environment."""

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from itertools import count, islice
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker
from distributed.utils import CancelledError

from batchyield.errors import ServiceError
from batchyield.parallel.dask_cluster import WORKERS_TIMEOUT_SECONDS, no_workers, scheduler_lost, translate_errors
from batchyield.parallel.environment import (
    SAME_COMMIT_REMEDY,
    EnvironmentMismatchError,
    environment_mismatch,
)
from batchyield.parallel.tasks import WorkerFailure, raise_failures

TASKS_PER_THREAD = 3
"""Tasks in progress per worker thread: one running, one queued, one finished and not yet read."""
POLL_SECONDS = 5.0
"""How often, while waiting for a result, the presence of workers is checked."""

Environment = Mapping[str, str]


def run_tasks(client: Client, task: Callable[[Any, Any], Any], shared: Any, items: Iterable[Any]) -> Iterator[Any]:
    """Yield `task(shared, item)` for each item, in order; the items are read lazily, as workers become free.

    Args:
        task: a function, run by any worker, more than once if its worker dies.
        shared: sent once, and from worker to worker.
        items: sent with their tasks.

    Raises:
        BatchyieldError: a task returned a `WorkerFailure`.
        ServiceError: the scheduler or all workers are lost, or several workers died on the same task.
    """
    run, numbers = uuid.uuid4().hex, count()
    # A task and not scattered data: if the workers that hold it die, the scheduler sends it to others.
    sent = client.submit(copy, shared, key=f"shared-{run}")

    def submit(item: Any) -> Future:
        return client.submit(task, sent, item, key=f"task-{run}-{next(numbers)}")

    yield from raise_failures(_run_in_order(client, submit, items))


def _run_in_order(client: Client, submit: Callable[[Any], Future], items: Iterable[Any]) -> Iterator[Any]:
    """Yield the result of each item; futures are cancelled when the iterator is closed."""
    address, items, pending = client.scheduler.address, iter(items), deque[Future]()
    with translate_errors(address):
        while True:
            if client.status != "running":  # Dask reconnects, but its tasks are cancelled
                raise scheduler_lost(address, "the connection is closed")
            room = TASKS_PER_THREAD * max(1, sum(client.nthreads().values())) - len(pending)
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


def check_environments(
    client: Client, expected: Environment, describe: Callable[..., Environment | WorkerFailure], *arguments: Any
) -> int:
    """Check before the first task that every worker has the environment of this process; return their number.

    Args:
        expected: of this process.
        describe, arguments: the function that returns the environment of a worker.

    Raises:
        EnvironmentMismatchError: a worker has another environment, or cannot report it.
    """
    with translate_errors(client.scheduler.address):
        results = client.run(describe, *arguments, on_error="return")
    mismatches = {}
    for address, result in results.items():
        if isinstance(result, WorkerFailure):
            mismatches[address] = result.message
        elif not isinstance(result, Mapping):
            mismatches[address] = f"{type(result).__name__}: {result}"
        elif mismatch := environment_mismatch(expected, result):
            mismatches[address] = mismatch
    if mismatches:
        raise EnvironmentMismatchError(mismatches)
    return len(results)
