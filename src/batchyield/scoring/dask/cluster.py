"""Dask's scheduler and workers as a client meets them: those that run somewhere, or some of its own."""

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dask
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.scheduler import KilledWorker
from distributed.security import Security
from distributed.utils import CancelledError

from batchyield.errors import SetupError

CONNECT_TIMEOUT_SECONDS = 10
WORKERS_TIMEOUT_SECONDS = 60
SAME_COMMIT_REMEDY = "have every machine run the image or the lock (requirements/scale.txt) of the same commit"
RETRY_REMEDY = "nothing was written; see the logs of the scheduler and the workers, and run the same command again"
START_REMEDY = "start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"


@dataclass(frozen=True)
class TlsFiles:
    """Files of TLS, each in PEM; what is None is taken from Dask's own configuration."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def security(self) -> Security:
        """What Dask's client is to use."""
        given = {"tls_ca_file": self.authority, "tls_client_cert": self.certificate, "tls_client_key": self.key}
        return Security(**{name: str(path) for name, path in given.items() if path})


class IgnoreSigint(WorkerPlugin):  # type: ignore[misc]
    """A worker of our own ends with us: the Ctrl-C that a terminal sends to it as well would only have it complain."""

    def setup(self, worker: object) -> None:  # noqa: ARG002 - Dask's signature
        """Called by Dask in each worker, in its main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def connect(address: str, tls: TlsFiles) -> Iterator[Client]:
    """A client of a scheduler that runs, with at least one worker.

    Args:
        address: `tcp://host:8786`, or `tls://…`.
        tls: where it asks for it.

    Raises:
        SetupError: nobody answers there, or it has no worker.
    """
    with dask.config.set({"distributed.comm.timeouts.connect": CONNECT_TIMEOUT_SECONDS}):
        try:
            client = Client(address, security=tls.security(), timeout=CONNECT_TIMEOUT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # a TypeError: `tls://`, and nothing to speak it with
            raise SetupError(f"no Dask scheduler answers at {address}: {_first_line(error)}", START_REMEDY) from None
        with client:
            with translate_errors(address):
                try:
                    client.wait_for_workers(1, timeout=WORKERS_TIMEOUT_SECONDS)
                except TimeoutError:
                    raise no_workers(address) from None
            yield client


@contextlib.contextmanager
def start_local_cluster(workers: int) -> Iterator[Client]:
    """A client of as many worker processes of this machine, one thread each, that end with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="batchyield-dask-") as scratch,
        dask.config.set({"temporary-directory": scratch, "distributed.comm.timeouts.connect": CONNECT_TIMEOUT_SECONDS}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, plugins=(IgnoreSigint(),)
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextlib.contextmanager
def translate_errors(address: str) -> Iterator[None]:
    """Says what Dask met, and what to do; for calls of Dask alone, as others fail with an `OSError` too."""
    try:
        yield
    except KilledWorker as error:
        raise SetupError(
            f"workers of {address} died over the same part, {error.allowed_failures + 1} times, the last at "
            f"{error.last_worker.address}",
            f"have they memory enough? {RETRY_REMEDY}",
        ) from None
    except (CancelledError, OSError) as error:
        raise scheduler_lost(address, _first_line(error)) from None


def scheduler_lost(address: str, problem: str) -> SetupError:
    """That a scheduler was there."""
    return SetupError(f"the scheduler {address} went away: {problem}", RETRY_REMEDY)


def no_workers(address: str) -> SetupError:
    """That a scheduler has nobody to work for it."""
    return SetupError(f"the scheduler {address} has had no worker for {WORKERS_TIMEOUT_SECONDS} seconds", START_REMEDY)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
