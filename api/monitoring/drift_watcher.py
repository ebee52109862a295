"""Drift watcher: a thread that evaluates the newest predictions in the journal and keeps the last snapshot.

One worker evaluates for all that share a directory. Its snapshot is one file, so that no metric of an earlier check, of
a replaced model or of a dead worker stays beside the new ones.
"""

import fcntl
import logging
import os
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import IO

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from api.inference.service import Service
from api.settings import Settings
from api.telemetry.metrics import MULTIPROC_DIR
from batchyield.errors import BatchyieldError, DatabaseUnavailableError
from batchyield.files import write_atomic
from batchyield.monitoring.findings import Findings, read_findings
from batchyield.monitoring.throttle import Throttle

logger = logging.getLogger("batchyield.watch")

SNAPSHOT_FILE, LOCK_FILE = "watch.json", "watch.lock"

STALE_PASSES = 3
"""Passes without success after which a request for the findings makes a check of its own."""

FLUSH_SECONDS = 1.0
"""Pause in which a worker without checks counts its predictions, so that `/metrics` of any worker has them."""

READ_ERRORS = (DatabaseUnavailableError, SQLAlchemyError)
"""Raised by a check if the journal cannot be read."""


class DriftSnapshot(msgspec.Struct, frozen=True):
    """The result of one check of the model `md5`, which ended `at` seconds since 1970 and took `seconds`."""

    md5: str
    at: float
    seconds: float
    findings: Findings


class DriftWatcher:
    """Checks periodically, unless another worker does."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service, self._settings = service, settings
        directory = os.environ.get(MULTIPROC_DIR)
        self._directory = Path(directory) if directory else None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._last: DriftSnapshot | None = None
        self._refreshing = threading.Lock()
        self._failing = False

    @property
    def enabled(self) -> bool:
        """Whether there is a journal and an interval."""
        return bool(self._service.journal.enabled and self._settings.watch_seconds)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread after the running check, which is no longer throttled."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def last(self) -> DriftSnapshot | None:
        """Return the last snapshot of any worker, or None if there is none of the model in service."""
        if not self._service.ready:
            return None
        snapshot = self._last
        if self._directory is not None:
            try:
                snapshot = msgspec.json.decode((self._directory / SNAPSHOT_FILE).read_bytes(), type=DriftSnapshot)
            except (OSError, msgspec.MsgspecError):
                return None
        return snapshot if snapshot and snapshot.md5 == self._service.model.pin.md5 else None

    def refresh_if_stale(self) -> DriftSnapshot:
        """Return the last snapshot, or a new one if it is too old.

        Raises:
            RequestError: there is no journal, or no model yet.
            DatabaseUnavailableError, SQLAlchemyError: the journal cannot be read.
        """
        with self._refreshing:
            snapshot = self.last() if self._settings.watch_seconds else None
            if snapshot and time.time() - snapshot.at < STALE_PASSES * self._settings.watch_seconds:
                return snapshot
            return self._check()

    def _check(self) -> DriftSnapshot:
        started = time.perf_counter()
        model, database = self._service.model, self._service.journal.database
        throttle, batches = Throttle(self._stopping.wait), self._settings.watch_batches
        findings = read_findings(database, model.pin.md5, model.reference, model.artifact.card, batches, throttle)
        return DriftSnapshot(model.pin.md5, time.time(), round(time.perf_counter() - started, 6), findings)

    def _run(self) -> None:
        with nullcontext() if self._directory is None else (self._directory / LOCK_FILE).open("ab") as lock:
            while True:
                self._service.metrics.predictions.flush()
                if self.enabled and self._service.ready and _is_leader(lock):
                    self._pass()
                if self._stopping.wait(self._settings.watch_seconds or FLUSH_SECONDS):
                    return

    def _pass(self) -> None:
        try:
            snapshot = self._check()
            if self._directory is not None:
                write_atomic(self._directory / SNAPSHOT_FILE, msgspec.json.encode(snapshot))
            self._last = snapshot
        except (SQLAlchemyError, BatchyieldError, OSError) as error:
            self._service.metrics.watch_failures.inc()
            if not self._failing:
                logger.warning("the journal cannot be checked for drift: %s", getattr(error, "orig", error))
            self._failing = True
            return
        if self._failing:
            logger.warning("the journal is checked for drift again")
        self._failing = False


def _is_leader(lock: IO[bytes] | None) -> bool:
    """Return whether this worker checks for all; the kernel frees the lock of a dead one."""
    try:
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
