"""The server process: socket, workers, and the order of the start."""

import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from uvicorn.supervisors import Multiprocess

from api.http.uvicorn_protocol import BoundedConnection
from api.inference.memory_limit import bulk_slots, memory_limit
from api.middleware.authorization import Keyring
from api.middleware.rate_limit import RATE_FILE
from api.monitoring.drift_watcher import SNAPSHOT_FILE
from api.settings import Settings, read_settings, unknown_variables
from api.telemetry.access_log import ServiceLog, open_log
from api.telemetry.metrics import MULTIPROC_DIR
from api.telemetry.running_requests import take_running
from batchyield.errors import ConfigError, ServiceError

logger = logging.getLogger("batchyield.service")

BACKLOG = 2048
GRACE_SECONDS = 10

HEALTHCHECK_SECONDS = 10
"""Time a worker has to answer the supervisor's ping before it is replaced; uvicorn's 5 s are short on a busy machine.

A worker that ends during a ping is replaced, and a signal is handled, only when this time is over."""

BULK_SLOTS = "BATCHYIELD_BULK_SLOTS"

OTHER_FILES = 256
"""Open files besides the connections."""


def serve(host: str, port: int, workers: int) -> None:
    """Serve until a signal ends it; a host beyond loopback needs a key, and port 0 takes any free one.

    Raises:
        ConfigError: a setting is invalid, or the host needs an API key.
        ServiceError: the address cannot be bound, or a worker cannot start.
        ArtifactError: the model is not the pinned one.
    """
    settings = read_settings()
    _allow_files(settings.max_connections)
    with _bind(host, port, Keyring(settings).guarded) as listener, contextlib.closing(open_log(settings)) as log:
        for warning in unknown_variables():
            logger.warning(warning)
        if settings.bulk_slots is None:
            settings = msgspec.structs.replace(settings, bulk_slots=bulk_slots(memory_limit(), workers))
            os.environ[BULK_SLOTS] = str(settings.bulk_slots)  # for the workers, which do not know their number
        with _shared_directory(workers):
            _serve(listener, settings, workers, log)


def _allow_files(connections: int) -> None:
    """Raise the limit of open files to the number of connections, as far as the hard limit allows."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))


def _bind(host: str, port: int, guarded: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ServiceError(f"there is no address {host}: {error.strerror}", "choose another with --host") from None
    if not guarded and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise ConfigError(
            f"{host} can be reached from other machines, and no key is configured",
            "make one with `batchyield keys add` and set BATCHYIELD_API_KEYS_FILE (or BATCHYIELD_API_KEY), or listen "
            "on 127.0.0.1",
        )
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_bind(host, port, error) from None
    return listener


def _listen(listener: socket.socket, model: Any, log: ServiceLog) -> None:
    host, port = listener.getsockname()[:2]
    try:
        listener.listen(BACKLOG)
    except OSError as error:  # on Linux two programs can bind a port, but only one can listen
        raise _cannot_bind(host, port, error) from None
    shown = f"[{host}]" if ":" in host else host
    artifact = model.artifact
    pin = f"md5 {model.pin.md5}, version {model.pin.version}, revision {model.pin.revision}"
    rows = f"{len(artifact.golden.batches)} golden rows predicted as recorded"
    log.event("opened", f"model {artifact.card.name}: {pin}; {rows}", model=artifact.md5)
    log.event("serving", f"serving on http://{shown}:{port}")


def _cannot_bind(host: str, port: int, error: OSError) -> ServiceError:
    return ServiceError(
        f"cannot listen on {host} port {port}: {error.strerror}",
        "stop the program that uses it, or choose another with --port",
    )


def _serve(listener: socket.socket, settings: Settings, workers: int, log: ServiceLog) -> None:
    from api.inference.group_commit import prepare_journal
    from api.inference.hot_swap import open_desired

    model = open_desired(settings)  # each further worker opens it itself; here a wrong one is refused only once
    prepare_journal(settings)
    if workers == 1:
        from api.app import create_app, freeze_garbage_collector

        app = create_app(settings, model, log)
        freeze_garbage_collector()
        _listen(listener, model, log)
        uvicorn.Server(_config(app, settings)).run(sockets=[listener])
        return
    _listen(listener, model, log)
    config = _config("api.app:from_environment", settings, factory=True, workers=workers)
    supervisor = Supervisor(config, sockets=[listener])
    supervisor.run()
    if any(process.exitcode == uvicorn.config.STARTUP_FAILURE for process in supervisor.processes):
        raise ServiceError("a worker could not start", "see its message above")


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which also logs the end of a worker and the large requests that it held."""

    def keep_subprocess_alive(self) -> None:
        before = list(self.processes)
        super().keep_subprocess_alive()
        for process in before:
            if process in self.processes or process.pid is None:
                continue
            code = process.exitcode or 0
            end = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            ids = take_running(Path(os.environ[MULTIPROC_DIR]), process.pid)
            held = f" while it processed the large requests {', '.join(ids)}" if ids else ""
            cause = "; at the memory limit the kernel sends SIGKILL" if code == -signal.SIGKILL else ""
            logger.error("worker %d died: %s%s%s; another one takes its place", process.pid, end, held, cause)


def _config(app: Any, settings: Settings, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="on",
        log_config=None,  # its records go to our log
        log_level="warning",
        access_log=False,  # our log has a line per request
        server_header=False,
        proxy_headers=False,  # the client's address is not used
        timeout_keep_alive=settings.idle_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=HEALTHCHECK_SECONDS,
        **more,
    )


@contextlib.contextmanager
def _shared_directory(workers: int) -> Iterator[None]:
    """Provide the directory in which workers share their counters and rates; a single worker needs none.

    Raises:
        ConfigError: the configured one cannot be used.
    """
    if configured := os.environ.get(MULTIPROC_DIR):
        directory = Path(configured)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            leftovers = (*directory.glob("*.db"), *directory.glob("*.requests"))
            for leftover in (*leftovers, directory / RATE_FILE, directory / SNAPSHOT_FILE):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            problem = f"{MULTIPROC_DIR}={configured} cannot be used: {error.strerror}"
            raise ConfigError(problem, "name a folder that the service may write, or unset the variable") from None
        yield
        return
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="batchyield-metrics-") as temporary:
        os.environ[MULTIPROC_DIR] = temporary
        try:
            yield
        finally:
            del os.environ[MULTIPROC_DIR]
