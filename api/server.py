"""The server process: socket, workers and their order of start."""

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

import uvicorn
from uvicorn.supervisors import Multiprocess

from api.http.uvicorn_protocol import BoundedConnection
from api.middleware.auth import Keyring
from api.middleware.rate_limit import RATE_FILE
from api.monitoring.drift_watcher import FOUND
from api.settings import Settings, read_settings, unknown_variables
from api.telemetry.access_log import Log, open_log
from api.telemetry.metrics import MULTIPROC_DIR
from batchyield.errors import SetupError

logger = logging.getLogger("batchyield.service")

BACKLOG = 2048
GRACE_SECONDS = 10

HEALTHCHECK_SECONDS = 60
"""A worker that does not answer its supervisor for this long is replaced; an import on a busy machine takes many."""

FILES_BESIDE_CONNECTIONS = 256


def serve(host: str, port: int, workers: int) -> None:
    """Serve until a signal ends it.

    Args:
        host: name or address; beyond loopback only if keys are configured.
        port: 0 takes any free one.
        workers: number of processes.

    Raises:
        SetupError: the address cannot be bound, or a setting is invalid.
        ArtifactError: the model is not the pinned one.
    """
    settings = read_settings()
    _allow_files(settings.max_connections)
    with _bound(host, port, Keyring(settings).guarded) as listener, contextlib.closing(open_log(settings)) as log:
        for warning in unknown_variables():
            logger.warning(warning)
        if workers == 1:
            _serve_here(listener, settings, log)
        else:
            with _shared_folder():
                _serve_with_workers(listener, settings, workers, log)


def _allow_files(connections: int) -> None:
    """Raise the limit of open files to that of connections, as far as the hard limit allows."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES_BESIDE_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _bound(host: str, port: int, guarded: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SetupError(f"there is no address {host}: {error.strerror}", "choose another with --host") from None
    if not guarded and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise SetupError(
            f"{host} can be reached from other machines, and no key is configured",
            "make one with `batchyield keys add`, set BATCHYIELD_API_KEYS_FILE (or BATCHYIELD_API_KEY), or listen on "
            "127.0.0.1",
        )
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _taken(host, port, error) from None
    return listener


def _listen(listener: socket.socket, serving: Any, log: Log) -> None:
    host, port = listener.getsockname()[:2]
    try:
        listener.listen(BACKLOG)
    except OSError as error:  # on Linux two may bind a port; the second to listen is refused
        raise _taken(host, port, error) from None
    shown = f"[{host}]" if ":" in host else host
    artifact = serving.artifact
    pin = f"md5 {serving.pin.md5}, version {serving.pin.version}, revision {serving.pin.revision}"
    rows = f"{len(artifact.golden.batches)} golden rows answered as recorded"
    log.say("opened", f"model {artifact.card.name}: {pin}; {rows}", model=artifact.md5)
    log.say("serving", f"serving on http://{shown}:{port}")


def _taken(host: str, port: int, error: OSError) -> SetupError:
    return SetupError(
        f"{host} port {port} cannot be had: {error.strerror}",
        "stop the program that holds it, or choose another with --port",
    )


def _serve_here(listener: socket.socket, settings: Settings, log: Log) -> None:
    from api.app import create_app, freeze_garbage_collector
    from api.inference.group_commit import prepare_journal
    from api.inference.hot_swap import open_desired

    serving = open_desired(settings)
    prepare_journal(settings)
    app = create_app(settings, serving, log)
    freeze_garbage_collector()
    _listen(listener, serving, log)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn shuts down in order, then passes the signal on
    uvicorn.Server(_config(app)).run(sockets=[listener])


def _serve_with_workers(listener: socket.socket, settings: Settings, workers: int, log: Log) -> None:
    from api.inference.group_commit import prepare_journal
    from api.inference.hot_swap import open_desired

    # Each worker opens the model for itself; once here, so that a wrong one is refused with one message.
    serving = open_desired(settings)
    prepare_journal(settings)
    _listen(listener, serving, log)
    config = _config("api.app:from_environment", factory=True, workers=workers)
    supervisor = Multiprocess(config, sockets=[listener])
    supervisor.run()
    if any(process.exitcode == uvicorn.config.STARTUP_FAILURE for process in supervisor.processes):
        raise SetupError("a worker could not start", "see its message above")


def _config(app: Any, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="on",
        log_config=None,  # what it logs goes where all goes
        log_level="warning",
        access_log=False,  # api.log has a line for each
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client is
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=HEALTHCHECK_SECONDS,
        **more,
    )


@contextlib.contextmanager
def _shared_folder() -> Iterator[None]:
    """Provide the directory in which workers share their counters and rates."""
    given = os.environ.get(MULTIPROC_DIR)
    if given:
        Path(given).mkdir(parents=True, exist_ok=True)
        for left_over in (*Path(given).glob("*.db"), Path(given) / RATE_FILE, Path(given) / FOUND):
            left_over.unlink(missing_ok=True)
        yield
        return
    with tempfile.TemporaryDirectory(prefix="batchyield-metrics-") as folder:
        os.environ[MULTIPROC_DIR] = folder
        try:
            yield
        finally:
            del os.environ[MULTIPROC_DIR]
