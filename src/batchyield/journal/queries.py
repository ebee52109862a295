"""Reads the journal: predictions with their inputs, model and measured yield, and counts."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Meta
from sqlalchemy import ColumnElement, Connection, Select, func, select, tuple_

from batchyield.journal.database import Database
from batchyield.journal.records import AnsweringModel, normalize_id
from batchyield.journal.tables import answer, asked, correction, idempotency, outcome, pin
from batchyield.plant.batch import Batch
from batchyield.plant.other_schemas import fit_schema
from batchyield.serving.prediction import Prediction

Input = TypeVar("Input")

PAGE_BATCHES = 2_000
"""Predictions per read transaction: a longer one would keep SQLite's write-ahead log from being emptied."""

MAX_IDS_PER_QUERY = 500

_sort_key = tuple_(answer.c.at, answer.c.id)


class JournalledPrediction(msgspec.Struct, frozen=True):
    """A prediction as it was answered.

    Attributes:
        answer: id of its row in `answer`, whose columns at, request, caller and format it repeats.
        position: position in the request, from 0.
        measured: the yield reported last for the batch, as a fraction; None while unknown.
        other: what was journalled under another schema and is no reading of this one: field -> value.
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
    other: dict[str, Any] = {}


class ModelCount(msgspec.Struct, frozen=True):
    """Number of predictions of a model."""

    version: str
    revision: str
    md5: str
    predictions: int


class JournalCounts(msgspec.Struct, frozen=True):
    """Contents of the journal; times in microseconds since 1970, UTC."""

    predictions: int
    oldest: int | None
    newest: int | None
    models: list[ModelCount]
    outcomes: int
    matched: Annotated[int, Meta(description="outcomes of batches that were predicted")]
    corrections: int


class AnswerKey(NamedTuple):
    """Sort key, size and model of a row of `answer`."""

    at: int
    id: int
    batches: int
    md5: str


class RecordedPart(NamedTuple):
    """A part of a request that carried an `Idempotency-Key`: the model, and `RequestPart.inputs` and `.predictions`."""

    pin: AnsweringModel
    inputs: bytes
    predictions: bytes


class _BatchId(msgspec.Struct):
    id: str | None = None


class _Inputs(msgspec.Struct, Generic[Input]):
    inputs: list[Input]


_inputs = msgspec.json.Decoder(_Inputs[Batch])
_any_inputs = msgspec.json.Decoder(_Inputs[dict[str, Any]])
_input_ids = msgspec.json.Decoder(_Inputs[_BatchId])
_predictions = msgspec.json.Decoder(list[Prediction])


def read_predictions(
    database: Database, since: int | None = None, until: int | None = None, limit: int | None = None
) -> Iterator[JournalledPrediction]:
    """Yield predictions in the order of their responses, and within a request in the order of its inputs.

    Args:
        database: the journal.
        since, until: first time that is included, and excluded, microseconds since 1970, UTC; None: no limit.
        limit: yield only the newest `limit` predictions.
    """
    first, skipped = (None, 0) if limit is None else _find_first_of_newest(database, since, until, limit)
    if limit is not None and first is None:
        return
    after: tuple[int, int] | None = first and (first.at, first.id - 1)
    while True:
        with database.read_transaction() as connection:
            page = select_answers(connection, since, until, after=after)
            rows = read_answers(connection, [key.id for key in page])
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
    limit: int = PAGE_BATCHES,
) -> list[AnswerKey]:
    """Return the next answers that hold at most `limit` batches together, or a single larger one; empty at the end.

    Args:
        connection: a read transaction.
        since, until: first time that is included, and excluded, microseconds since 1970, UTC.
        after, before: (time, id) that the answers come after, and before.
        newest: return the newest first.
        limit: batches of all answers together.
    """
    columns = select(answer.c.at, answer.c.id, answer.c.batches, pin.c.md5).join_from(answer, pin)
    query = _where_between(columns, since, until)
    if after is not None:
        query = query.where(_sort_key > after)
    if before is not None:
        query = query.where(_sort_key < before)
    order = (answer.c.at.desc(), answer.c.id.desc()) if newest else (answer.c.at, answer.c.id)
    keys: list[AnswerKey] = []
    batches = 0
    for row in connection.execute(query.order_by(*order).limit(limit)):
        batches += row.batches
        if keys and batches > limit:
            break
        keys.append(AnswerKey(*row))
    return keys


def read_answers(connection: Connection, answer_ids: Sequence[int]) -> list[JournalledPrediction]:
    """Return the predictions of some answers, in the order of `read_predictions`."""
    query = select(answer, pin.c.version, pin.c.revision, pin.c.md5).join_from(answer, pin)
    query = query.where(answer.c.id.in_(answer_ids)).order_by(answer.c.at, answer.c.id)
    decoded = [(row, _decode_inputs(row.inputs)) for row in connection.execute(query)]
    ids = [batch.id for _, inputs in decoded for batch, _ in inputs if batch.id is not None]
    yields = read_yields(connection, ids)
    result: list[JournalledPrediction] = []
    for row, inputs in decoded:
        model = AnsweringModel(row.version, row.revision, row.md5)
        pairs = zip(inputs, _predictions.decode(row.predictions), strict=True)
        result += [
            JournalledPrediction(
                *(row.id, row.at, row.request, position, row.caller, row.format, model),
                *(batch, prediction, yields.get(normalize_id(batch.id or "")), other),
            )
            for position, ((batch, other), prediction) in enumerate(pairs, row.first)
        ]
    return result


def _decode_inputs(text: str) -> list[tuple[Batch, dict[str, Any]]]:
    """Return each batch with the fields that only another schema has; those that it lacks are None."""
    try:
        return [(batch, {}) for batch in _inputs.decode(text).inputs]
    except msgspec.ValidationError:
        return [fit_schema(given) for given in _any_inputs.decode(text).inputs]


def read_recorded(database: Database, key: str) -> list[RecordedPart]:
    """Return the parts, in order, of the request that was recorded under a key; empty if there is none."""
    columns = select(pin.c.version, pin.c.revision, pin.c.md5, answer.c.inputs, answer.c.predictions)
    query = columns.join_from(answer, pin).join(idempotency, idempotency.c.answer == answer.c.id)
    query = query.where(idempotency.c.key == key).order_by(idempotency.c.first)
    with database.read_transaction() as connection:
        return [
            RecordedPart(AnsweringModel(*model), inputs.encode(), predictions.encode())
            for *model, inputs, predictions in connection.execute(query)
        ]


def read_batch_ids(connection: Connection, answer_ids: Sequence[int]) -> dict[int, tuple[int, list[str | None]]]:
    """Return by answer id the position of its first batch, and the normalized ids of all its batches."""
    query = select(answer.c.id, answer.c.first, answer.c.inputs).where(answer.c.id.in_(answer_ids))
    return {
        row.id: (row.first, [normalize_id(batch.id) for batch in _input_ids.decode(row.inputs).inputs])
        for row in connection.execute(query)
    }


def split_ids(ids: Iterable[str]) -> Iterable[list[str]]:
    """Remove duplicates and split ids into lists that fit one query."""
    distinct = list(dict.fromkeys(ids))
    return (distinct[start : start + MAX_IDS_PER_QUERY] for start in range(0, len(distinct), MAX_IDS_PER_QUERY))


def read_yields(connection: Connection, ids: Sequence[str]) -> dict[str, float]:
    """Return the measured yields of batches by normalized id; batches without one are missing."""
    yields: dict[str, float] = {}
    for some in split_ids(map(normalize_id, ids)):
        query = select(outcome.c.batch, outcome.c["yield"]).where(outcome.c.batch.in_(some))
        yields.update((row[0], row[1]) for row in connection.execute(query))
    return yields


def count_by_model(connection: Connection, since: int | None = None, until: int | None = None) -> list[ModelCount]:
    """Return the number of predictions of each model between two times, the model that answered last first."""
    query = (
        select(pin.c.version, pin.c.revision, pin.c.md5, func.sum(answer.c.batches))
        .join_from(answer, pin)
        .group_by(pin.c.id)
        .order_by(func.max(answer.c.at).desc(), pin.c.id.desc())
    )
    return [ModelCount(*row) for row in connection.execute(_where_between(query, since, until))]


def read_counts(database: Database) -> JournalCounts:
    """Return the contents of the journal as counts."""
    with database.read_transaction() as connection:
        total, oldest, newest = connection.execute(
            select(func.coalesce(func.sum(answer.c.batches), 0), func.min(answer.c.at), func.max(answer.c.at))
        ).one()
        outcomes = connection.execute(select(func.count()).select_from(outcome)).scalar_one()
        predicted = select(asked.c.batch).where(asked.c.batch == outcome.c.batch).exists()
        matched = connection.execute(select(func.count()).select_from(outcome).where(predicted)).scalar_one()
        corrections = connection.execute(select(func.count()).select_from(correction)).scalar_one()
        return JournalCounts(total, oldest, newest, count_by_model(connection), outcomes, matched, corrections)


def _where_between(query: Select[Any], since: int | None, until: int | None) -> Select[Any]:
    if since is not None:
        query = query.where(answer.c.at >= since)
    return query if until is None else query.where(answer.c.at < until)


def _find_first_of_newest(
    database: Database, since: int | None, until: int | None, limit: int
) -> tuple[AnswerKey | None, int]:
    """Return the answer that holds the oldest of the newest `limit` predictions, and how many of it to skip."""
    oldest: AnswerKey | None = None
    while limit > 0:
        with database.read_transaction() as connection:
            before = oldest and (oldest.at, oldest.id)
            page = select_answers(connection, since, until, before=before, newest=True)
        for oldest in page:
            limit -= oldest.batches
            if limit <= 0:
                return oldest, -limit
        if not page:
            break
    return oldest, 0


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
    measured_at: int | None
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
    columns = (outcome.c.batch, outcome.c["yield"], outcome.c.at, outcome.c.caller, outcome.c.measured_at)
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
