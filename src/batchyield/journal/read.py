"""Reading the journal: what was answered, and what became of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, Select, func, select, tuple_

from batchyield.batch import Batch, CellWarning
from batchyield.errors import SetupError
from batchyield.journal.entry import Pin
from batchyield.journal.schema import correction, outcome, pin, prediction
from batchyield.journal.store import Store
from batchyield.replies import Prediction

PAGE = 2_000
"""Rows read at a time, each page by a transaction of its own: a long one would keep SQLite's log from being emptied."""


class Journalled(msgspec.Struct, frozen=True):
    """One prediction as it was answered.

    Attributes:
        number: of the row.
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

    number: int
    at: int
    request: str
    position: int
    caller: str
    form: str
    pin: Pin
    batch: Batch
    prediction: Prediction
    measured: float | None


class PinCount(msgspec.Struct, frozen=True):
    """How many predictions a model made."""

    version: str
    revision: str
    md5: str
    predictions: int


class Counts(msgspec.Struct, frozen=True):
    """What the journal holds; times in microseconds since 1970, UTC."""

    predictions: int
    oldest: int | None
    newest: int | None
    models: list[PinCount]
    outcomes: int
    matched: Annotated[int, Meta(description="outcomes of batches that were predicted")]
    corrections: int


_batch = msgspec.json.Decoder(Batch)
_warnings = msgspec.json.Decoder(tuple[CellWarning, ...])


def answered(
    store: Store, since: int | None = None, until: int | None = None, limit: int | None = None
) -> Iterator[Journalled]:
    """Predictions in the order of their answers; of one request, in the order of its inputs.

    Args:
        store: the journal.
        since: the first time that counts, in microseconds.
        until: the first that no longer does.
        limit: the latest so many alone.
    """
    after: tuple[int, int] | None = None
    if limit is not None:
        with store.reading() as connection:
            newest = between(select(prediction.c.at, prediction.c.id), since, until)
            newest = newest.order_by(prediction.c.at.desc(), prediction.c.id.desc()).offset(limit).limit(1)
            found = connection.execute(newest).first()
            after = (found.at, found.id) if found else None
    while True:
        with store.reading() as connection:
            page = _page(connection, since, until, after)
        yield from page
        if len(page) < PAGE:
            return
        after = (page[-1].at, page[-1].number)


def counts(store: Store) -> Counts:
    """What the journal holds."""
    with store.reading() as connection:
        total, oldest, newest = connection.execute(
            select(func.count(), func.min(prediction.c.at), func.max(prediction.c.at)).select_from(prediction)
        ).one()
        models = connection.execute(
            select(pin.c.version, pin.c.revision, pin.c.md5, func.count(prediction.c.id))
            .join_from(pin, prediction)
            .group_by(pin.c.id)
            .order_by(func.max(prediction.c.at).desc())
        ).all()
        known = connection.execute(select(func.count()).select_from(outcome)).scalar_one()
        predicted = select(prediction.c.id).where(prediction.c.batch == outcome.c.batch).exists()
        matched = connection.execute(select(func.count()).select_from(outcome).where(predicted)).scalar_one()
        corrected = connection.execute(select(func.count()).select_from(correction)).scalar_one()
    return Counts(total, oldest, newest, [PinCount(*row) for row in models], known, matched, corrected)


def moment(given: str, now: datetime | None = None) -> int:
    """A time as people give it, `7d`, `12h`, `30m` ago, `2026-11-01` or `2026-11-01T06:00:00+08:00`, in microseconds.

    Raises:
        SetupError: it is none of these.
    """
    unit = {"d": "days", "h": "hours", "m": "minutes"}.get(given[-1:])
    try:
        if unit and given[:-1].isdecimal():
            then = (now or datetime.now(UTC)) - timedelta(**{unit: int(given[:-1])})
        else:
            then = datetime.fromisoformat(given)
    except (ValueError, OverflowError):
        remedy = "write 7d, 12h or 30m (ago), 2026-11-01, or a time of ISO 8601"
        raise SetupError(f"'{given}' is no time", remedy) from None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return round(then.timestamp() * 1e6)


def between(query: Select[Any], since: int | None, until: int | None) -> Select[Any]:
    """The query for predictions from `since` on and before `until`, in microseconds."""
    if since is not None:
        query = query.where(prediction.c.at >= since)
    return query if until is None else query.where(prediction.c.at < until)


def told() -> Select[Any]:
    """Predictions with their models, and measured yields where they are known."""
    return (
        select(prediction, pin.c.version, pin.c.revision, pin.c.md5, outcome.c["yield"].label("measured"))
        .join_from(prediction, pin)
        .outerjoin(outcome, outcome.c.batch == prediction.c.batch)
    )


def _page(
    connection: Connection, since: int | None, until: int | None, after: tuple[int, int] | None
) -> list[Journalled]:
    place = tuple_(prediction.c.at, prediction.c.id)
    query = between(told(), since, until)
    if after is not None:
        query = query.where(place > after)
    query = query.order_by(prediction.c.at, prediction.c.id).limit(PAGE)
    return [journalled(row._mapping) for row in connection.execute(query)]


def journalled(row: Any) -> Journalled:
    """One row of `told`."""
    batch = _batch.decode(row["inputs"])
    warnings = _warnings.decode(row["warnings"]) if row["warnings"] else ()
    return Journalled(
        *(row["id"], row["at"], row["request"], row["position"], row["caller"], row["format"]),
        Pin(row["version"], row["revision"], row["md5"]),
        batch,
        Prediction(batch.id, row["yield"], row["lower"], row["upper"], warnings),
        row["measured"],
    )
