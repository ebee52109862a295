"""The engine of Dask workers, each of which fits models to the same bytes as this process."""

import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from distributed import Client, get_worker

from batchyield.parallel.dask_tasks import check_environments, run_tasks
from batchyield.parallel.environment import (
    SAME_COMMIT_REMEDY,
    EnvironmentMismatchError,
    code_md5,
    environment_mismatch,
)
from batchyield.parallel.reproducibility import PINNED, thread_pools
from batchyield.parallel.tasks import Engine, Item, Result, Shared, Task, WorkerFailure, run_task

LIBRARIES = ("numpy", "scipy", "scikit-learn", "threadpoolctl", "onnxruntime", "msgspec", "distributed")
"""Libraries that compute the result of a task of an evaluation or a search, or carry it."""


@dataclass(frozen=True, eq=False)
class Payload:
    """An argument that Dask passes on as it is: in lists and tuples it looks for futures."""

    value: Any


def dask_engine(client: Client) -> Engine:
    """Return the engine of the client's workers, after their check.

    Raises:
        EnvironmentMismatchError: a worker has another environment.
    """
    expected = describe_process()
    try:
        check_environments(client, expected, describe_process)
    except EnvironmentMismatchError as error:
        kernel = f"OPENBLAS_CORETYPE={PINNED['OPENBLAS_CORETYPE']}"
        remedy = f"{SAME_COMMIT_REMEDY}; start the workers with {kernel}, as NumPy loads it once"
        raise EnvironmentMismatchError(error.workers, remedy) from None

    def run(task: Task[Shared, Item, Result], shared: Shared, items: Iterable[Item]) -> Iterator[Result]:
        sent = (Payload((expected, task, item)) for item in items)
        return run_tasks(client, run_checked, Payload(shared), sent)

    return run


def run_checked(shared: Payload, sent: Payload) -> Any:
    """Return the result of a task in a worker, unless its environment is not the client's: it may have joined later."""
    expected, task, item = sent.value
    if mismatch := environment_mismatch(expected, describe_process()):
        return WorkerFailure(str(EnvironmentMismatchError({get_worker().address: mismatch})))
    return run_task(task, shared.value, item)


@cache
def describe_process() -> dict[str, str]:
    """Return what in this process may change the result of a fit; limit its BLAS to one thread from now on.

    The CPU is not part of it: with one thread and the pinned kernel, fits give the same bytes on every x86-64 machine,
    see docs/reproduction.md.
    """
    blas = [pool for pool in thread_pools() if "architecture" in pool]
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)  # of BLAS, for the whole process; that of OpenMP is set by each fit, as it is per thread
    return {
        "code": code_md5(),
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "BLAS": ", ".join(sorted({f"{b['internal_api']} {b['version']} {b['architecture']}" for b in blas})),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
