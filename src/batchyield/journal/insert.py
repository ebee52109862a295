"""Inserts journal entries: a group of requests in one transaction, by the fastest statements of each database, again
after failures of the database.

Only this module calls the database driver directly, because SQLAlchemy would cost more than the rows. Both appenders
release the GIL a few times per commit and not once per row, since taking it back may cost a switch interval each time.
"""

import contextlib
import logging
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import BatchyieldError
from batchyield.journal.database import RETRY_SECONDS, Database
from batchyield.journal.failures import explain_failure, is_operational
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.records import AnsweringModel, JournalEntry, list_ids, normalize_id

logger = logging.getLogger("batchyield.journal")

ANSWER_COLUMNS = "at, request, first, batches, caller, format, pin, inputs, predictions"

MAX_STATEMENT_ROWS = 32
"""Rows of a SQLite INSERT; the statements for 1 to 32 rows stay prepared."""

_ANSWER_VALUES = "?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT)"
"""Casts UTF-8 bytes to text in SQLite, which saves decoding them to str and encoding them again."""

_INSERT_IDS = (
    "INSERT INTO asked (batch, answer, position) SELECT value, ?, key + ? FROM json_each(?) WHERE value IS NOT NULL"
)

_INSERT_ANSWERS = """
WITH given AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('answer', 'id')) AS id, t.*
    FROM unnest(
        %b::bigint[], %b::text[], %b::int[], %b::int[], %b::text[], %b::text[], %b::int[], %b::text[], %b::text[]
    ) WITH ORDINALITY AS t (at, request, first, batches, caller, format, pin, inputs, predictions, entry)
), made AS (
    INSERT INTO answer (id, at, request, first, batches, caller, format, pin, inputs, predictions)
    SELECT id, at, request, first, batches, caller, format, pin, inputs, predictions FROM given ORDER BY id
)"""
_INSERT_KEYS = """, keyed AS (
    INSERT INTO idempotency (answer, key, first)
    SELECT given.id, named.key, given.first
    FROM unnest(%b::text[], %b::int[]) AS named (key, entry) JOIN given USING (entry)
)"""
_INSERT_ASKED = """
INSERT INTO asked (batch, answer, position)
SELECT named.batch, given.id, named.position
FROM unnest(%b::text[], %b::int[], %b::int[]) AS named (batch, entry, position) JOIN given USING (entry)
"""
"""With `_INSERT_ANSWERS` and, if an entry has a key, `_INSERT_KEYS`: one statement, which is its own transaction."""


class LostFileError(OSError):
    """The journal's file is no longer the one that was opened."""


class BusyError(Exception):
    """Another connection writes to the journal, and the caller does not wait for it."""


class AlreadyRecordedError(Exception):
    """The journal has an answer under the key of an entry."""


class Appender(ABC):
    """A connection that inserts entries; for one thread at a time."""

    placeholder: str

    def __init__(self, database: Database) -> None:
        self._proxied = database.raw_connection()
        self._connection: Any = self._proxied.driver_connection
        self._pin_ids: dict[AnsweringModel, int] = {}

    @abstractmethod
    def append(self, entries: Sequence[JournalEntry], wait: bool = True) -> int:
        """Insert all entries or none, and return the number of predictions once they are committed.

        Without `wait`, SQLite raises a BusyError, with nothing written, while another connection writes.
        """

    def close(self) -> None:
        """Close the connection."""
        self._proxied.invalidate()

    def _answer_rows(self, entries: Sequence[JournalEntry]) -> list[tuple[Any, ...]]:
        """Return the values of `ANSWER_COLUMNS` for each entry; inputs and predictions are bytes."""
        values = ", ".join([self.placeholder] * 3)
        for pin in {entry.pin for entry in entries} - self._pin_ids.keys():
            insert = f"INSERT INTO pin (version, revision, md5) VALUES ({values}) ON CONFLICT DO NOTHING"  # noqa: S608
            self._connection.execute(insert, pin)
            select = f"SELECT id FROM pin WHERE (version, revision, md5) = ({values})"  # noqa: S608 - placeholders
            self._pin_ids[pin] = self._connection.execute(select, pin).fetchone()[0]
        return [
            (at, request, part.first, len(part.ids), caller, form, self._pin_ids[pin], part.inputs, part.predictions)
            for at, request, caller, form, pin, part, _ in entries
        ]


class SqliteAppender(Appender):
    """Inserts by statements of many rows each."""

    placeholder = "?"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._file = Path(str(database.file))
        self._inode = self._file.stat().st_ino
        self._timeout_ms = self._connection.execute("PRAGMA busy_timeout").fetchone()[0]
        self._waits = True

    def append(self, entries: Sequence[JournalEntry], wait: bool = True) -> int:
        """Insert all entries or none."""
        self._check_file()
        execute = self._connection.execute
        if wait is not self._waits:
            execute(f"PRAGMA busy_timeout={self._timeout_ms if wait else 0}")
            self._waits = wait
        try:
            answers = self._answer_rows(entries)
            execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not wait and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise BusyError from None
            raise
        try:
            answer_ids: list[int] = []
            for rows in _chunks(answers):
                statement = _insert_statement(len(rows), f"answer ({ANSWER_COLUMNS})", _ANSWER_VALUES)
                last = execute(statement, list(chain.from_iterable(rows))).lastrowid
                answer_ids += range(last - len(rows) + 1, last + 1)  # consecutive: no other writer meanwhile
            positions: list[tuple[str, int, int]] = []
            keys: list[tuple[int, str, int]] = []
            for (*_, part, key), answer_id in zip(entries, answer_ids, strict=True):
                if key is not None:
                    keys.append((answer_id, key, part.first))
                if len(part.ids) > MAX_STATEMENT_ROWS:
                    ids = msgspec.json.encode(list(map(normalize_id, part.ids))).decode()
                    execute(_INSERT_IDS, (answer_id, part.first, ids))
                else:
                    positions += [(id_, answer_id, position) for id_, position in list_ids(part)]
            for rows in _chunks(positions):
                statement = _insert_statement(len(rows), "asked (batch, answer, position)", "?, ?, ?")
                execute(statement, list(chain.from_iterable(rows)))
            for rows in _chunks(keys):
                statement = _insert_statement(len(rows), "idempotency (answer, key, first)", "?, ?, ?")
                execute(statement, list(chain.from_iterable(rows)))
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        return sum(len(entry.part.ids) for entry in entries)

    def _check_file(self) -> None:
        # Rows written to a deleted file would be lost without an error.
        with contextlib.suppress(OSError):
            if self._file.stat().st_ino == self._inode:
                return
        raise LostFileError(f"{self._file} was removed or replaced")


class PostgresAppender(Appender):
    """Inserts by one statement that takes its rows as arrays."""

    placeholder = "%s"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._connection.autocommit = True

    def append(self, entries: Sequence[JournalEntry], wait: bool = True) -> int:  # noqa: ARG002 - of SQLite only
        """Insert all entries or none."""
        *columns, inputs, predictions = zip(*self._answer_rows(entries), strict=True)
        texts = [[text.decode() for text in column] for column in (inputs, predictions)]
        asked = [(id_, n, position) for n, entry in enumerate(entries, 1) for id_, position in list_ids(entry.part)]
        asked_columns = map(list, zip(*asked, strict=True)) if asked else ([], [], [])
        keys = [(entry.key, n) for n, entry in enumerate(entries, 1) if entry.key is not None]
        key_columns = map(list, zip(*keys, strict=True)) if keys else ()
        statement = _INSERT_ANSWERS + (_INSERT_KEYS if keys else "") + _INSERT_ASKED
        self._connection.execute(statement, (*map(list, columns), *texts, *key_columns, *asked_columns))
        return sum(len(entry.part.ids) for entry in entries)


def open_appender(database: Database) -> Appender:
    """Return an appender for a journal whose schema is up to date."""
    return SqliteAppender(database) if database.embedded else PostgresAppender(database)


def _chunks(rows: list[tuple[Any, ...]]) -> Iterable[list[tuple[Any, ...]]]:
    return (rows[start : start + MAX_STATEMENT_ROWS] for start in range(0, len(rows), MAX_STATEMENT_ROWS))


def _split_by_request(entries: Sequence[JournalEntry]) -> list[list[JournalEntry]]:
    """Split entries one by one, but keep the parts of a request with a key together."""
    requests: list[list[JournalEntry]] = []
    for entry in entries:
        if entry.key is None or entry.part.first == 0:
            requests.append([])
        requests[-1].append(entry)
    return requests


@lru_cache(2 * MAX_STATEMENT_ROWS)
def _insert_statement(count: int, columns: str, values: str) -> str:
    rows = ", ".join([f"({values})"] * count)
    return f"INSERT INTO {columns} VALUES {rows}"  # noqa: S608 - names of this module only


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

    @property
    def ready(self) -> bool:
        """Whether the connection is open and the last attempt succeeded."""
        return self._appender is not None and self._failure is None

    def write(self, entries: Sequence[JournalEntry], wait: bool = True) -> list[Exception | None]:
        """Write entries and return for each None once it is committed, or the error that prevented it.

        Entries in a row that are parts of one request with a key are written all or none, with an
        `AlreadyRecordedError` if the key is in the journal.

        Raises:
            BusyError: another connection writes to SQLite, and `wait` is false; nothing was written.
        """
        if self._failure is not None and time.monotonic() < self._retry_at:
            return [self._failure] * len(entries)
        started = time.perf_counter()
        try:
            if self._appender is None:
                ensure_schema(self._database)
                self._appender = open_appender(self._database)
            rows = self._appender.append(entries, wait)
        except BusyError:
            raise
        except Exception as error:
            if isinstance(error, self._database.driver.IntegrityError) and any(entry.key for entry in entries):
                if len(requests := _split_by_request(entries)) > 1:
                    return [result for request in requests for result in self.write(request)]
                return [AlreadyRecordedError()] * len(entries)
            self._on_failure()
            unavailable = (BatchyieldError, OSError, self._database.driver.OperationalError)
            if self._appender is not None and not (isinstance(error, unavailable) or is_operational(error)):
                if len(requests := _split_by_request(entries)) > 1:  # one bad request must not fail the others
                    return [result for request in requests for result in self.write(request)]
                logger.exception("an answer cannot be journalled")
                self.close()  # the connection may be at fault all the same
                return [error] * len(entries)
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
