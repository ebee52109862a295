"""How long the journal keeps what it holds, in steps that no writer waits for long; and its log, kept short."""

import contextlib
import time
from collections.abc import Callable

from sqlalchemy import Column, Table, delete, select

from batchyield.journal.database import Database
from batchyield.journal.queries import read_batch_ids, select_answers, split_ids
from batchyield.journal.tables import answer, asked, correction, outcome

STEP_ROWS = 500
PAUSE_SECONDS = 0.05
WAL_BYTES, MAX_WAL_BYTES = 4 * 2**20, 256 * 2**20

AGED_TABLES: tuple[tuple[Table, str], ...] = ((correction, "id"), (outcome, "batch"))


def prune(store: Database, before: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Removes what is older than `before`, in microseconds: predictions, and outcomes that were told before it.

    Args:
        store: the journal.
        before: the first time that stays.
        go_on: asked between steps; False ends it early.

    Returns:
        The number of predictions removed.
    """
    removed = 0
    while go_on() and (count := _remove_answers(store, before)):
        removed += count
        time.sleep(PAUSE_SECONDS)
    for table, name in AGED_TABLES:
        column: Column[object] = table.c[name]
        oldest = select(column).where(table.c.at < before).order_by(table.c.at).limit(STEP_ROWS)
        while go_on():
            with store.write_transaction() as connection:
                count = connection.execute(delete(table).where(column.in_(oldest))).rowcount
            if count < STEP_ROWS:
                break
            time.sleep(PAUSE_SECONDS)
    return removed


def _remove_answers(store: Database, before: int) -> int:
    """One step of answers, with the ids of their batches; the number of predictions in them."""
    with store.write_transaction() as connection:
        oldest = select_answers(connection, None, before, most=STEP_ROWS)
        numbers = [place.id for place in oldest]
        named = read_batch_ids(connection, numbers).values()
        names = [name for _, of_answer in named for name in of_answer if name is not None]
        for some in split_ids(names):
            connection.execute(delete(asked).where(asked.c.batch.in_(some), asked.c.answer.in_(numbers)))
        connection.execute(delete(answer).where(answer.c.id.in_(numbers)))
    return sum(place.batches for place in oldest)


def checkpoint_wal(store: Database) -> None:
    """Moves what SQLite's log holds into the file, where it has grown; nothing to do for PostgreSQL.

    A passive checkpoint waits for nobody and nobody waits for it. Under a load without a gap it never quite reaches the
    log's end, so that the log does not begin anew; one that is far too long is emptied while writers wait, which after
    a passive checkpoint is a matter of milliseconds.
    """
    if store.file is None:
        return
    try:
        size = store.file.with_name(f"{store.file.name}-wal").stat().st_size
    except OSError:
        return
    if size <= WAL_BYTES:
        return
    with contextlib.closing(store.raw_connection()) as raw:
        raw.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        if size > MAX_WAL_BYTES:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
