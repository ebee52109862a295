"""Writing to the journal: all that waits in one transaction, by the quickest statements that the database has.

Here alone the driver is called directly, since SQLAlchemy would cost more than the rows do. In both, the interpreter's
lock is given up a few times a commit and not once a row: getting it back may take the switch interval each time.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import msgspec

from batchyield.journal.database import Database
from batchyield.journal.records import AnsweringModel, JournalEntry, list_ids, normalize_id

ANSWER_COLUMNS = ("at", "request", "first", "batches", "caller", "format", "pin", "inputs", "predictions")
ASKED_COLUMNS = ("batch", "answer", "position")

MAX_STATEMENT_ROWS = 32
"""Of a SQLite statement: one for each number up to it stays prepared."""

_PLACES = "?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT)"
"""Of `ANSWER`: UTF-8 as it is, which need not become Python's text and UTF-8 again."""

_NAMED = (
    "INSERT INTO asked (batch, answer, position) SELECT value, ?, key + ? FROM json_each(?) WHERE value IS NOT NULL"
)

_POSTGRES = """
WITH given AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('answer', 'id')) AS id, t.*
    FROM unnest(
        %b::bigint[], %b::text[], %b::int[], %b::int[], %b::text[], %b::text[], %b::int[], %b::text[], %b::text[]
    ) WITH ORDINALITY AS t (at, request, first, batches, caller, format, pin, inputs, predictions, entry)
), made AS (
    INSERT INTO answer (id, at, request, first, batches, caller, format, pin, inputs, predictions)
    SELECT id, at, request, first, batches, caller, format, pin, inputs, predictions FROM given ORDER BY id
)
INSERT INTO asked (batch, answer, position)
SELECT named.batch, given.id, named.position
FROM unnest(%b::text[], %b::int[], %b::int[]) AS named (batch, entry, position) JOIN given USING (entry)
"""
"""One statement, and so its own transaction."""


class Appender(Protocol):
    """A connection that writes."""

    def append(self, entries: Sequence[JournalEntry]) -> int:
        """Writes all or nothing, and returns once it is committed: the number of predictions."""

    def close(self) -> None:
        """Gives the connection up."""


class LostFileError(OSError):
    """The journal's file is no longer the one that was opened."""


def open_appender(store: Database) -> Appender:
    """A writer for the journal, whose schema must be up to date."""
    return SqliteAppender(store) if store.embedded else PostgresAppender(store)


class SqliteAppender:
    """Writes by statements of many rows each."""

    def __init__(self, store: Database) -> None:
        self._file = Path(str(store.file))
        self._proxied = store.raw_connection()
        self._connection: Any = self._proxied.driver_connection
        self._opened = self._file.stat().st_ino
        self._pins: dict[AnsweringModel, int] = {}

    def append(self, entries: Sequence[JournalEntry]) -> int:
        """Writes all or nothing."""
        self._check_file()
        run = self._connection.execute
        for pin in {entry.pin for entry in entries} - self._pins.keys():
            run("INSERT OR IGNORE INTO pin (version, revision, md5) VALUES (?, ?, ?)", pin)
            found = run("SELECT id FROM pin WHERE (version, revision, md5) = (?, ?, ?)", pin).fetchone()
            self._pins[pin] = found[0]
        answers = [_answer(entry, self._pins) for entry in entries]
        run("BEGIN IMMEDIATE")
        try:
            numbers: list[int] = []
            for portion in _portions(answers):
                last = run(
                    _statement(len(portion), "answer", ANSWER_COLUMNS, _PLACES), list(chain.from_iterable(portion))
                ).lastrowid
                numbers += range(last - len(portion) + 1, last + 1)  # they count up: nobody else can write meanwhile
            places: list[tuple[str, int, int]] = []
            for (*_, part), number in zip(entries, numbers, strict=True):
                if len(part.ids) > MAX_STATEMENT_ROWS:
                    run(_NAMED, (number, part.first, msgspec.json.encode(list(map(normalize_id, part.ids))).decode()))
                else:
                    places += [(name, number, position) for name, position in list_ids(part)]
            for portion in _portions(places):
                run(_statement(len(portion), "asked", ASKED_COLUMNS), list(chain.from_iterable(portion)))
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise
        return sum(len(entry.part.ids) for entry in entries)

    def close(self) -> None:
        """Gives the connection up."""
        self._proxied.invalidate()

    def _check_file(self) -> None:
        # Rows written to a file that somebody removed would be gone with it, and nobody told.
        try:
            same = self._file.stat().st_ino == self._opened
        except OSError:
            same = False
        if not same:
            raise LostFileError(f"{self._file} was removed or replaced")


class PostgresAppender:
    """Writes by a statement that takes its rows as arrays."""

    def __init__(self, store: Database) -> None:
        self._proxied = store.raw_connection()
        connection: Any = self._proxied.driver_connection
        connection.autocommit = True
        self._connection = connection
        self._pins: dict[AnsweringModel, int] = {}

    def append(self, entries: Sequence[JournalEntry]) -> int:
        """Writes all or nothing."""
        for pin in {entry.pin for entry in entries} - self._pins.keys():
            self._connection.execute(
                "INSERT INTO pin (version, revision, md5) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", pin
            )
            found = self._connection.execute(
                "SELECT id FROM pin WHERE (version, revision, md5) = (%s, %s, %s)", pin
            ).fetchone()
            self._pins[pin] = found[0]
        *told, inputs, predictions = zip(*(_answer(entry, self._pins) for entry in entries), strict=True)
        texts = [[text.decode() for text in column] for column in (inputs, predictions)]
        asked = [(name, n, position) for n, entry in enumerate(entries, 1) for name, position in list_ids(entry.part)]
        places = map(list, zip(*asked, strict=True)) if asked else ([], [], [])
        self._connection.execute(_POSTGRES, (*map(list, told), *texts, *places))
        return sum(len(entry.part.ids) for entry in entries)

    def close(self) -> None:
        """Gives the connection up."""
        self._proxied.invalidate()


def _answer(entry: JournalEntry, pins: dict[AnsweringModel, int]) -> tuple[Any, ...]:
    """Its row of `answer`, in the order of `ANSWER`; the two texts are still bytes."""
    at, request, caller, form, pin, part = entry
    return at, request, part.first, len(part.ids), caller, form, pins[pin], part.inputs, part.predictions


def _portions(rows: list[tuple[Any, ...]]) -> Iterable[list[tuple[Any, ...]]]:
    return (rows[start : start + MAX_STATEMENT_ROWS] for start in range(0, len(rows), MAX_STATEMENT_ROWS))


@lru_cache(2 * MAX_STATEMENT_ROWS)
def _statement(count: int, table: str, columns: tuple[str, ...], places: str = "?, ?, ?") -> str:
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) VALUES {', '.join([f'({places})'] * count)}"  # noqa: S608 - our own names
