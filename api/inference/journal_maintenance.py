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
            self._start_thread("checkpoint", CHECKPOINT_LOCK, self._checkpoint, CHECKPOINT_SECONDS)
        if self._retention_us:
            self._start_thread("prune", MAINTENANCE_LOCK, self._prune, PRUNE_SECONDS)

    def close(self) -> None:
        """Stop the threads after their current step."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start_thread(self, name: str, lock: int, step: Callable[[], None], seconds: float) -> None:
        self._threads.append(threading.Thread(target=self._run, args=(lock, step, seconds), name=name, daemon=True))
        self._threads[-1].start()

    def _checkpoint(self) -> None:
        checkpoint_wal(self._database)

    def _prune(self) -> None:
        if read_revision(self._database):
            before_us = round(time.time() * 1e6 - self._retention_us)
            prune(self._database, before_us, lambda: not self._stopping.is_set())

    def _run(self, lock: int, step: Callable[[], None], seconds: float) -> None:
        """Run `step` soon and then every `seconds`, while this process has the lock."""
        if lock == CHECKPOINT_LOCK:
            with contextlib.suppress(AttributeError, OSError):  # only Linux has priorities of threads
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), CHECKPOINT_NICE)
        pause = CHECKPOINT_SECONDS
        while not self._stopping.wait(pause):
            pause = seconds
            if self._database.file is not None and not self._database.file.exists():
                continue
            try:
                with self._database.exclusive_lock(lock, wait=False) as acquired:
                    if acquired:
                        step()
            except (SQLAlchemyError, BatchyieldError, self._database.driver.Error, OSError) as error:
                # The writer reports an unavailable journal; the next step tries again.
                logger.warning("journal maintenance failed: %s", getattr(error, "orig", error))
