"""`POST /v1/outcomes`: measured yields, joined to journalled predictions."""

import asyncio
from collections import Counter
from typing import Annotated

import msgspec
from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Send
from msgspec import Meta
from sqlalchemy.exc import DBAPIError

from api.http.body import ClientGoneError, media_type, read_body
from api.http.compression import decoded, request_coding
from api.http.decoding import malformed
from api.inference.group_commit import RETRY_AFTER, request_origin
from api.inference.service import Service
from api.problems import INVALID, MALFORMED, NOT_JOURNALLED, RequestError
from api.routes.predictions import JSON, post_only
from batchyield.errors import DatabaseUnavailableError, Violation
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.outcomes import OutcomeSource, record_outcomes
from batchyield.serving.outcomes import MAX_OUTCOMES, Outcome, OutcomeKept, summarize_outcomes


class OutcomeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Measured yields of batches."""

    outcomes: Annotated[
        list[Outcome],
        Meta(min_length=1, max_length=MAX_OUTCOMES, description="of a batch that is given twice, the last counts"),
    ]


_request = msgspec.json.Decoder(OutcomeRequest)
_encode = msgspec.json.Encoder().encode


def outcome_routes(service: Service) -> list[ASGIRouteHandler]:
    """`POST /v1/outcomes`."""

    @asgi("/v1/outcomes", copy_scope=False)
    async def outcomes(scope: HTTPScope, receive: Receive, send: Send) -> None:
        post_only(scope)
        media_type(scope, (JSON,))
        coding = request_coding(scope["headers"])
        service.journal.store  # noqa: B018 - refuses at once where there is none
        try:
            with service.bulk_slot():
                body = await read_body(scope, receive, service.settings)
                # Not in the bulk threads, which are for work: this mostly waits for the database.
                content = await asyncio.to_thread(_keep, service, body, coding, request_origin(scope))
        except ClientGoneError:
            return
        headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    return [outcomes]


def decode_outcomes(body: bytes) -> list[Outcome]:
    """The outcomes of `{"outcomes": [...]}`.

    Raises:
        RequestError: it is not JSON (400), or not of this form (422).
    """
    try:
        return _request.decode(body).outcomes
    except msgspec.ValidationError as error:
        problem, _, path = str(error).rpartition(" - at `")
        violation = Violation(path.rstrip("`") if problem else "$", problem or str(error))
        raise RequestError(INVALID, str(violation), violation) from None
    except (ValueError, RecursionError) as error:
        violation = malformed(body, error)
        raise RequestError(MALFORMED, f"the body is not JSON: {violation}", violation) from None


def _keep(service: Service, body: bytes, coding: str, teller: OutcomeSource) -> bytes:
    told, store = decode_outcomes(decoded(body, coding, service.settings)), service.journal.store
    try:
        if store.file is None or not store.file.exists():
            ensure_schema(store)
        kept = record_outcomes(store, told, teller)
    except (DatabaseUnavailableError, DBAPIError):
        detail = "the journal cannot be written; nothing was kept, so send all of it again later"
        raise RequestError(NOT_JOURNALLED, detail, headers=RETRY_AFTER) from None
    for (result, matched), times in Counter((one.result, bool(one.matched)) for one in kept).items():
        service.metrics.outcome(result, matched, times)
    return _encode(summarize_outcomes(OutcomeKept(one.id, *made) for one, made in zip(told, kept, strict=True)))
