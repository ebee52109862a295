"""Writing to the journal: all that waits in one transaction, by the quickest statement that the database has.

Here alone the driver is called directly, since SQLAlchemy would cost more than the rows do. In both, the interpreter's
lock is given up a few times a commit and not once a row: getting it back may take the switch interval each time.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from batchyield.journal.entry import COLUMNS, Entry, Pin, Row, rows
from batchyield.journal.store import Store

SIZES = (*range(1, 33), 64, 128, 256)
"""Rows of the SQLite statements, few enough to stay prepared. What fits one of them needs no BEGIN and no COMMIT."""

_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)


class Appender(Protocol):
    """A connection that writes."""

    def append(self, entries: Sequence[Entry]) -> int:
        """Writes all or nothing, and returns once it is committed: the number of rows."""

    def close(self) -> None:
        """Gives the connection up."""


class LostFileError(OSError):
    """The journal's file is no longer the one that was opened."""


def appender(store: Store) -> Appender:
    """A writer for the journal, whose schema must be up to date."""
    return SqliteAppender(store) if store.embedded else PostgresAppender(store)


class SqliteAppender:
    """Writes by statements of many rows each."""

    def __init__(self, store: Store) -> None:
        self._file = Path(str(store.file))
        self._proxied = store.driver()
        self._connection: Any = self._proxied.driver_connection
        self._opened = self._file.stat().st_ino
        self._pins: dict[Pin, int] = {}

    def append(self, entries: Sequence[Entry]) -> int:
        """Writes all or nothing."""
        self._check_file()
        run = self._connection.execute
        for pin in {entry.pin for entry in entries} - self._pins.keys():
            run("INSERT OR IGNORE INTO pin (version, revision, md5) VALUES (?, ?, ?)", pin)
            found = run("SELECT id FROM pin WHERE (version, revision, md5) = (?, ?, ?)", pin).fetchone()
            self._pins[pin] = found[0]
        made = [row for entry in entries for row in rows(entry, self._pins[entry.pin])]
        first, *more = _parts(made)
        if not more:
            self._insert(first)
            return len(made)
        run("BEGIN IMMEDIATE")
        try:
            for part in (first, *more):
                self._insert(part)
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise
        return len(made)

    def close(self) -> None:
        """Gives the connection up."""
        self._proxied.invalidate()

    def _insert(self, part: list[Row]) -> None:
        self._connection.execute(_STATEMENTS[len(part)], list(chain.from_iterable(part)))

    def _check_file(self) -> None:
        # Rows written to a file that somebody removed would be gone with it, and nobody told.
        try:
            same = self._file.stat().st_ino == self._opened
        except OSError:
            same = False
        if not same:
            raise LostFileError(f"{self._file} was removed or replaced")


class PostgresAppender:
    """Writes by `COPY`, which is one statement and so its own transaction."""

    def __init__(self, store: Store) -> None:
        self._proxied = store.driver()
        connection: Any = self._proxied.driver_connection
        connection.autocommit = True
        self._connection = connection
        self._pins: dict[Pin, int] = {}

    def append(self, entries: Sequence[Entry]) -> int:
        """Writes all or nothing."""
        for pin in {entry.pin for entry in entries} - self._pins.keys():
            self._connection.execute(
                "INSERT INTO pin (version, revision, md5) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", pin
            )
            found = self._connection.execute(
                "SELECT id FROM pin WHERE (version, revision, md5) = (%s, %s, %s)", pin
            ).fetchone()
            self._pins[pin] = found[0]
        written = 0
        with self._connection.cursor() as cursor, cursor.copy(f"COPY prediction ({_NAMES}) FROM STDIN") as copy:
            for entry in entries:
                for row in rows(entry, self._pins[entry.pin]):
                    copy.write_row(row)
                    written += 1
        return written

    def close(self) -> None:
        """Gives the connection up."""
        self._proxied.invalidate()


def _parts(made: list[Row]) -> Iterable[list[Row]]:
    start = 0
    while start < len(made):
        size = SIZES[bisect_right(SIZES, len(made) - start) - 1]
        yield made[start : start + size]
        start += size


def _statement(count: int) -> str:
    places = f"({', '.join('?' * len(COLUMNS))})"
    return f"INSERT INTO prediction ({_NAMES}) VALUES {', '.join([places] * count)}"  # noqa: S608 - our own names


_STATEMENTS = {size: _statement(size) for size in SIZES}
