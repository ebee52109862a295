"""Searches the journal for the newest predictions and outcomes, a page at a time."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from batchyield.journal.database import Database
from batchyield.journal.queries import JournalledPrediction, read_answers, select_answers
from batchyield.journal.records import normalize_id
from batchyield.journal.tables import answer, asked, correction, outcome


class PredictionKey(NamedTuple):
    """Sort key of a prediction: time of its answer, id of its row in `answer`, position in the request."""

    at: int
    answer: int
    position: int


class OutcomeRecord(NamedTuple):
    """A row of `outcome`, with the number of the batch's predictions and of its corrections."""

    batch: str
    measured: float
    at: int
    caller: str
    predictions: int
    corrections: int


def search_predictions(
    database: Database,
    id_prefix: str,
    since: int | None,
    until: int | None,
    before: PredictionKey | None,
    limit: int,
) -> list[JournalledPrediction]:
    """Return at most `limit` predictions, the newest first.

    Args:
        database: the journal.
        id_prefix: only batches whose id begins with it; empty: all, those without an id too.
        since, until: first time that is included, and excluded, microseconds since 1970, UTC.
        before: only predictions that come after this one in the order, of the page before.
        limit: size of the page.
    """
    with database.read_transaction() as connection:
        if id_prefix:
            keys = _keys_of_ids(connection, normalize_id(id_prefix), since, until, before, limit)
        else:
            keys = _newest_keys(connection, since, until, before, limit)
        rows = read_answers(connection, list({key.answer for key in keys}))
    by_key = {(row.answer, row.position): row for row in rows}
    return [by_key[key.answer, key.position] for key in keys if (key.answer, key.position) in by_key]


def search_outcomes(
    database: Database, id_prefix: str, before: tuple[int, str] | None, limit: int
) -> list[OutcomeRecord]:
    """Return at most `limit` outcomes, those reported last first; arguments as of `search_predictions`."""
    predictions = select(func.count()).select_from(asked).where(asked.c.batch == outcome.c.batch).scalar_subquery()
    corrections = (
        select(func.count()).select_from(correction).where(correction.c.batch == outcome.c.batch).scalar_subquery()
    )
    columns = (outcome.c.batch, outcome.c["yield"], outcome.c.at, outcome.c.caller)
    query = select(*columns, predictions, corrections).order_by(outcome.c.at.desc(), outcome.c.batch.desc())
    if id_prefix:
        query = query.where(_begins(outcome.c.batch, normalize_id(id_prefix)))
    if before is not None:
        query = query.where(tuple_(outcome.c.at, outcome.c.batch) < before)
    with database.read_transaction() as connection:
        return [OutcomeRecord(*row) for row in connection.execute(query.limit(limit))]


def _begins(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    return func.substr(column, 1, len(prefix)) == prefix  # LIKE ignores case in SQLite


def _keys_of_ids(
    connection: Connection,
    prefix: str,
    since: int | None,
    until: int | None,
    before: PredictionKey | None,
    limit: int,
) -> list[PredictionKey]:
    order = (answer.c.at, asked.c.answer, asked.c.position)
    query = select(*order).join_from(asked, answer, answer.c.id == asked.c.answer)
    query = query.where(_begins(asked.c.batch, prefix))
    if since is not None:
        query = query.where(answer.c.at >= since)
    if until is not None:
        query = query.where(answer.c.at < until)
    if before is not None:
        query = query.where(tuple_(*order) < before)
    query = query.order_by(*(column.desc() for column in order)).limit(limit)
    return [PredictionKey(*row) for row in connection.execute(query)]


def _newest_keys(
    connection: Connection, since: int | None, until: int | None, before: PredictionKey | None, limit: int
) -> list[PredictionKey]:
    after_time = None if before is None else (before.at, before.answer + 1)  # the answer itself may have more
    keys: list[PredictionKey] = []
    while len(keys) < limit:
        page = select_answers(connection, since, until, before=after_time, newest=True)
        if not page:
            break
        firsts = dict(
            connection.execute(select(answer.c.id, answer.c.first).where(answer.c.id.in_([k.id for k in page]))).all()
        )
        for row in page:
            made = [PredictionKey(row.at, row.id, firsts[row.id] + place) for place in reversed(range(row.batches))]
            keys += [key for key in made if before is None or key < before]
            if len(keys) >= limit:
                break
        after_time = (page[-1].at, page[-1].id)
    return keys[:limit]
