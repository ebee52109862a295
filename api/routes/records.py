"""What the journal holds, page by page: `GET /v1/predictions` and `GET /v1/outcomes`; and `GET /v1/readings`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.types import HTTPScope, Send
from msgspec import Meta
from sqlalchemy.exc import DBAPIError

from api.http.compression import compress_response
from api.inference.service import Service
from api.openapi.responses import describe_route
from api.problems import BUSY, JOURNAL_AWAY, NOT_READY, RATE_LIMITED, RequestError
from api.routes.raw_asgi import JSON, parameter_error, send_content
from batchyield.errors import DatabaseUnavailableError
from batchyield.journal.database import Database
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.queries import PredictionKey, search_outcomes, search_predictions
from batchyield.plant.batch import ENCODING, ID_COLUMN, READINGS, TARGET, Batch, Reading
from batchyield.serving.prediction import Prediction
from batchyield.serving.reference_profile import Profile
from batchyield.serving.responses import ModelPin

DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000

Found = TypeVar("Found")
Query = TypeVar("Query", bound=msgspec.Struct)


class JournalledRecord(msgspec.Struct, frozen=True):
    """A prediction in the journal, with its request, its response and its outcome."""

    key: Annotated[str, Meta(description="names this prediction in the journal")]
    at: Annotated[str, Meta(description="time of the answer, UTC")]
    request: Annotated[str, Meta(description="the `X-Request-ID`")]
    position: Annotated[int, Meta(description="place of the batch in its request, from 0")]
    caller: Annotated[str, Meta(description="name of the key; empty without keys")]
    format: Annotated[str, Meta(description="`json` or `csv`")]
    model: Annotated[ModelPin, Meta(description="the model that answered")]
    batch: Annotated[Batch, Meta(description="the batch as it was read")]
    prediction: Annotated[Prediction, Meta(description="the answer")]
    measured: Annotated[float | None, Meta(description="outcome reported last for the batch; null while unknown")]


class PredictionPage(msgspec.Struct, frozen=True):
    """Predictions, the newest first."""

    predictions: list[JournalledRecord]
    next: Annotated[str | None, Meta(description="`before` of the next page; null at the end")]


class OutcomeRow(msgspec.Struct, frozen=True, rename={"yield_": "yield"}):
    """The outcome of a batch."""

    id: Annotated[str, Meta(description="name of the batch")]
    yield_: Annotated[float, Meta(description=f"measured {TARGET.stored}")]
    at: Annotated[str, Meta(description="time of the report, UTC")]
    caller: Annotated[str, Meta(description="name of the key; empty without keys")]
    predictions: Annotated[int, Meta(description="number of journalled predictions of the batch")]
    corrections: Annotated[int, Meta(description="how often it was corrected")]
    measured_at: Annotated[str | None, Meta(description="time of the measurement, UTC; null if not reported")]


class OutcomePage(msgspec.Struct, frozen=True):
    """Outcomes, those reported last first."""

    outcomes: list[OutcomeRow]
    next: Annotated[str | None, Meta(description="`before` of the next page; null at the end")]


class TrainedRange(msgspec.Struct, frozen=True):
    """Distribution of a reading over the training batches of the model in service."""

    low: Annotated[float, Meta(description="1 % quantile")]
    median: float
    high: Annotated[float, Meta(description="99 % quantile")]
    least: float
    most: float
    missing: Annotated[float, Meta(description="share of the batches without the reading")]
    edges: Annotated[tuple[float, ...], Meta(description="inner edges of bins of about equal frequency")]
    shares: Annotated[tuple[float, ...], Meta(description="share of the batches in each bin")]


class Span(msgspec.Struct, frozen=True):
    """Two ends, both included."""

    low: float
    high: float


class ReadingRow(msgspec.Struct, frozen=True):
    """A reading of the plant, in the order of its file."""

    name: str
    kind: Annotated[str, Meta(description="`number`, `clock` or `range`")]
    unit: str
    meaning: str
    meaning_zh: Annotated[str, Meta(description="the meaning in Chinese")]
    usual: Annotated[Span | None, Meta(description="where the plant runs; null: not known")]
    plausible: Annotated[Span | None, Meta(description="a number outside is taken as missing; null: no such limits")]
    may_be_blank: bool
    example: float | str | None
    settable: Annotated[bool, Meta(description="whether the plant chooses it; false: a result of the process")]
    trained: Annotated[TrainedRange | None, Meta(description="null for clocks and ranges")]


class TargetRow(msgspec.Struct, frozen=True):
    """What is predicted, and how the plant's files name it."""

    column: Annotated[str, Meta(description="header of its column in the plant's file")]
    id_column: Annotated[str, Meta(description="header of the batches' names; empty: the file has none")]
    encoding: Annotated[str, Meta(description="encoding of the plant's files, if it is not UTF-8")]
    word: Annotated[str, Meta(description="its name in English")]
    word_zh: Annotated[str, Meta(description="its name in Chinese")]
    unit: Annotated[str, Meta(description="unit that people read; empty for none")]
    scale: Annotated[float, Meta(description="factor from the values of the API to that unit")]
    decimals: Annotated[int, Meta(description="decimals that are worth showing in that unit")]
    highest: Annotated[float, Meta(description="largest measured value that is accepted, as in the API")]


class Readings(msgspec.Struct, frozen=True):
    """The readings of a batch, and what is predicted from them."""

    target: TargetRow
    readings: list[ReadingRow]


Text = Annotated[str, Meta(max_length=200)]


def _optional(description: str, form: str) -> Any:
    """Return a query parameter that may be absent, without a default that the route would refuse."""
    return QueryParameter(description=description, required=False, schema_extra={"format": form})


SinceTime = Annotated[str, _optional("first time, such as 2026-11-29", "iso-time")]
UntilTime = Annotated[str, _optional("end of the time, excluded", "iso-time")]
PredictionCursor = Annotated[str, _optional("`next` of the page before", "cursor-of-predictions")]
OutcomeCursor = Annotated[str, _optional("`next` of the page before", "cursor-of-outcomes")]


class OutcomeQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameters of `GET /v1/outcomes`."""

    id: Annotated[str, Meta(max_length=128, description="only batches whose id begins so")] = ""
    before: Annotated[Text | None, Meta(description="`next` of the page before")] = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="size of a page")] = DEFAULT_LIMIT


class PredictionQuery(OutcomeQuery, frozen=True, forbid_unknown_fields=True):
    """Query parameters of `GET /v1/predictions`."""

    since: Annotated[Text | None, Meta(description="first time, ISO 8601, for example 2026-11-29")] = None
    until: Annotated[Text | None, Meta(description="time at which the list ends, excluded")] = None


TARGET_ROW = TargetRow(
    *(TARGET.column, ID_COLUMN, ENCODING, TARGET.word, TARGET.word_zh),
    *(TARGET.unit, TARGET.factor, TARGET.decimals, TARGET.bounds[1]),
)


async def list_predictions(service: Service, scope: HTTPScope, send: Send) -> None:
    """Send the page of journalled predictions that the query string asks for."""
    query = _parse_query(scope, PredictionQuery)
    since, until = parse_time("since", query.since), parse_time("until", query.until)
    fields = _parse_cursor(query.before, 3)
    key = PredictionKey(*map(int, fields)) if fields else None
    database = service.journal.database
    found = await read_journal(database, lambda: search_predictions(database, query.id, since, until, key, query.limit))
    records = [
        JournalledRecord(
            *(f"{p.answer}-{p.position}", _format_time(p.at), p.request, p.position, p.caller, p.form),
            *(ModelPin(*p.pin), p.batch, p.prediction, p.measured),
        )
        for p in found
    ]
    last = found[-1] if len(found) == query.limit else None
    further = None if last is None else f"{last.at}~{last.answer}~{last.position}"
    await _send(PredictionPage(records, further), scope, send)


async def list_outcomes(service: Service, scope: HTTPScope, send: Send) -> None:
    """Send the page of measured yields that the query string asks for."""
    query = _parse_query(scope, OutcomeQuery)
    fields = _parse_cursor(query.before, 2)
    key = (int(fields[0]), fields[1]) if fields else None
    database = service.journal.database
    found = await read_journal(database, lambda: search_outcomes(database, query.id, key, query.limit))
    rows = [
        OutcomeRow(
            *(o.batch, o.measured, _format_time(o.at), o.caller, o.predictions, o.corrections),
            None if o.measured_at is None else _format_time(o.measured_at),
        )
        for o in found
    ]
    last = found[-1] if len(found) == query.limit else None
    await _send(OutcomePage(rows, None if last is None else f"{last.at}~{last.batch}"), scope, send)


def reading_routes(service: Service) -> list[HTTPRouteHandler]:
    """Return the route `GET /v1/readings`."""

    @get(
        "/v1/readings",
        sync_to_thread=True,
        **describe_route(
            *("readings", "Model", "Describe the readings", RATE_LIMITED, BUSY, NOT_READY),
            description="Name, unit and meaning of each reading in English and Chinese, where the plant usually runs, "
            "and how it is distributed over the training batches of the model in service.",
            about="the readings in the order of the plant's file",
            any_key=True,
        ),
    )
    def readings() -> Readings:
        profiles = service.model.reference.features
        return Readings(TARGET_ROW, [_describe_reading(reading, profiles.get(reading.name)) for reading in READINGS])

    return [readings]


def _describe_reading(r: Reading, profile: Profile | None) -> ReadingRow:
    trained = None
    if profile is not None and profile.quantiles and r.kind == "number":
        q = profile.quantiles
        trained = TrainedRange(q[1], q[50], q[99], q[0], q[100], profile.missing, profile.edges, profile.shares)
    words = (r.name, r.kind, r.unit, r.meaning, r.meaning_zh)
    usual, plausible = (ends and Span(*ends) for ends in (r.usual, r.plausible))
    return ReadingRow(*words, usual, plausible, r.may_be_blank, r.example, r.settable, trained)


async def read_journal(
    database: Database,
    search: Callable[[], Found],
    run: Callable[[Callable[[], Found]], Awaitable[Found]] = asyncio.to_thread,
) -> Found:
    """Return `search()`, run in a thread by `run`.

    Raises:
        RequestError: the database is unavailable.
    """

    def read() -> Found:
        if database.file is not None and not database.file.exists():
            ensure_schema(database)  # nothing was predicted yet
        return search()

    try:
        return await run(read)
    except (DatabaseUnavailableError, DBAPIError):
        raise RequestError(JOURNAL_AWAY, JOURNAL_AWAY.detail, headers={"retry-after": "5"}) from None


async def _send(page: PredictionPage | OutcomePage, scope: HTTPScope, send: Send) -> None:
    content, coding = compress_response(msgspec.json.encode(page), scope["headers"])
    await send_content(send, content, [(b"content-type", JSON), *coding])


def _parse_query(scope: HTTPScope, query: type[Query]) -> Query:
    values = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    try:
        return msgspec.convert(values, query, strict=False)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        raise parameter_error(path.rstrip("`") or "names", problem) from None


def parse_time(parameter: str, text: str | None) -> int | None:
    """Return an ISO 8601 time, by default in UTC, as microseconds since 1970; None for None."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1e6)
    except (ValueError, OverflowError):
        problem = f"expected a time such as 2026-11-29 or 2026-11-29T08:00:00Z, got {text!r}"
        raise parameter_error(parameter, problem) from None


def _format_time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parse_cursor(before: str | None, parts: int) -> list[Any] | None:
    if before is None:
        return None
    fields = before.split("~", parts - 1)
    numbers = fields if parts == 3 else fields[:1]
    if len(fields) != parts or not all(field.isascii() and field.isdigit() and len(field) < 19 for field in numbers):
        raise parameter_error("before", f"expected `next` of a page before, got {before!r}")
    return list(fields)
