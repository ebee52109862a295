"""The journal's log is emptied and what is too old removed in the background, by one worker at a time."""

import contextlib
import logging
import os
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from batchyield.errors import SetupError
from batchyield.journal.retention import DAY, checkpoint, prune
from batchyield.journal.store import UPKEEP, Store
from batchyield.journal.upgrade import revision

logger = logging.getLogger("batchyield.journal")

CHECKPOINT_SECONDS = 1.0
PRUNE_SECONDS = 60.0

NICE = 10
"""Of the thread: a checkpoint is 10 ms of work a second under full load, which the answers need not share their core
with."""


class Upkeep:
    """A thread that looks after a journal, for as long as no other worker does."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._keep = store, settings.journal_retention_days * DAY
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_prune = 0.0

    def start(self) -> None:
        """Begins."""
        if self._store.embedded or self._keep:
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends, between two steps."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # a thread can have a priority of its own on Linux alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        pause = CHECKPOINT_SECONDS if self._store.embedded else PRUNE_SECONDS
        while not self._ended.wait(pause):
            try:
                self._step()
            except (SQLAlchemyError, SetupError, self._store.error, OSError) as error:
                # The writer says where the journal is lost; here the next step tries again.
                logger.warning("the journal's upkeep failed: %s", getattr(error, "orig", error))

    def _step(self) -> None:
        if self._store.file is not None and not self._store.file.exists():
            return
        with self._store.alone(UPKEEP, wait=False) as ours:
            if not ours:
                return
            checkpoint(self._store)
            if self._keep and time.monotonic() >= self._next_prune and revision(self._store):
                prune(self._store, round(time.time() * 1e6 - self._keep), lambda: not self._ended.is_set())
                self._next_prune = time.monotonic() + PRUNE_SECONDS
