"""Connection to a Dask scheduler that runs already, or start of a local cluster; Dask's errors as batchyield's."""

import contextlib
import logging
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dask
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.scheduler import KilledWorker
from distributed.security import Security
from distributed.utils import CancelledError

from batchyield.errors import ServiceError

CONNECT_TIMEOUT_SECONDS = 10
WORKERS_TIMEOUT_SECONDS = 60
RETRY_REMEDY = "nothing was written; see the logs of the scheduler and the workers, and run the same command again"
START_REMEDY = "start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"


def tls_security(authority: Path | str | None, certificate: Path | str | None, key: Path | str | None) -> Security:
    """Return Dask's TLS settings from PEM files; None: as configured in Dask."""
    files = {"tls_ca_file": authority, "tls_client_cert": certificate, "tls_client_key": key}
    return Security(**{name: str(path) for name, path in files.items() if path})


class IgnoreSigint(WorkerPlugin):  # type: ignore[misc]
    """Makes local workers ignore Ctrl-C, which the terminal sends to them too; they end with this process."""

    def setup(self, worker: object) -> None:  # noqa: ARG002 - Dask's signature
        """Ignore SIGINT; Dask calls this in the main thread of each worker."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def connect(address: str, security: Security) -> Iterator[Client]:
    """Yield a client of a running scheduler (`tcp://host:8786`, or `tls://…`) with at least one worker.

    Raises:
        ServiceError: the scheduler cannot be reached, or has no worker.
    """
    with dask.config.set({"distributed.comm.timeouts.connect": CONNECT_TIMEOUT_SECONDS}):
        try:
            client = Client(address, security=security, timeout=CONNECT_TIMEOUT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # TypeError: `tls://` without files
            raise ServiceError(f"no Dask scheduler answers at {address}: {_first_line(error)}", START_REMEDY) from None
        with client:
            with translate_errors(address):
                try:
                    client.wait_for_workers(1, timeout=WORKERS_TIMEOUT_SECONDS)
                except TimeoutError:
                    raise no_workers(address) from None
            yield client


@contextlib.contextmanager
def start_local_cluster(workers: int) -> Iterator[Client]:
    """Yield a client of so many local worker processes with one thread each; they end with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="batchyield-dask-") as scratch,
        dask.config.set({"temporary-directory": scratch, "distributed.comm.timeouts.connect": CONNECT_TIMEOUT_SECONDS}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            plugins=(IgnoreSigint(),),
            silence_logs=logging.ERROR,  # workers warn of tasks that Ctrl-C cancels
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextlib.contextmanager
def translate_errors(address: str) -> Iterator[None]:
    """Raise `ServiceError` for Dask's errors; wrap calls of Dask only, because other code raises `OSError` too."""
    try:
        yield
    except KilledWorker as error:
        raise ServiceError(
            f"{error.allowed_failures + 1} workers of {address} died on the same task, the last at "
            f"{error.last_worker.address}",
            f"check that they have enough memory; {RETRY_REMEDY}",
        ) from None
    except (CancelledError, OSError) as error:
        raise scheduler_lost(address, _first_line(error)) from None


def scheduler_lost(address: str, problem: str) -> ServiceError:
    """Return the error for a lost connection."""
    return ServiceError(f"lost the connection to the scheduler {address}: {problem}", RETRY_REMEDY)


def no_workers(address: str) -> ServiceError:
    """Return the error for a scheduler without workers."""
    problem = f"the scheduler {address} has had no worker for {WORKERS_TIMEOUT_SECONDS} seconds"
    return ServiceError(problem, START_REMEDY)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
