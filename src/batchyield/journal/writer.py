"""The journal's one writer in a process: connects when it must, and outlives every failure of the database."""

import logging
import time
from collections.abc import Callable, Sequence

from batchyield.errors import BatchyieldError
from batchyield.journal.database import Database
from batchyield.journal.insert import Appender, open_appender
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.records import JournalEntry

logger = logging.getLogger("batchyield.journal")

RETRY_SECONDS = 0.25
"""After a failure nothing is tried for so long: a database which is away costs no request a timeout of its own."""


class JournalWriter:
    """Writes groups of entries, each group in one transaction. For one thread at a time.

    Args:
        store: the journal.
        committed: told the rows and the seconds of each commit.
        failed: told of each attempt that failed.
    """

    def __init__(self, store: Database, committed: Callable[[int, float], None], failed: Callable[[], None]) -> None:
        self._store, self._committed, self._failed = store, committed, failed
        self._appender: Appender | None = None
        self._failure: Exception | None = None
        self._retry_at = 0.0

    def write(self, entries: Sequence[JournalEntry]) -> list[Exception | None]:
        """For each entry None once it is committed, or what was in the way."""
        if self._failure is not None and time.monotonic() < self._retry_at:
            return [self._failure] * len(entries)
        started = time.perf_counter()
        try:
            rows = self._connected().append(entries)
        except Exception as error:
            self._failed()
            if self._is_of_an_entry(error):
                if len(entries) > 1:
                    return [self.write([entry])[0] for entry in entries]
                logger.exception("an answer cannot be journalled")
                self.close()  # the fault may be the connection's all the same
                return [error]
            self._lost(error)
            return [error] * len(entries)
        if self._failure is not None:
            logger.warning("the journal %s is written again", self._store.name)
            self._failure = None
        self._committed(rows, time.perf_counter() - started)
        return [None] * len(entries)

    def close(self) -> None:
        """Gives the connection up; the next group makes a new one."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def _connected(self) -> Appender:
        if self._appender is None:
            ensure_schema(self._store)
            self._appender = open_appender(self._store)
        return self._appender

    def _is_of_an_entry(self, error: Exception) -> bool:
        """Whether the fault may lie in one entry, which then must not take the others with it."""
        return self._appender is not None and not isinstance(
            error, (BatchyieldError, OSError, self._store.operational_error)
        )

    def _lost(self, error: Exception) -> None:
        if self._failure is None:
            logger.error("the journal %s cannot be written: %s", self._store.name, " ".join(str(error).split()))
        self._failure, self._retry_at = error, time.monotonic() + RETRY_SECONDS
        self.close()
        self._store.close()  # whoever reads is not to go on with a file or a server that is gone
