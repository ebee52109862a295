"""The watch: a thread that looks at the newest answers in the journal and keeps what it found for whoever asks.

One worker looks for all that share a folder. What it found is one file, so that no series of an earlier look, of a
model that was replaced or of a worker that died can stay behind beside the new ones.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from api.inference.served_model import ServedModel
from api.inference.service import Service
from api.settings import Settings
from api.telemetry.metrics import MULTIPROC_DIR
from batchyield.errors import BatchyieldError, DatabaseUnavailableError
from batchyield.files import write_atomic
from batchyield.monitoring.findings import Findings, read_findings
from batchyield.monitoring.throttle import Throttle

logger = logging.getLogger("batchyield.watch")

FOUND, LOCK = "watch.json", "watch.lock"

STALE_PASSES = 3
"""After so many passes without success, who asks for findings is answered by a look of its own."""


class DriftSnapshot(msgspec.Struct, frozen=True):
    """One look: of which model, when it ended, in seconds since 1970, how long it took, and what was found."""

    md5: str
    at: float
    seconds: float
    findings: Findings


class DriftWatcher:
    """Looks every so many seconds, for as long as it runs and no other worker does."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service, self._settings = service, settings
        folder = os.environ.get(MULTIPROC_DIR)
        self._folder = Path(folder) if folder else None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._kept: DriftSnapshot | None = None
        self._looking = threading.Lock()
        self._failing = False

    @property
    def enabled(self) -> bool:
        """Whether there is something to look at, and an interval to do it in."""
        return bool(self._service.journal.kept and self._settings.watch_seconds)

    def start(self) -> None:
        """Begins."""
        if self._settings.watch_seconds:
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends, after the look that is under way, which rests no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def found(self) -> DriftSnapshot | None:
        """The last look, by whichever worker; None where there is none, or it was at another model."""
        if not self._service.ready:
            return None
        kept = self._kept
        if self._folder is not None:
            try:
                kept = msgspec.json.decode((self._folder / FOUND).read_bytes(), type=DriftSnapshot)
            except (OSError, msgspec.MsgspecError):
                return None
        return kept if kept and kept.md5 == self._service.serving.pin.md5 else None

    def fresh(self) -> DriftSnapshot:
        """The last look, or a new one where that is too old.

        Raises:
            RequestError: there is no journal, or no model yet.
            DatabaseUnavailableError, SQLAlchemyError: the journal cannot be read.
        """
        with self._looking:
            kept = self.found() if self._settings.watch_seconds else None
            if kept and time.time() - kept.at < STALE_PASSES * self._settings.watch_seconds:
                return kept
            return self._look(self._service.serving)

    def _look(self, serving: ServedModel) -> DriftSnapshot:
        started = time.perf_counter()
        artifact = serving.artifact
        store, batches = self._service.journal.store, self._settings.watch_batches
        findings = read_findings(
            store, serving.pin.md5, serving.reference, artifact.card, batches, Throttle(self._ended.wait)
        )
        return DriftSnapshot(serving.pin.md5, time.time(), round(time.perf_counter() - started, 6), findings)

    def _run(self) -> None:
        with self._leader() as leads:
            while True:
                self._service.metrics.count_cells()
                if self.enabled and self._service.ready and leads():
                    self._pass()
                if self._ended.wait(self._settings.watch_seconds):
                    return

    def _pass(self) -> None:
        try:
            made = self._look(self._service.serving)
            if self._folder is not None:
                write_atomic(self._folder / FOUND, msgspec.json.encode(made))
            self._kept = made
        except (SQLAlchemyError, BatchyieldError, OSError) as error:
            self._service.metrics.watch_failed()
            if not self._failing:
                logger.warning("the journal cannot be watched: %s", getattr(error, "orig", error))
            self._failing = True
            return
        if self._failing:
            logger.warning("the journal is watched again")
        self._failing = False

    @contextmanager
    def _leader(self) -> Iterator[Callable[[], bool]]:
        """Whether this worker looks for all; the lock is given up with the process at the latest."""
        if self._folder is None:
            yield lambda: True
            return
        with (self._folder / LOCK).open("ab") as handle:

            def leads() -> bool:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            yield leads


UNREADABLE = (DatabaseUnavailableError, SQLAlchemyError)
"""What a look raises where the journal is away."""
