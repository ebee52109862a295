"""Reads the newest batches that a model answered, each once, for the drift watcher and the report."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, tuple_

from batchyield.journal import queries
from batchyield.journal.database import Database
from batchyield.journal.queries import AnswerKey, JournalledPrediction
from batchyield.journal.tables import answer, asked, outcome, pin
from batchyield.monitoring.throttle import Pause, no_throttle

HORIZON_BATCHES = 100_000
"""Newest predictions that are searched, so that the time does not grow with the journal."""

STEP_BATCHES = 250
"""Predictions searched or read between two pauses, unless a single answer holds more."""

MAX_OUTCOMES = 10_000
"""Outcomes up to which measured batches are searched by their outcomes, some 4 µs each. If there are more, predictions
are searched, some 20 µs each, of which the newest then usually have outcomes."""

BatchPosition = tuple[int, int]
"""Id of an answer, and position in its request."""

Place = tuple[int, int, int]
"""Sort key of a prediction: time of its answer, id of the answer, position in the request."""


def read_recent_batches(
    database: Database,
    md5: str,
    limit: int,
    since: int | None = None,
    until: int | None = None,
    measured: bool = False,
    horizon: int | None = HORIZON_BATCHES,
    pause: Pause = no_throttle,
    known: Iterable[JournalledPrediction] = (),
) -> list[JournalledPrediction]:
    """Return the newest predictions of a model, oldest first; of several for one batch id, only the newest.

    Batches without an id cannot be compared, so each counts.

    Args:
        database: the journal.
        md5, limit: of the model, and the maximum number of its batches.
        since, until: first time that is included, and excluded, microseconds since 1970, UTC.
        measured: return only batches with a measured yield.
        horizon: number of newest predictions, of all models, to search; None: all between the two times.
        pause: called between small steps of work.
        known: predictions that were just read; with `measured`, those without a yield are read again, because
            their outcome may have arrived since.
    """
    outcomes = _count_outcomes(database, max(limit, MAX_OUTCOMES + 1)) if measured else 0
    if measured and outcomes <= MAX_OUTCOMES:
        newest, sizes = _find_measured(database, md5, since, until, horizon, pause)
    else:
        newest, sizes = _find_newest(
            database, md5, since, until, horizon, pause, min(limit, outcomes) if measured else limit, measured
        )
    positions = set(newest[:limit])
    cached = {(row.answer, row.position): row for row in known if not measured or row.measured is not None}
    rows = [cached[position] for position in positions if position in cached]
    missing = positions - cached.keys()
    for answer_ids in _group_answers({answer_id: sizes[answer_id] for answer_id, _ in missing}):
        with database.read_transaction() as connection:
            read = queries.read_answers(connection, answer_ids)
        rows += [row for row in read if (row.answer, row.position) in missing]
        pause()
    if measured:
        rows = [row for row in rows if row.measured is not None]  # an outcome may have been removed since
    return sorted(rows, key=lambda row: (row.at, row.answer, row.position))


def _count_outcomes(database: Database, most: int) -> int:
    """Return the number of outcomes, but at most `most`: a count of all would read the whole table."""
    some = select(outcome.c.batch).limit(most).subquery()
    with database.read_transaction() as connection:
        return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _find_newest(
    database: Database,
    md5: str,
    since: int | None,
    until: int | None,
    horizon: int | None,
    pause: Pause,
    enough: int,
    measured: bool,
) -> tuple[list[BatchPosition], dict[int, int]]:
    """Search predictions, newest first, until there are `enough`; return them, and the sizes of their answers."""
    newest: dict[str | BatchPosition, BatchPosition] = {}
    sizes: dict[int, int] = {}
    for page in _pages(database, since, until, horizon) if enough else ():
        answers = [(key, rows) for key, rows in page if key.md5 == md5]
        sizes.update((key.id, key.batches) for key, _ in answers)
        for id_, position in _list_batches(database, answers, measured):
            newest.setdefault(position if id_ is None else id_, position)
        pause()
        if len(newest) >= enough:
            break
    return list(newest.values()), sizes


def _find_measured(
    database: Database, md5: str, since: int | None, until: int | None, horizon: int | None, pause: Pause
) -> tuple[list[BatchPosition], dict[int, int]]:
    """Search the predictions of all measured batches; return what `_find_newest` does for them."""
    place = (answer.c.at, asked.c.answer, asked.c.position)
    columns = select(asked.c.batch, answer.c.batches, *place).join_from(asked, answer, answer.c.id == asked.c.answer)
    query = _where_between(columns.join(pin).where(pin.c.md5 == md5), since, until)
    with database.read_transaction() as connection:
        ids = list(connection.execute(select(outcome.c.batch)).scalars())
        if horizon is not None and (first := _find_last_answer(connection, since, until, horizon)):
            query = query.where(asked.c.answer >= first.least_id, tuple_(*place[:2]) >= (first.at, first.id))
    pause()
    newest: dict[str, Place] = {}
    sizes: dict[int, int] = {}
    for some in queries.split_ids(ids):
        with database.read_transaction() as connection:
            for row in connection.execute(query.where(asked.c.batch.in_(some))):
                newest[row.batch] = max(newest.get(row.batch, (0, 0, 0)), (row.at, row.answer, row.position))
                sizes[row.answer] = row.batches
        pause()
    places = sorted(newest.values(), reverse=True)
    if horizon is not None and places:
        with database.read_transaction() as connection:
            oldest = _find_oldest(connection, since, until, horizon)
        places = [found for found in places if found >= oldest]
    return [(answer_id, position) for _, answer_id, position in places], sizes


def _find_last_answer(connection: Connection, since: int | None, until: int | None, count: int) -> Row[Any] | None:
    """Return time and id of the oldest of the newest `count` answers, and the least id of those; None if all are.

    An index alone has these, so that it takes a few milliseconds.
    """
    query = _where_between(select(answer.c.at, answer.c.id), since, until)
    last = query.order_by(answer.c.at.desc(), answer.c.id.desc()).offset(count - 1).limit(1).subquery()
    least = select(func.min(answer.c.id)).where(answer.c.at >= last.c.at).scalar_subquery().label("least_id")
    return connection.execute(select(last, least)).one_or_none()


def _find_oldest(connection: Connection, since: int | None, until: int | None, horizon: int) -> Place:
    """Return the oldest of the newest `horizon` predictions; takes a tenth of a second."""
    order = (answer.c.at.desc(), answer.c.id.desc())
    total = func.sum(answer.c.batches).over(order_by=order).label("total")
    columns = select(answer.c.at, answer.c.id, answer.c.first, answer.c.batches, total)
    newest = _where_between(columns, since, until).order_by(*order).limit(horizon).subquery()
    begun = select(newest).where(newest.c.total - newest.c.batches < horizon)
    row = connection.execute(begun.order_by(newest.c.at, newest.c.id).limit(1)).one_or_none()
    return (0, 0, 0) if row is None else (row.at, row.id, row.first + max(0, row.total - horizon))


def _where_between(query: Select[Any], since: int | None, until: int | None) -> Select[Any]:
    query = query if since is None else query.where(answer.c.at >= since)
    return query if until is None else query.where(answer.c.at < until)


def _pages(
    database: Database, since: int | None, until: int | None, horizon: int | None
) -> Iterator[list[tuple[AnswerKey, int]]]:
    """Yield pages of answers, newest first, each answer with the number of its last batches within the horizon."""
    before: tuple[int, int] | None = None
    while horizon is None or horizon > 0:
        with database.read_transaction() as connection:
            keys = queries.select_answers(connection, since, until, before=before, newest=True, limit=STEP_BATCHES)
        if not keys:
            return
        page = []
        for key in keys:
            page.append((key, key.batches if horizon is None else min(key.batches, horizon)))
            horizon = None if horizon is None else max(0, horizon - key.batches)
        yield page
        before = keys[-1].at, keys[-1].id


def _group_answers(sizes: dict[int, int]) -> Iterator[list[int]]:
    """Group answers, given by id and size, so that a group holds `STEP_BATCHES` batches or a single answer."""
    answer_ids: list[int] = []
    batches = 0
    for answer_id, size in sizes.items():
        if answer_ids and batches + size > STEP_BATCHES:
            yield answer_ids
            answer_ids, batches = [], 0
        answer_ids.append(answer_id)
        batches += size
    if answer_ids:
        yield answer_ids


def _list_batches(
    database: Database, answers: Sequence[tuple[AnswerKey, int]], only_measured: bool
) -> list[tuple[str | None, BatchPosition]]:
    """Return id and position of the last batches of some answers, newest first."""
    with database.read_transaction() as connection:
        batch_ids = queries.read_batch_ids(connection, [key.id for key, _ in answers])
        batches: list[tuple[str | None, BatchPosition]] = []
        for key, rows in answers:
            if key.id in batch_ids:  # otherwise it was pruned meanwhile
                first, ids = batch_ids[key.id]
                positions = [(id_, (key.id, position)) for position, id_ in enumerate(ids, first)]
                batches += positions[: -rows - 1 : -1]
        if not only_measured:
            return batches
        yields = queries.read_yields(connection, [id_ for id_, _ in batches if id_ is not None])
    return [(id_, position) for id_, position in batches if id_ in yields]
