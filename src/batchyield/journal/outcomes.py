"""Records measured yields (outcomes): one per batch, with corrections, joined to predictions by the batch's id."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import UnsetType
from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update

from batchyield.journal.database import Database
from batchyield.journal.queries import split_ids
from batchyield.journal.records import normalize_id
from batchyield.journal.tables import answer, asked, correction, outcome, pin
from batchyield.serving.outcomes import CORRECTED, RECORDED, UNCHANGED, Outcome


class RecordedOutcome(NamedTuple):
    """One of `serving.outcomes.RESULTS`, the number of the batch's predictions, and md5 of each model that made one."""

    result: str
    matched: int
    models: tuple[str, ...]


class OutcomeSource(NamedTuple):
    """The request that reported an outcome; `at` in microseconds since 1970, UTC."""

    at: int
    request: str
    caller: str


def record_outcomes(database: Database, outcomes: Sequence[Outcome], source: OutcomeSource) -> list[RecordedOutcome]:
    """Write outcomes in one transaction and return a result for each; of several for one batch, the last counts.

    Recording the same yield again changes nothing, unless it has another time of measurement. Outcomes of batches that
    were never predicted are kept too.
    """
    ids = [normalize_id(reported.id) for reported in outcomes]
    with database.write_transaction() as connection:
        if not database.embedded:  # SQLite has a single writer, so no request records the same batch meanwhile
            connection.execute(text("LOCK TABLE outcome IN SHARE ROW EXCLUSIVE MODE"))
        stored: dict[str, Any] = {}
        for some in split_ids(ids):
            rows = connection.execute(select(outcome).where(outcome.c.batch.in_(some)))
            stored |= {row.batch: dict(row._mapping) for row in rows}
        current = dict(stored)
        results, superseded = [], []
        for id_, reported in zip(ids, outcomes, strict=True):
            row = current.get(id_)
            measured_at = _microseconds(reported.measured_at)
            if row is None:
                results.append(RECORDED)
            elif row["yield"] == reported.yield_ and measured_at in (None, row["measured_at"]):
                results.append(UNCHANGED)
                continue
            else:
                results.append(CORRECTED)
                superseded.append(row)
            row = {"batch": id_, "yield": reported.yield_, **source._asdict(), "measured_at": measured_at}
            current[id_] = row
        if superseded:
            connection.execute(insert(correction), superseded)
        if new := [row for id_, row in current.items() if id_ not in stored]:
            connection.execute(insert(outcome), new)
        replace_outcomes(connection, [current[id_] for id_, before in stored.items() if current[id_] is not before])
        matches = _count_matches(connection, ids)
    return [RecordedOutcome(result, *matches.get(id_, (0, ()))) for id_, result in zip(ids, results, strict=True)]


def _microseconds(time: datetime | UnsetType | None) -> int | None:
    """Return a time in microseconds since 1970, UTC; None without one."""
    return round(time.timestamp() * 1e6) if isinstance(time, datetime) else None


def replace_outcomes(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of `outcome` over those of the same batches, in one statement: one by one takes six times as long."""
    if rows:
        statement = update(outcome).where(outcome.c.batch == bindparam("key"))
        connection.execute(statement, [row | {"key": row["batch"]} for row in rows])


def withdraw_outcome(database: Database, id_: str) -> float | None:
    """Remove the outcome of a batch, which is kept as a correction, and return its yield; None if there is none."""
    batch = normalize_id(id_)
    with database.write_transaction() as connection:
        query = select(outcome).where(outcome.c.batch == batch)
        row = connection.execute(query if database.embedded else query.with_for_update()).one_or_none()
        if row is None:
            return None
        connection.execute(insert(correction), dict(row._mapping))
        connection.execute(delete(outcome).where(outcome.c.batch == batch))
    return float(row._mapping["yield"])


def _count_matches(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Return by batch id the number of its predictions, and the md5 of each model that made one."""
    matches: dict[str, tuple[int, tuple[str, ...]]] = {}
    for some in split_ids(ids):
        query = (
            select(asked.c.batch, pin.c.md5, func.count())
            .join_from(asked, answer, answer.c.id == asked.c.answer)
            .join(pin)
            .where(asked.c.batch.in_(some))
            .group_by(asked.c.batch, pin.c.md5)
            .order_by(pin.c.md5)
        )
        for id_, md5, count in connection.execute(query):
            total, models = matches.get(id_, (0, ()))
            matches[id_] = (total + count, (*models, md5))
    return matches
