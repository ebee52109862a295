"""The journal's writer in a process: reconnects after failures of the database."""

import logging
import time
from collections.abc import Callable, Sequence

from batchyield.errors import BatchyieldError
from batchyield.journal.database import RETRY_SECONDS, Database
from batchyield.journal.failures import explain_failure, is_operational
from batchyield.journal.insert import Appender, open_appender
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.records import JournalEntry

logger = logging.getLogger("batchyield.journal")


class JournalWriter:
    """Writes groups of entries, each group in one transaction; not thread-safe.

    Args:
        on_commit: called after each commit with the number of rows and the seconds it took.
        on_failure: called after each failed attempt.
    """

    def __init__(
        self, database: Database, on_commit: Callable[[int, float], None], on_failure: Callable[[], None]
    ) -> None:
        self._database, self._on_commit, self._on_failure = database, on_commit, on_failure
        self._appender: Appender | None = None
        self._failure: Exception | None = None
        self._retry_at = 0.0

    def write(self, entries: Sequence[JournalEntry]) -> list[Exception | None]:
        """Write entries and return for each None once it is committed, or the error that prevented it."""
        if self._failure is not None and time.monotonic() < self._retry_at:
            return [self._failure] * len(entries)
        started = time.perf_counter()
        try:
            if self._appender is None:
                ensure_schema(self._database)
                self._appender = open_appender(self._database)
            rows = self._appender.append(entries)
        except Exception as error:
            self._on_failure()
            unavailable = (BatchyieldError, OSError, self._database.driver.OperationalError)
            if self._appender is not None and not (isinstance(error, unavailable) or is_operational(error)):
                if len(entries) > 1:  # one bad entry must not fail the others
                    return [self.write([entry])[0] for entry in entries]
                logger.exception("an answer cannot be journalled")
                self.close()  # the connection may be at fault all the same
                return [error]
            if self._failure is None:
                reason, remedy = explain_failure(error)
                text = reason if isinstance(error, BatchyieldError) else f"{reason}; {remedy}"
                logger.error("the journal %s cannot be written: %s", self._database.name, text)  # noqa: TRY400
            self._failure, self._retry_at = error, time.monotonic() + RETRY_SECONDS
            self.close()
            self._database.close()  # readers must not keep connections to a file or a server that is gone
            return [error] * len(entries)
        if self._failure is not None:
            logger.warning("the journal %s is written again", self._database.name)
            self._failure = None
        self._on_commit(rows, time.perf_counter() - started)
        return [None] * len(entries)

    def close(self) -> None:
        """Close the connection; the next write opens a new one."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None
