"""Dask's scheduler and workers as a client meets them: those that run somewhere, or some of its own."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dask
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.security import Security
from distributed.utils import CancelledError

from batchyield.errors import SetupError

CONNECT_SECONDS = 10
ARRIVE_SECONDS = 60
START = "start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"


@dataclass(frozen=True)
class Tls:
    """Files of TLS, each in PEM; what is None is taken from Dask's own configuration."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def security(self) -> Security:
        """What Dask's client is to use."""
        given = {"tls_ca_file": self.authority, "tls_client_cert": self.certificate, "tls_client_key": self.key}
        return Security(**{name: str(path) for name, path in given.items() if path})


@contextlib.contextmanager
def connected(address: str, tls: Tls) -> Iterator[Client]:
    """A client of a scheduler that runs, with at least one worker.

    Args:
        address: `tcp://host:8786`, or `tls://…`.
        tls: where it asks for it.

    Raises:
        SetupError: nobody answers there, there is no worker, or the scheduler went away within the block.
    """
    with told(address):
        try:
            client = Client(address, security=tls.security(), timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SetupError(f"no Dask scheduler answers at {address}: {_first_line(error)}", START) from None
        with client:
            try:
                client.wait_for_workers(1, timeout=ARRIVE_SECONDS)
            except TimeoutError:
                raise workerless(address) from None
            yield client


@contextlib.contextmanager
def started(workers: int) -> Iterator[Client]:
    """A client of as many worker processes of this machine, one thread each, that end with the block.

    Raises:
        SetupError: they went away within the block.
    """
    with (
        tempfile.TemporaryDirectory(prefix="batchyield-dask-") as scratch,
        dask.config.set({"distributed.worker.use-file-locking": False}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, local_directory=scratch
        ) as cluster,
        told(cluster.scheduler_address),
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextlib.contextmanager
def told(address: str) -> Iterator[None]:
    """Says what Dask met, and what to do."""
    again = "nothing was written; see the logs of the scheduler and the workers, and run the same command again"
    try:
        yield
    except KilledWorker as error:
        attempts = error.allowed_failures + 1
        raise SetupError(
            f"{attempts} workers of {address} died over the same part, the last at {error.last_worker.address}",
            f"have they memory enough? {again}",
        ) from None
    except (CancelledError, CommClosedError) as error:
        raise SetupError(f"the scheduler {address} went away: {_first_line(error)}", again) from None


def workerless(address: str) -> SetupError:
    """That a scheduler has nobody to work for it."""
    return SetupError(f"the scheduler {address} has had no worker for {ARRIVE_SECONDS} seconds", START)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
