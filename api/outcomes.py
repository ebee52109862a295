"""`POST /v1/outcomes`: measured yields, joined to journalled predictions."""

import asyncio
from collections import Counter
from typing import Annotated

import msgspec
from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Send
from msgspec import Meta
from sqlalchemy.exc import DBAPIError

from api.body import ClientGoneError, media_type, read_body
from api.journal import RETRY_AFTER, teller_of
from api.malformed import malformed
from api.predictions import JSON, post_only
from api.problems import INVALID, MALFORMED, NOT_JOURNALLED, RequestError
from api.service import Service
from batchyield.errors import AwayError, Violation
from batchyield.journal.outcomes import Outcome, Teller, keep
from batchyield.journal.upgrade import prepare

MOST_OUTCOMES = 10_000


class OutcomeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Measured yields of batches."""

    outcomes: Annotated[
        list[Outcome],
        Meta(min_length=1, max_length=MOST_OUTCOMES, description="of a batch that is given twice, the last counts"),
    ]


class OutcomeKept(msgspec.Struct, frozen=True):
    """What became of one outcome."""

    id: Annotated[str, Meta(description="name of the batch as it was sent")]
    result: Annotated[
        str,
        Meta(
            description="`recorded`: new; `unchanged`: known already; `corrected`: in place of another yield",
            extra_json_schema={"enum": ["recorded", "unchanged", "corrected"]},
        ),
    ]
    matched: Annotated[int, Meta(description="journalled predictions of the batch")]
    models: Annotated[tuple[str, ...], Meta(description="md5 of each model that made one")]


class OutcomesKept(msgspec.Struct, frozen=True):
    """What became of each outcome, in order, and in sum."""

    outcomes: list[OutcomeKept]
    matched: Annotated[int, Meta(description="batches of which there are predictions")]
    unmatched: Annotated[int, Meta(description="batches of which there are none yet; their outcomes are kept")]


_request = msgspec.json.Decoder(OutcomeRequest)
_encode = msgspec.json.Encoder().encode


def outcome_routes(service: Service) -> list[ASGIRouteHandler]:
    """`POST /v1/outcomes`."""

    @asgi("/v1/outcomes", copy_scope=False)
    async def outcomes(scope: HTTPScope, receive: Receive, send: Send) -> None:
        post_only(scope)
        media_type(scope, (JSON,))
        service.journal.store  # noqa: B018 - refuses at once where there is none
        try:
            with service.bulk_slot():
                body = await read_body(scope, receive, service.settings)
                told, teller = outcomes_of_json(body), teller_of(scope)
                # Not in the bulk threads, which are for work: this mostly waits for the database.
                content = await asyncio.to_thread(_keep, service, told, teller)
        except ClientGoneError:
            return
        headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    return [outcomes]


def outcomes_of_json(body: bytes) -> list[Outcome]:
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


def _keep(service: Service, told: list[Outcome], teller: Teller) -> bytes:
    store = service.journal.store
    try:
        if store.file is None or not store.file.exists():
            prepare(store)
        kept = keep(store, told, teller)
    except (AwayError, DBAPIError):
        detail = "the journal cannot be written; nothing was kept, so send all of it again later"
        raise RequestError(NOT_JOURNALLED, detail, headers=RETRY_AFTER) from None
    for (result, matched), times in Counter((one.result, bool(one.matched)) for one in kept).items():
        service.metrics.outcome(result, matched, times)
    outcomes = [OutcomeKept(one.id, *made) for one, made in zip(told, kept, strict=True)]
    matched_ids = {one.id for one in outcomes if one.matched}
    return _encode(OutcomesKept(outcomes, len(matched_ids), len({one.id for one in outcomes}) - len(matched_ids)))
