"""Background maintenance of the journal, by one worker at a time: SQLite checkpoints and retention."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from batchyield.errors import SetupError
from batchyield.journal.database import CHECKPOINT_LOCK, MAINTENANCE_LOCK, Database
from batchyield.journal.migrate import read_revision
from batchyield.journal.retention import checkpoint_wal, prune
from batchyield.monitoring.arrival_rate import DAY_US

logger = logging.getLogger("batchyield.journal")

CHECKPOINT_SECONDS = 1.0
PRUNE_SECONDS = 60.0

NICE = 10
"""Priority of the checkpoint thread: under full load a checkpoint is 10 ms of work per second, and answers go first."""


class JournalMaintenance:
    """Maintenance threads of a journal; a lock of the journal keeps other workers from the same step."""

    def __init__(self, store: Database, settings: Settings) -> None:
        self._store, self._keep = store, settings.journal_retention_days * DAY_US
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        self._ended.clear()
        if self._store.embedded:
            self._begin("checkpoint", self._checkpoint_all)
        if self._keep:
            self._begin("prune", self._prune_all)

    def close(self) -> None:
        """Stop the threads after their current step."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work, name=name, daemon=True))
        self._threads[-1].start()

    def _checkpoint_all(self) -> None:
        # A thread of its own: what would hold Python's lock must not have a lower priority than those who wait for it.
        with contextlib.suppress(AttributeError, OSError):  # Linux alone knows priorities of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while not self._ended.wait(CHECKPOINT_SECONDS):
            self._alone(CHECKPOINT_LOCK, lambda: checkpoint_wal(self._store))

    def _prune_all(self) -> None:
        pause = CHECKPOINT_SECONDS
        while not self._ended.wait(pause):
            self._alone(MAINTENANCE_LOCK, self._prune)
            pause = PRUNE_SECONDS

    def _prune(self) -> None:
        if read_revision(self._store):
            prune(self._store, round(time.time() * 1e6 - self._keep), lambda: not self._ended.is_set())

    def _alone(self, lock: int, step: Callable[[], None]) -> None:
        if self._store.file is not None and not self._store.file.exists():
            return
        try:
            with self._store.exclusive_lock(lock, wait=False) as ours:
                if ours:
                    step()
        except (SQLAlchemyError, SetupError, self._store.driver_error, OSError) as error:
            # The journal's writer reports a journal that is away; the next step tries again.
            logger.warning("the journal's upkeep failed: %s", getattr(error, "orig", error))
