"""The newest batches that one model answered, each once: what the watch and the report look at."""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import func, select

from batchyield.journal.database import Database
from batchyield.journal.queries import (
    AnswerKey,
    JournalledPrediction,
    read_answers,
    read_batch_ids,
    read_yields,
    select_answers,
    where_between,
)
from batchyield.journal.tables import answer, outcome, pin
from batchyield.monitoring.throttle import Pause, no_throttle

HORIZON_BATCHES = 100_000
"""Newest predictions that are looked through at the most: a look stays quick however much the journal holds."""

STEP_BATCHES = 250
"""Predictions that are looked through, or read, between two rests, if one answer does not hold more."""

BatchPosition = tuple[int, int]
"""Number of an answer, and position in its request."""


def read_recent_batches(
    store: Database,
    md5: str,
    limit: int,
    since: int | None = None,
    until: int | None = None,
    measured: bool = False,
    horizon: int | None = HORIZON_BATCHES,
    rest: Pause = no_throttle,
    known: Iterable[JournalledPrediction] = (),
) -> list[JournalledPrediction]:
    """The newest answers of a model, oldest first; a batch that was asked for again counts once, as answered last.

    Batches without an id cannot be told apart and count each.

    Args:
        store: the journal.
        md5: of the model.
        limit: batches at the most.
        since: the first time that counts, in microseconds.
        until: the first that no longer does.
        measured: only batches whose yield was told.
        horizon: newest predictions, of all models, to go back; None: as far as that time goes.
        rest: called between small steps of the work.
        known: predictions that were just read; with `measured`, those without a yield are read again, because
            their outcome may have arrived since.
    """
    enough = min(limit, _outcomes(store)) if measured else limit
    newest: dict[str | BatchPosition, BatchPosition] = {}
    sizes: dict[int, int] = {}
    for page in _pages(store, since, until, horizon) if enough else ():
        asked = [(place, rows) for place, rows in page if place.md5 == md5]
        sizes.update((place.id, place.batches) for place, _ in asked)
        for name, spot in _batches(store, asked, measured):
            newest.setdefault(spot if name is None else name, spot)
        rest()
        if len(newest) >= enough:
            break
    spots = set(list(newest.values())[:limit])  # which were found newest first
    found = {(row.answer, row.position): row for row in known if not measured or row.measured is not None}
    rows = [found[spot] for spot in spots if spot in found]
    missing = spots - found.keys()
    for numbers in _together({number: sizes[number] for number, _ in missing}):
        with store.read_transaction() as connection:
            part = read_answers(connection, numbers)
        rows += [row for row in part if (row.answer, row.position) in missing]
        rest()
    if measured:
        rows = [row for row in rows if row.measured is not None]  # an outcome may have been removed since
    return sorted(rows, key=lambda row: (row.at, row.answer, row.position))


def count_by_model(
    store: Database, since: int | None = None, until: int | None = None
) -> list[tuple[str, str, str, int]]:
    """Version, revision and md5 of each model that answered, and its rows; the one that answered last comes first."""
    query = (
        select(pin.c.version, pin.c.revision, pin.c.md5, func.sum(answer.c.batches))
        .join_from(answer, pin)
        .group_by(pin.c.id)
        .order_by(func.max(answer.c.at).desc(), pin.c.id.desc())
    )
    with store.read_transaction() as connection:
        return [(row[0], row[1], row[2], row[3]) for row in connection.execute(where_between(query, since, until))]


def _outcomes(store: Database) -> int:
    with store.read_transaction() as connection:
        return connection.execute(select(func.count()).select_from(outcome)).scalar_one()


def _pages(
    store: Database, since: int | None, until: int | None, horizon: int | None
) -> Iterator[list[tuple[AnswerKey, int]]]:
    """Answers, the newest first, each with how many of its last predictions lie within the horizon."""
    before: tuple[int, int] | None = None
    while horizon is None or horizon > 0:
        with store.read_transaction() as connection:
            page = select_answers(connection, since, until, before=before, newest=True, most=STEP_BATCHES)
        if not page:
            return
        within = []
        for place in page:
            within.append((place, place.batches if horizon is None else min(place.batches, horizon)))
            horizon = None if horizon is None else max(0, horizon - place.batches)
        yield within
        before = page[-1].at, page[-1].id


def _together(sizes: dict[int, int]) -> Iterator[list[int]]:
    """Answers that hold `AT_ONCE` batches together, or a single one that holds more."""
    numbers: list[int] = []
    batches = 0
    for number, size in sizes.items():
        if numbers and batches + size > STEP_BATCHES:
            yield numbers
            numbers, batches = [], 0
        numbers.append(number)
        batches += size
    if numbers:
        yield numbers


def _batches(
    store: Database, asked: Sequence[tuple[AnswerKey, int]], only_measured: bool
) -> list[tuple[str | None, BatchPosition]]:
    """Id and spot of the last predictions of some answers, the newest first."""
    with store.read_transaction() as connection:
        told = read_batch_ids(connection, [place.id for place, _ in asked])
        found: list[tuple[str | None, BatchPosition]] = []
        for place, rows in asked:
            if place.id in told:  # else it was pruned meanwhile
                first, names = told[place.id]
                spots = [(name, (place.id, position)) for position, name in enumerate(names, first)]
                found += spots[: -rows - 1 : -1]
        if not only_measured:
            return found
        known = read_yields(connection, [name for name, _ in found if name is not None])
    return [(name, spot) for name, spot in found if name in known]
