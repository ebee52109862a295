"""The newest batches that one model answered, each once: what the watch and the report look at."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, cast, func, literal, select

from batchyield.journal.read import Journalled, between, journalled, told
from batchyield.journal.schema import outcome, pin, prediction
from batchyield.journal.store import Store
from batchyield.pace import Rest, on

HORIZON = 100_000
"""Newest rows of the journal that are looked through at the most: a look stays quick however much the journal holds."""

PAGE = 4_000
"""Rows that are looked through between two rests, going back until enough batches are found."""

AT_ONCE = 250
"""Rows that are read between two rests."""


def recent(
    store: Store,
    md5: str,
    limit: int,
    since: int | None = None,
    until: int | None = None,
    measured: bool = False,
    horizon: int | None = HORIZON,
    rest: Rest = on,
    known: Iterable[Journalled] = (),
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
        rest: called between small steps of the work.
        known: rows that were just read, and need not be again.
    """
    newest: dict[str, int] = {}
    enough = min(limit, _outcomes(store)) if measured else limit
    for begin, end in _pages(store, since, until, horizon) if enough else ():
        with store.reading() as connection:
            for key, number in connection.execute(between(_latest(md5, limit, measured), begin, end)):
                newest.setdefault(key, number)
        if len(newest) >= enough:
            break
        rest()
    numbers = sorted(newest.values(), reverse=True)[:limit]
    read = {row.number: row for row in known}
    rows = [read[number] for number in numbers if number in read]
    numbers = [number for number in numbers if number not in read]
    for first in range(0, len(numbers), AT_ONCE):
        with store.reading() as connection:
            part = _read(connection, numbers[first : first + AT_ONCE])
        for row in part:
            rows.append(journalled(row._mapping))
            rest()
    return sorted(rows, key=lambda row: (row.at, row.number))


def _outcomes(store: Store) -> int:
    with store.reading() as connection:
        return connection.execute(select(func.count()).select_from(outcome)).scalar_one()


def _pages(
    store: Store, since: int | None, until: int | None, horizon: int | None
) -> Iterator[tuple[int | None, int | None]]:
    """Times from and to which are some `PAGE` rows each, the newest first, as far as the horizon."""
    end, left = until, horizon
    while left is None or left > 0:
        rows = PAGE if left is None else min(PAGE, left)
        left = None if left is None else left - rows
        last = select(prediction.c.at).order_by(prediction.c.at.desc()).offset(rows - 1).limit(1)
        with store.reading() as connection:
            begin = connection.execute(between(last, since, end)).scalar()
        yield (since if begin is None else begin), end
        if begin is None:
            return
        end = begin


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


def _latest(md5: str, limit: int, measured: bool) -> Select[tuple[str, int]]:
    newest = func.max(prediction.c.id).label("id")
    nameless = literal("\x01").concat(cast(prediction.c.id, Text))
    key = func.coalesce(prediction.c.batch, nameless)
    query = select(key, newest).join_from(prediction, pin).where(pin.c.md5 == md5)
    if measured:
        query = query.join(outcome, outcome.c.batch == prediction.c.batch)
    return query.group_by(key).order_by(newest.desc()).limit(limit)


def _read(connection: Connection, numbers: list[int]) -> Sequence[Row[Any]]:
    return connection.execute(told().where(prediction.c.id.in_(numbers))).all()
