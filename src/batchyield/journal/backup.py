"""Backup of the journal into one SQLite file, from either database, and restore from it.

A backup is itself a journal, so every `batchyield journal` command reads it. Restoring adds the rows that a journal
lacks and removes none, in short transactions. So both are safe while the service runs, and a restore that was
interrupted is run again.
"""

import contextlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Table, insert, select
from sqlalchemy.exc import DBAPIError

from batchyield.errors import ConflictError, JournalError, WriteError
from batchyield.files import PARTIAL_SUFFIX, move_durably
from batchyield.journal.database import MAINTENANCE_LOCK, Database, sqlite_url
from batchyield.journal.insert import open_appender
from batchyield.journal.migrate import ensure_schema, newest_revision, read_revision, upgrade_schema
from batchyield.journal.outcomes import replace_outcomes
from batchyield.journal.queries import JournalCounts, read_batch_ids, read_counts, select_answers
from batchyield.journal.records import AnsweringModel, JournalEntry, RequestPart
from batchyield.journal.tables import answer, asked, correction, idempotency, metadata, outcome, pin

PAGE_ROWS = 500

_MERGED_TABLES = (pin, answer, asked, idempotency, outcome, correction)
_ANSWER_IDENTITY = (answer.c.at, answer.c.request, answer.c.first, answer.c.caller, answer.c.format, answer.c.inputs)
_CORRECTION_COLUMNS = tuple(column for column in correction.c if column is not correction.c.id)


class AddedRows(msgspec.Struct):
    """What a restore added to a journal."""

    predictions: int = 0
    outcomes: int = 0
    corrections: int = 0


def back_up(database: Database, file: Path) -> JournalCounts:
    """Write all of a journal, as it is at one moment, into a new SQLite file, and return what the file holds.

    Raises:
        ConflictError: the file exists.
        WriteError: the file cannot be written, or its integrity check fails; no file is left behind.
    """
    if file.exists():
        raise ConflictError(f"{file} exists already", "name a new file; a backup never replaces another")
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.", suffix=PARTIAL_SUFFIX) as directory:
            partial = Path(directory) / file.name
            partial.touch(mode=0o600)
            if database.embedded:
                _copy_pages(database, partial)
            else:
                _copy_rows(database, partial)
            with _open_backup(partial) as copy:
                counts = read_counts(copy)
            move_durably(partial, file)
    except (OSError, sqlite3.Error) as error:
        raise WriteError(f"{file} cannot be written: {error}", "make room there, or name a file elsewhere") from None
    return counts


def restore(database: Database, file: Path) -> AddedRows:
    """Check a backup, then add to a journal what it lacks; rows that it has stay as they are.

    Of two outcomes of a batch the later one stays, and the other becomes a correction.

    Raises:
        JournalError: the file is no intact backup of this schema; nothing was changed.
    """
    with _open_backup(file) as backup, database.exclusive_lock(MAINTENANCE_LOCK):
        ensure_schema(database)
        with backup.read_transaction() as source:
            return _add_missing(source, database)


def _copy_pages(database: Database, file: Path) -> None:
    """Copy SQLite's pages; the service goes on writing to its log (WAL) meanwhile."""
    with contextlib.closing(database.raw_connection()) as proxied, contextlib.closing(sqlite3.connect(file)) as copy:
        source: Any = proxied.driver_connection
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # a single file


def _copy_rows(database: Database, file: Path) -> None:
    target = Database(sqlite_url(file))
    try:
        upgrade_schema(target)
        with database.read_transaction() as source:
            _add_missing(source, target)
    finally:
        target.close()
    with contextlib.closing(sqlite3.connect(file)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")


@contextlib.contextmanager
def _open_backup(file: Path) -> Iterator[Database]:
    """Open a backup that is intact and has the schema of this code."""
    remedy = "name a file that `batchyield journal backup` wrote"
    backup = Database(sqlite_url(file), read_only=True)
    try:
        with backup.read_transaction() as connection:
            found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check(1)")]
        if found != ["ok"]:
            raise JournalError(f"{file} is damaged: {found[0]}", "use another backup; nothing was changed")
        revision = read_revision(backup)
        if revision is None:
            raise JournalError(f"{file} holds no journal", remedy)
        if revision != newest_revision():
            upgrade = f"run `batchyield journal upgrade --journal {file}` first"
            raise JournalError(f"{file} is at revision {revision}, not {newest_revision()}", upgrade)
        yield backup
    except DBAPIError as error:
        raise JournalError(f"{file} cannot be read: {error.orig}", remedy) from None
    finally:
        backup.close()


def _add_missing(source: Connection, target: Database) -> AddedRows:
    """Add the rows of one journal that another lacks, page by page."""
    added = AddedRows()
    after: tuple[int, int] | None = None
    with contextlib.closing(open_appender(target)) as appender:
        while page := select_answers(source, None, None, after=after):
            after = page[-1].at, page[-1].id
            entries = _read_entries(source, [key.id for key in page])
            with target.read_transaction() as connection:
                query = select(*_ANSWER_IDENTITY).where(answer.c.at.between(page[0].at, page[-1].at))
                present = Counter(tuple(row) for row in connection.execute(query))
                keys = {entry.key for entry in entries if entry.key is not None}
                known = select(idempotency.c.key, idempotency.c.first).where(idempotency.c.key.in_(keys))
                taken = {tuple(row) for row in connection.execute(known)} if keys else set()
            missing = []
            for entry in entries:
                present[_identity(entry)] -= 1
                if present[_identity(entry)] < 0:
                    missing.append(entry._replace(key=None) if (entry.key, entry.part.first) in taken else entry)
            added.predictions += appender.append(missing) if missing else 0
    for rows in _pages(source, outcome, outcome.c.batch):
        with target.write_transaction() as connection:
            new, superseded = _merge_outcomes(connection, rows)
            added.outcomes += new
            added.corrections += _merge_corrections(connection, superseded)
    for rows in _pages(source, correction, correction.c.id):
        with target.write_transaction() as connection:
            added.corrections += _merge_corrections(connection, [row._mapping for row in rows])
    for table in metadata.sorted_tables:
        if table not in _MERGED_TABLES:
            _add_missing_keys(source, target, table)
    return added


def _read_entries(source: Connection, answer_ids: list[int]) -> list[JournalEntry]:
    ids = read_batch_ids(source, answer_ids)
    query = select(answer, pin.c.version, pin.c.revision, pin.c.md5, idempotency.c.key).join_from(answer, pin)
    query = query.outerjoin(idempotency, idempotency.c.answer == answer.c.id)
    query = query.where(answer.c.id.in_(answer_ids)).order_by(answer.c.at, answer.c.id)
    return [
        JournalEntry(
            *(row.at, row.request, row.caller, row.format, AnsweringModel(row.version, row.revision, row.md5)),
            RequestPart(row.first, ids[row.id][1], row.inputs.encode(), row.predictions.encode()),
            row.key,
        )
        for row in source.execute(query)
    ]


def _identity(entry: JournalEntry) -> tuple[Any, ...]:
    """Return the values of `_ANSWER_IDENTITY`; ids of answers differ between journals."""
    return entry.at, entry.request, entry.part.first, entry.caller, entry.form, entry.part.inputs.decode()


def _merge_outcomes(target: Connection, rows: list[Row[Any]]) -> tuple[int, list[Any]]:
    """Keep the later outcome of each batch; return the number of new ones, and those that are superseded."""
    query = select(outcome).where(outcome.c.batch.in_([row.batch for row in rows]))
    present = {row.batch: row._mapping for row in target.execute(query)}
    new, later, superseded = [], [], []
    for row in (row._mapping for row in rows):
        before = present.get(row["batch"])
        if before is None:
            new.append(dict(row))
        elif before["at"] < row["at"]:
            later.append(dict(row))
            superseded.append(before)
        elif before["yield"] != row["yield"]:
            superseded.append(row)
    if new:
        target.execute(insert(outcome), new)
    replace_outcomes(target, later)
    return len(new), superseded


def _merge_corrections(target: Connection, rows: list[Any]) -> int:
    """Add the corrections that are not there yet; return their number."""
    query = select(*_CORRECTION_COLUMNS).where(correction.c.batch.in_([row["batch"] for row in rows]))
    present = {tuple(row) for row in target.execute(query)}
    wanted = {tuple(row[column.name] for column in _CORRECTION_COLUMNS) for row in rows}
    new = [dict(zip((column.name for column in _CORRECTION_COLUMNS), row, strict=True)) for row in wanted - present]
    if new:
        target.execute(insert(correction), new)
    return len(new)


def _add_missing_keys(source: Connection, target: Database, table: Table) -> None:
    """Add the rows whose primary key is not there yet."""
    keys = list(table.primary_key.columns)
    with target.write_transaction() as connection:
        present = {tuple(row) for row in connection.execute(select(*keys))}
        rows = [row._mapping for row in source.execute(select(table))]
        new = [dict(row) for row in rows if tuple(row[key.name] for key in keys) not in present]
        if new:
            connection.execute(insert(table), new)


def _pages(source: Connection, table: Table, key: ColumnElement[Any]) -> Iterator[list[Row[Any]]]:
    """Yield the rows of a table in the order of `key`, some at a time."""
    query, last = select(table).order_by(key).limit(PAGE_ROWS), None
    while rows := source.execute(query if last is None else query.where(key > last)).all():
        yield list(rows)
        last = rows[-1]._mapping[key]
