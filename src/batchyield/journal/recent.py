"""The newest batches that one model answered, each once: what the watch and the report look at."""

from sqlalchemy import Select, Text, cast, func, literal, select

from batchyield.journal.read import Journalled, between, journalled, told
from batchyield.journal.schema import outcome, pin, prediction
from batchyield.journal.store import Store

HORIZON = 100_000
"""Newest rows of the journal that are looked through at the most: a look stays quick however much the journal holds."""


def recent(
    store: Store,
    md5: str,
    limit: int,
    since: int | None = None,
    until: int | None = None,
    measured: bool = False,
    horizon: int | None = HORIZON,
) -> list[Journalled]:
    """The newest answers of a model, oldest first; a batch that was asked for again counts once, as answered last.

    Batches without an id cannot be told apart and count each.

    Args:
        store: the journal.
        md5: of the model.
        limit: batches at the most.
        since: the first time that counts, in microseconds.
        until: the first that no longer does.
        measured: only batches whose yield was told.
        horizon: newest rows, of all models, to go back; None: as far as that time goes.
    """
    with store.reading() as connection:
        if horizon is not None:
            beyond = select(prediction.c.at).order_by(prediction.c.at.desc()).offset(horizon).limit(1)
            last = connection.execute(between(beyond, since, until)).scalar()
            since = since if last is None else last  # it is no earlier than `since`
        latest = between(_latest(md5, limit, measured), since, until).subquery()
        query = told().where(prediction.c.id.in_(select(latest.c.id)))
        rows = connection.execute(query.order_by(prediction.c.at, prediction.c.id)).all()
    return [journalled(row._mapping) for row in rows]


def models(store: Store, since: int | None = None, until: int | None = None) -> list[tuple[str, str, str, int]]:
    """Version, revision and md5 of each model that answered, and its rows; the one that answered last comes first."""
    query = (
        select(pin.c.version, pin.c.revision, pin.c.md5, func.count(prediction.c.id))
        .join_from(prediction, pin)
        .group_by(pin.c.id)
        .order_by(func.max(prediction.c.at).desc(), pin.c.id.desc())
    )
    with store.reading() as connection:
        return [(row[0], row[1], row[2], row[3]) for row in connection.execute(between(query, since, until))]


def _latest(md5: str, limit: int, measured: bool) -> Select[tuple[int]]:
    newest = func.max(prediction.c.id).label("id")
    nameless = literal("\x01").concat(cast(prediction.c.id, Text))
    query = select(newest).join_from(prediction, pin).where(pin.c.md5 == md5)
    if measured:
        query = query.join(outcome, outcome.c.batch == prediction.c.batch)
    return query.group_by(func.coalesce(prediction.c.batch, nameless)).order_by(newest.desc()).limit(limit)
