"""Measured yields: kept once for each batch, corrected where they change, joined to predictions by the batch's id."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, insert, select, text, update

from batchyield.journal.database import Database
from batchyield.journal.queries import split_ids
from batchyield.journal.records import normalize_id
from batchyield.journal.tables import answer, asked, correction, outcome, pin
from batchyield.serving.outcomes import CORRECTED, RECORDED, UNCHANGED, Outcome

_LOCK = "LOCK TABLE outcome IN SHARE ROW EXCLUSIVE MODE"
"""Of two that tell of one batch at once, the second must see what the first told. SQLite has one writer anyway."""


class RecordedOutcome(NamedTuple):
    """What became of an outcome.

    Attributes:
        result: one of `batchyield.serving.outcomes.RESULTS`.
        matched: predictions of that batch.
        models: md5 of each model that made one.
    """

    result: str
    matched: int
    models: tuple[str, ...]


class OutcomeSource(NamedTuple):
    """When an outcome was told, in microseconds, and by whom."""

    at: int
    request: str
    caller: str


def record_outcomes(store: Database, outcomes: Sequence[Outcome], teller: OutcomeSource) -> list[RecordedOutcome]:
    """Writes outcomes, all or none, in their order: of one batch told twice, the last counts.

    Telling the same again changes nothing. An outcome of a batch that was never predicted is kept all the same.
    """
    names = [normalize_id(one.id) for one in outcomes]
    with store.write_transaction() as connection:
        if not store.embedded:
            connection.execute(text(_LOCK))
        known = _known(connection, names)
        stored = dict(known)
        results, earlier = [], []
        for name, one in zip(names, outcomes, strict=True):
            was = known.get(name)
            if was is None:
                results.append(RECORDED)
            elif was["yield"] == one.yield_:
                results.append(UNCHANGED)
                continue
            else:
                results.append(CORRECTED)
                earlier.append(was)
            known[name] = {"batch": name, "yield": one.yield_, **teller._asdict()}
        _write(connection, known, stored, earlier)
        matches = _matches(connection, names)
    return [RecordedOutcome(result, *matches.get(name, (0, ()))) for name, result in zip(names, results, strict=True)]


def _write(connection: Connection, known: dict[str, Any], stored: dict[str, Any], earlier: list[Any]) -> None:
    new = [row for name, row in known.items() if name not in stored]
    changed = [row for name, row in known.items() if name in stored and row is not stored[name]]
    if earlier:
        connection.execute(insert(correction), earlier)
    if new:
        connection.execute(insert(outcome), new)
    for row in changed:
        connection.execute(update(outcome).where(outcome.c.batch == row["batch"]).values(row))


def _known(connection: Connection, names: Sequence[str]) -> dict[str, Any]:
    found = {}
    for part in split_ids(names):
        for row in connection.execute(select(outcome).where(outcome.c.batch.in_(part))):
            found[row.batch] = dict(row._mapping)
    return found


def _matches(connection: Connection, names: Sequence[str]) -> dict[str, tuple[int, tuple[str, ...]]]:
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for part in split_ids(names):
        query = (
            select(asked.c.batch, pin.c.md5, func.count())
            .join_from(asked, answer, answer.c.id == asked.c.answer)
            .join(pin)
            .where(asked.c.batch.in_(part))
            .group_by(asked.c.batch, pin.c.md5)
            .order_by(pin.c.md5)
        )
        for name, md5, count in connection.execute(query):
            before, md5s = found.get(name, (0, ()))
            found[name] = (before + count, (*md5s, md5))
    return found
