"""Background maintenance of the journal, by one worker at a time: SQLite checkpoints and retention."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from batchyield.errors import BatchyieldError
from batchyield.journal.database import CHECKPOINT_LOCK, MAINTENANCE_LOCK, Database
from batchyield.journal.migrate import read_revision
from batchyield.journal.retention import checkpoint_wal, prune
from batchyield.monitoring.arrival_rate import DAY_US

logger = logging.getLogger("batchyield.journal")

CHECKPOINT_SECONDS = 1.0
PRUNE_SECONDS = 60.0

CHECKPOINT_NICE = 10
"""Linux priority of the checkpoint thread; under full load a checkpoint is 10 ms of work per second.

Only for a thread of its own: SQLite releases Python's interpreter lock (GIL) while it works. A thread of low priority
that holds the GIL would make the request threads wait for its turn of the processor (priority inversion).
"""


class JournalMaintenance:
    """The maintenance threads; a lock in the journal keeps other workers from running the same step."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._retention_us = database, settings.journal_retention_days * DAY_US
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads that the journal and the settings need."""
        self._stopping.clear()
        if self._database.embedded:
            self._start_thread("checkpoint", self._checkpoint_periodically)
        if self._retention_us:
            self._start_thread("prune", self._prune_periodically)

    def close(self) -> None:
        """Stop the threads after their current step."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start_thread(self, name: str, target: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=target, name=name, daemon=True))
        self._threads[-1].start()

    def _checkpoint_periodically(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # only Linux has priorities of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), CHECKPOINT_NICE)
        while not self._stopping.wait(CHECKPOINT_SECONDS):
            self._run_exclusively(CHECKPOINT_LOCK, lambda: checkpoint_wal(self._database))

    def _prune_periodically(self) -> None:
        pause = CHECKPOINT_SECONDS
        while not self._stopping.wait(pause):
            self._run_exclusively(MAINTENANCE_LOCK, self._prune)
            pause = PRUNE_SECONDS

    def _prune(self) -> None:
        if read_revision(self._database):
            before_us = round(time.time() * 1e6 - self._retention_us)
            prune(self._database, before_us, lambda: not self._stopping.is_set())

    def _run_exclusively(self, lock: int, step: Callable[[], None]) -> None:
        if self._database.file is not None and not self._database.file.exists():
            return
        try:
            with self._database.exclusive_lock(lock, wait=False) as acquired:
                if acquired:
                    step()
        except (SQLAlchemyError, BatchyieldError, self._database.driver.Error, OSError) as error:
            # The writer reports an unavailable journal; the next step tries again.
            logger.warning("journal maintenance failed: %s", getattr(error, "orig", error))
