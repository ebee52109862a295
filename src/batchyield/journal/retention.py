"""Retention of the journal in short steps, and checkpoints of SQLite's write-ahead log (WAL)."""

import contextlib
import time
from collections.abc import Callable

import msgspec
from sqlalchemy import Column, Table, delete, func, select

from batchyield.journal.database import Database
from batchyield.journal.queries import read_batch_ids, select_answers, split_ids
from batchyield.journal.tables import answer, asked, bias_state, correction, idempotency, outcome

STEP_ROWS = 500
PAUSE_SECONDS = 0.05
WAL_BYTES, MAX_WAL_BYTES = 4 * 2**20, 256 * 2**20
"""Size of the log that starts a checkpoint, and size at which writers wait until it is emptied."""

AGED_TABLES: tuple[tuple[Table, str], ...] = (
    (correction, "id"),
    (outcome, "batch"),
    (bias_state, "digest"),
)


class AgedRows(msgspec.Struct, frozen=True):
    """Numbers of rows that are older than a time."""

    predictions: int
    outcomes: int
    corrections: int


def count_aged(database: Database, before_us: int) -> AgedRows:
    """Return what `prune` would delete: rows before a time, microseconds since 1970, UTC."""
    counts = (func.coalesce(func.sum(answer.c.batches), 0), func.count(), func.count())
    with database.read_transaction() as connection:
        return AgedRows(
            *(
                connection.execute(select(count).select_from(table).where(table.c.at < before_us)).scalar_one()
                for table, count in zip((answer, outcome, correction), counts, strict=True)
            )
        )


def prune(database: Database, before_us: int, should_continue: Callable[[], bool] = lambda: True) -> int:
    """Delete predictions answered, and outcomes recorded, before a time; return the number of predictions deleted.

    Args:
        database, before_us: the journal, and the first time that is kept, microseconds since 1970, UTC.
        should_continue: called between steps; False ends the deletion early.
    """
    removed = 0
    while should_continue() and (count := _delete_answers(database, before_us)):
        removed += count
        time.sleep(PAUSE_SECONDS)
    for table, name in AGED_TABLES:
        column: Column[object] = table.c[name]
        oldest = select(column).where(table.c.at < before_us).order_by(table.c.at).limit(STEP_ROWS)
        while should_continue():
            with database.write_transaction() as connection:
                count = connection.execute(delete(table).where(column.in_(oldest))).rowcount
            if count < STEP_ROWS:
                break
            time.sleep(PAUSE_SECONDS)
    return removed


def _delete_answers(database: Database, before_us: int) -> int:
    """Delete one step of answers with the ids of their batches; return the number of predictions in them."""
    with database.write_transaction() as connection:
        oldest = select_answers(connection, None, before_us, limit=STEP_ROWS)
        answer_ids = [key.id for key in oldest]
        ids = [id_ for _, ids in read_batch_ids(connection, answer_ids).values() for id_ in ids if id_ is not None]
        for some in split_ids(ids):
            connection.execute(delete(asked).where(asked.c.batch.in_(some), asked.c.answer.in_(answer_ids)))
        connection.execute(delete(idempotency).where(idempotency.c.answer.in_(answer_ids)))
        connection.execute(delete(answer).where(answer.c.id.in_(answer_ids)))
    return sum(key.batches for key in oldest)


def checkpoint_wal(database: Database) -> None:
    """Move a grown write-ahead log into SQLite's database file; does nothing for PostgreSQL.

    A passive checkpoint blocks nobody, but under constant load it does not reach the end of the log, which then never
    restarts. A log above `MAX_WAL_BYTES` is truncated while writers wait: milliseconds after a passive checkpoint.
    """
    if database.file is None:
        return
    try:
        size = database.file.with_name(f"{database.file.name}-wal").stat().st_size
    except OSError:
        return
    if size <= WAL_BYTES:
        return
    with contextlib.closing(database.raw_connection()) as raw:
        raw.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        if size > MAX_WAL_BYTES:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
