"""Opens the configured engine: this process, processes of this machine, or the workers of a Dask cluster."""

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import Any

from batchyield.errors import ConfigError, MissingToolError, ServiceError
from batchyield.parallel.params import SCHEDULER_VARIABLE, DaskEngine, EngineParams, LocalEngine, choose_engine
from batchyield.parallel.tasks import Engine, Task, in_process, raise_failures, run_task

PARENT_POLL_SECONDS = 1.0


@contextlib.contextmanager
def open_engine(configured: EngineParams) -> Iterator[Engine]:
    """Yield the engine of `$BATCHYIELD_ENGINE`, or the configured one; its processes end with the block.

    Raises:
        ConfigError: the engine names no scheduler, or a worker has another environment.
        MissingToolError: Dask is not installed.
        ServiceError: the scheduler cannot be reached, or has no worker.
    """
    match choose_engine(configured):
        case LocalEngine(workers=1):
            yield in_process
        case LocalEngine(workers=workers):
            with _processes(workers) as engine:
                yield engine
        case DaskEngine() as params:
            with _dask(params) as engine:
                yield engine


@contextlib.contextmanager
def _processes(workers: int) -> Iterator[Engine]:
    """Yield an engine of joblib's processes, which start with the environment variables of this one."""
    from joblib import Parallel, delayed, parallel_config

    with parallel_config("loky", inner_max_num_threads=1), Parallel(workers) as pool:

        def run(task: Task[Any, Any, Any], shared: Any, items: Iterable[Any]) -> Iterator[Any]:
            try:
                results = pool(delayed(_run_here)(os.getpid(), task, shared, item) for item in items)
            except BrokenProcessPool:
                remedy = "check that there is enough memory, or use fewer engine.workers; run the command again"
                raise ServiceError("a process of the engine was killed, so its results are missing", remedy) from None
            yield from raise_failures(results)

        yield run


def _run_here(parent: int, task: Task[Any, Any, Any], shared: Any, item: Any) -> Any:
    """Return the result of a task, in a process of joblib."""
    _end_with(parent)
    return run_task(task, shared, item)


@cache
def _end_with(parent: int) -> None:
    """End this process soon after its parent was killed; by itself it would wait minutes for more tasks."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _dask(params: DaskEngine) -> Iterator[Engine]:
    """Yield an engine of Dask workers, each of which has the environment of this process."""
    address = params.scheduler or ("" if params.workers else os.environ.get(SCHEDULER_VARIABLE, ""))
    if not address and not params.workers:
        remedy = f"set engine.scheduler or ${SCHEDULER_VARIABLE}, or start a cluster here by engine.workers=2"
        raise ConfigError("the engine `dask` has no scheduler", remedy)
    try:
        import dask

        from batchyield.parallel import dask_cluster, dask_engine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
            raise
        remedy = "install the extra: pip install 'batchyield[scale]', or choose engine=local"
        raise MissingToolError(f"{error.name} is not installed, and the engine is `dask`", remedy) from error
    if params.workers:
        cluster = dask_cluster.start_local_cluster(params.workers)
    else:
        cluster = dask_cluster.connect(
            address, dask_cluster.tls_security(params.tls_ca, params.tls_cert, params.tls_key)
        )
    # A large plant's features exceed Dask's limit for a warning, and they are sent only once.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}), cluster as client:
        yield dask_engine.dask_engine(client)
