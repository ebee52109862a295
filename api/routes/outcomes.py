"""`/v1/outcomes`: measured yields, joined to journalled predictions."""

import asyncio
import difflib
from collections import Counter
from typing import Annotated
from urllib.parse import unquote

import msgspec
from litestar import Request, delete
from litestar.datastructures import State
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler, asgi
from litestar.params import PathParameter
from litestar.types import HTTPScope, Receive, Send
from msgspec import UNSET, Meta
from sqlalchemy.exc import DBAPIError

from api.http.body import ClientGoneError, check_media_type, read_body
from api.http.compression import decompress, request_coding
from api.http.decoding import UNKNOWN_FIELD, collect_violations, describe_problem, locate_syntax_error
from api.inference.group_commit import RETRY_AFTER, request_source
from api.inference.service import Service
from api.openapi.responses import describe_route
from api.problems import (
    BUSY,
    INVALID,
    JOURNAL_OFF,
    MALFORMED,
    NOT_JOURNALLED,
    RATE_LIMITED,
    RequestError,
    summarize,
)
from api.routes.raw_asgi import JSON, READ_METHODS, require_post, send_content
from api.routes.records import list_outcomes
from batchyield.errors import DatabaseUnavailableError, Violation
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.outcomes import OutcomeSource, record_outcomes, withdraw_outcome
from batchyield.plant.table import TARGET
from batchyield.serving.outcomes import (
    MAX_OUTCOMES,
    Outcome,
    OutcomeKept,
    OutcomeWithdrawn,
    is_unusual,
    summarize_outcomes,
)

WITHDRAWALS = "/v1/outcomes/"
FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(Outcome))


class OutcomeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Outcomes of batches."""

    outcomes: Annotated[
        list[Outcome],
        Meta(min_length=1, max_length=MAX_OUTCOMES, description="the last counts if a batch appears twice"),
    ]


class _RawRequest(msgspec.Struct, forbid_unknown_fields=True):
    outcomes: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_OUTCOMES)]


_request, _raw_request = msgspec.json.Decoder(OutcomeRequest), msgspec.json.Decoder(_RawRequest)
_outcome = msgspec.json.Decoder(Outcome)


def outcome_routes(service: Service) -> list[ASGIRouteHandler]:
    """Return the route `/v1/outcomes`, with GET and POST."""

    @asgi("/v1/outcomes", copy_scope=False)
    async def outcomes(scope: HTTPScope, receive: Receive, send: Send) -> None:
        if scope["method"] in READ_METHODS:
            await list_outcomes(service, scope, send)
            return
        require_post(scope, READ_METHODS)
        check_media_type(scope, (JSON,))
        coding = request_coding(scope["headers"])
        service.journal.database  # noqa: B018 - refuses at once without a journal
        try:
            with service.bulk_slot(scope["state"]["request_id"]):
                body = await read_body(scope, receive, service.settings)
                # Not in the bulk threads, which are for computing: this mostly waits for the database.
                content = await asyncio.to_thread(_record, service, body, coding, request_source(scope))
        except ClientGoneError:
            return
        await send_content(send, content, [(b"content-type", JSON)])

    return [outcomes]


def withdrawal_route(service: Service) -> HTTPRouteHandler:
    """Return the route `DELETE /v1/outcomes/{id}`."""

    @delete(
        f"{WITHDRAWALS}{{id:path}}",
        status_code=200,
        **describe_route(
            *("withdrawOutcome", "Outcomes", "Withdraw an outcome"),
            *(RATE_LIMITED, BUSY, JOURNAL_OFF, NOT_JOURNALLED),
            description="Later predictions no longer use it; the journal keeps it among the corrections. "
            "Withdrawing it again changes nothing.",
            about="the value that was withdrawn",
        ),
    )
    async def withdraw(
        request: Request[None, None, State],
        id: Annotated[str, PathParameter(description="name of the batch, percent-encoded")],  # noqa: A002, ARG001 - described by it
    ) -> OutcomeWithdrawn:
        # Not `id`: in it, a slash of the name looks like one of the path.
        name = unquote(request.scope["raw_path"].decode("latin-1").partition("?")[0].partition(WITHDRAWALS)[2])
        return OutcomeWithdrawn(name, await asyncio.to_thread(_withdraw, service, name))

    return withdraw


def _withdraw(service: Service, id_: str) -> float | None:
    database = service.journal.database
    try:
        ensure_schema(database)
        found = withdraw_outcome(database, id_)
    except (DatabaseUnavailableError, DBAPIError):
        detail = "the journal cannot be written; nothing was withdrawn, so try again later"
        raise RequestError(NOT_JOURNALLED, detail, headers=RETRY_AFTER) from None
    service.bias.notify()
    return found


def decode_outcomes(body: bytes) -> list[Outcome]:
    """Return the outcomes of the body `{"outcomes": [...]}`.

    Raises:
        RequestError: it is not JSON (400), or it has a violation (422).
    """
    try:
        return _request.decode(body).outcomes
    except msgspec.ValidationError as error:
        found = collect_violations(body, "outcomes", _split, _outcome.decode, _violations_of_outcome)
        violations = found or (_violation(error, "$"),)
        raise RequestError(INVALID, summarize(violations), *violations) from None
    except (ValueError, RecursionError) as error:
        violation = locate_syntax_error(body, error, "outcomes")
        raise RequestError(MALFORMED, f"the body is not JSON: {violation}", violation) from None


def _split(body: bytes) -> list[msgspec.Raw]:
    return _raw_request.decode(body).outcomes


def _violations_of_outcome(_: bytes, error: msgspec.ValidationError, where: str) -> list[Violation]:
    return [_violation(error, where)]


def _violation(error: msgspec.ValidationError, root: str) -> Violation:
    problem, _, path = str(error).partition(" - at `$")
    where = root + path.rstrip("`")
    hint = f"; {TARGET.expected}" if where.endswith(".yield") else ""
    if where == "$":
        hint = '; send {"outcomes": [{"id": ..., "yield": ...}]}'
    elif problem.startswith(UNKNOWN_FIELD):
        unknown = problem.removeprefix(UNKNOWN_FIELD).removesuffix("`").lower()
        similar = difflib.get_close_matches(unknown, FIELDS, n=1, cutoff=0.5)
        hint = f"; did you mean {similar[0]}?" if similar else f"; its fields are {', '.join(FIELDS)}"
    return Violation(where, describe_problem(problem) + hint)


def _record(service: Service, body: bytes, coding: str, source: OutcomeSource) -> bytes:
    outcomes, database = decode_outcomes(decompress(body, coding, service.settings)), service.journal.database
    try:
        if database.file is None or not database.file.exists():
            ensure_schema(database)
        results = record_outcomes(database, outcomes, source)
        service.bias.notify()
    except (DatabaseUnavailableError, DBAPIError):
        detail = "the journal cannot be written; no outcome was recorded, so send all of them again later"
        raise RequestError(NOT_JOURNALLED, detail, headers=RETRY_AFTER) from None
    for (name, matched), count in Counter((one.result, bool(one.matched)) for one in results).items():
        service.metrics.outcomes.labels(name, str(matched).lower()).inc(count)
    kept = [
        OutcomeKept(outcome.id, *one, is_unusual(outcome.yield_) or UNSET)
        for outcome, one in zip(outcomes, results, strict=True)
    ]
    return msgspec.json.encode(summarize_outcomes(kept))
