"""Reading the journal: what was answered, and what became of it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, Select, func, select, tuple_

from batchyield.journal.database import Database
from batchyield.journal.records import AnsweringModel, normalize_id
from batchyield.journal.tables import answer, asked, correction, outcome, pin
from batchyield.plant.batch import Batch
from batchyield.serving.responses import Prediction

PAGE_BATCHES = 2_000
"""Predictions read at a time, each page by a transaction of its own: a long one would keep SQLite's log from being
emptied."""

MAX_IDS_PER_QUERY = 500
"""Batches that are looked up by their ids at a time."""

_place = tuple_(answer.c.at, answer.c.id)
"""What answers are in order by."""


class JournalledPrediction(msgspec.Struct, frozen=True):
    """One prediction as it was answered.

    Attributes:
        answer: number of the row that holds it.
        at: when, in microseconds since 1970, UTC.
        request: id of the request.
        position: in the request, from 0.
        caller: who asked; empty where there are no keys.
        form: `json` or `csv`.
        pin: of the model.
        batch: the inputs.
        prediction: the answer.
        measured: the batch's yield as it was told last; None while it is not known.
    """

    answer: int
    at: int
    request: str
    position: int
    caller: str
    form: str
    pin: AnsweringModel
    batch: Batch
    prediction: Prediction
    measured: float | None


class ModelCount(msgspec.Struct, frozen=True):
    """How many predictions a model made."""

    version: str
    revision: str
    md5: str
    predictions: int


class JournalCounts(msgspec.Struct, frozen=True):
    """What the journal holds; times in microseconds since 1970, UTC."""

    predictions: int
    oldest: int | None
    newest: int | None
    models: list[ModelCount]
    outcomes: int
    matched: Annotated[int, Meta(description="outcomes of batches that were predicted")]
    corrections: int


class AnswerKey(NamedTuple):
    """Where an answer stands in the journal, and how many batches it holds."""

    at: int
    id: int
    batches: int
    md5: str


class _Inputs(msgspec.Struct):
    inputs: list[Batch]


class _Name(msgspec.Struct):
    id: str | None = None


class _Names(msgspec.Struct):
    inputs: list[_Name]


_inputs = msgspec.json.Decoder(_Inputs)
_names = msgspec.json.Decoder(_Names)
_predictions = msgspec.json.Decoder(list[Prediction])


def read_predictions(
    store: Database, since: int | None = None, until: int | None = None, limit: int | None = None
) -> Iterator[JournalledPrediction]:
    """Predictions in the order of their answers; of one request, in the order of its inputs.

    Args:
        store: the journal.
        since: the first time that counts, in microseconds.
        until: the first that no longer does.
        limit: the latest so many alone.
    """
    first, skipped = (None, 0) if limit is None else _latest(store, since, until, limit)
    if limit is not None and first is None:
        return
    after: tuple[int, int] | None = first and (first.at, first.id - 1)
    while True:
        with store.read_transaction() as connection:
            page = select_answers(connection, since, until, after=after)
            rows = read_answers(connection, [place.id for place in page])
        yield from rows[skipped:]
        if not page:
            return
        after, skipped = (page[-1].at, page[-1].id), 0


def select_answers(
    connection: Connection,
    since: int | None,
    until: int | None,
    after: tuple[int, int] | None = None,
    before: tuple[int, int] | None = None,
    newest: bool = False,
    most: int = PAGE_BATCHES,
) -> list[AnswerKey]:
    """The next answers with `most` batches together, or a single one that has more; none at the end.

    Args:
        connection: reads.
        since: the first time that counts, in microseconds.
        until: the first that no longer does.
        after: the place behind which they stand.
        before: the place before which they stand.
        newest: whether they come newest first.
        most: batches of them together.
    """
    chosen = select(answer.c.at, answer.c.id, answer.c.batches, pin.c.md5).join_from(answer, pin)
    query: Select[Any] = where_between(chosen, since, until)
    if after is not None:
        query = query.where(_place > after)
    if before is not None:
        query = query.where(_place < before)
    order = (answer.c.at.desc(), answer.c.id.desc()) if newest else (answer.c.at, answer.c.id)
    found: list[AnswerKey] = []
    batches = 0
    for row in connection.execute(query.order_by(*order).limit(most)):
        batches += row.batches
        if found and batches > most:
            break
        found.append(AnswerKey(*row))
    return found


def read_answers(connection: Connection, numbers: Sequence[int]) -> list[JournalledPrediction]:
    """The predictions of the answers of these numbers, in the order of `answered`."""
    query = select(answer, pin.c.version, pin.c.revision, pin.c.md5).join_from(answer, pin)
    query = query.where(answer.c.id.in_(numbers)).order_by(answer.c.at, answer.c.id)
    made: list[JournalledPrediction] = []
    told = [(row, _inputs.decode(row.inputs).inputs) for row in connection.execute(query)]
    yields = read_yields(connection, [batch.id for _, batches in told for batch in batches if batch.id is not None])
    for row, batches in told:
        model = AnsweringModel(row.version, row.revision, row.md5)
        said = zip(batches, _predictions.decode(row.predictions), strict=True)
        made += [
            JournalledPrediction(
                *(row.id, row.at, row.request, position, row.caller, row.format, model),
                *(batch, prediction, yields.get(normalize_id(batch.id or ""))),
            )
            for position, (batch, prediction) in enumerate(said, row.first)
        ]
    return made


def read_batch_ids(connection: Connection, numbers: Sequence[int]) -> dict[int, tuple[int, list[str | None]]]:
    """By number of an answer: the position of its first batch, and the ids of all as the tables have them."""
    query = select(answer.c.id, answer.c.first, answer.c.inputs).where(answer.c.id.in_(numbers))
    told = connection.execute(query)
    return {row.id: (row.first, [normalize_id(one.id) for one in _names.decode(row.inputs).inputs]) for row in told}


def split_ids(names: Iterable[str]) -> Iterable[list[str]]:
    """Ids, each once, as many together as one query takes."""
    distinct = list(dict.fromkeys(names))
    return (distinct[start : start + MAX_IDS_PER_QUERY] for start in range(0, len(distinct), MAX_IDS_PER_QUERY))


def read_yields(connection: Connection, names: Sequence[str]) -> dict[str, float]:
    """The yields that were told of batches of these ids, by id as the tables have it."""
    found: dict[str, float] = {}
    for some in split_ids(map(normalize_id, names)):
        query = select(outcome.c.batch, outcome.c["yield"]).where(outcome.c.batch.in_(some))
        found.update((row[0], row[1]) for row in connection.execute(query))
    return found


def read_counts(store: Database) -> JournalCounts:
    """What the journal holds."""
    with store.read_transaction() as connection:
        total, oldest, newest = connection.execute(
            select(func.coalesce(func.sum(answer.c.batches), 0), func.min(answer.c.at), func.max(answer.c.at))
        ).one()
        models = connection.execute(
            select(pin.c.version, pin.c.revision, pin.c.md5, func.sum(answer.c.batches))
            .join_from(pin, answer)
            .group_by(pin.c.id)
            .order_by(func.max(answer.c.at).desc())
        ).all()
        known = connection.execute(select(func.count()).select_from(outcome)).scalar_one()
        predicted = select(asked.c.batch).where(asked.c.batch == outcome.c.batch).exists()
        matched = connection.execute(select(func.count()).select_from(outcome).where(predicted)).scalar_one()
        corrected = connection.execute(select(func.count()).select_from(correction)).scalar_one()
    return JournalCounts(total, oldest, newest, [ModelCount(*row) for row in models], known, matched, corrected)


def where_between(query: Select[Any], since: int | None, until: int | None) -> Select[Any]:
    """The query for answers from `since` on and before `until`, in microseconds."""
    if since is not None:
        query = query.where(answer.c.at >= since)
    return query if until is None else query.where(answer.c.at < until)


def _latest(store: Database, since: int | None, until: int | None, limit: int) -> tuple[AnswerKey | None, int]:
    """The oldest answer that is not older than the latest `limit` predictions, and how many of it are."""
    oldest: AnswerKey | None = None
    while limit > 0:
        with store.read_transaction() as connection:
            before = oldest and (oldest.at, oldest.id)
            page = select_answers(connection, since, until, before=before, newest=True)
        for oldest in page:
            limit -= oldest.batches
            if limit <= 0:
                return oldest, -limit
        if not page:
            break
    return oldest, 0
