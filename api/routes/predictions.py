"""The two prediction routes, as plain ASGI: at 8 µs a request the framework's typed handlers would cost the most."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Send

from api.http.body import ClientGoneError, declared_length, media_type, read_body
from api.http.compression import decoded, packed, request_coding
from api.http.decoding import decode_batches, decode_upload
from api.http.uvicorn_protocol import FULL_RESPONSE
from api.inference.deadline import in_time
from api.inference.micro_batching import MAX_GROUP_ROWS, MicroBatcher
from api.inference.served_model import PredictionResult
from api.inference.service import Service
from api.problems import INVALID, METHOD_NOT_ALLOWED, RequestError
from batchyield.errors import Violation
from batchyield.plant.batch import Batch
from batchyield.serving.chunking import MAX_EXPLAINED_BATCHES
from batchyield.serving.responses import ExplainedPrediction, ExplainedPredictions, encode_predictions_csv

JSON = b"application/json"
CSV = b"text/csv"
FORM = b"multipart/form-data"
SHEETS = (CSV, b"application/csv", b"application/vnd.ms-excel", FORM)  # the third is what Windows calls a .csv

PARAMETER = "explain"

Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """What was answered, and how it goes over the wire."""

    answered: PredictionResult
    content: bytes
    headers: Headers


def prediction_routes(service: Service) -> list[ASGIRouteHandler]:
    """`POST /v1/predictions` and `POST /v1/predictions/csv`."""

    batcher = MicroBatcher(service)

    @asgi("/v1/predictions", copy_scope=False)
    async def predictions(scope: HTTPScope, receive: Receive, send: Send) -> None:
        post_only(scope)
        media_type(scope, (JSON,))
        if scope["query_string"] and explanation_wanted(scope["query_string"]):
            await _answer(service, scope, receive, send, lambda body: respond_explained(service, body), inline=False)
        else:
            await _answer_json(service, batcher, scope, receive, send)

    @asgi("/v1/predictions/csv", copy_scope=False)
    async def predictions_csv(scope: HTTPScope, receive: Receive, send: Send) -> None:
        post_only(scope)
        media_type(scope, SHEETS)
        headers = scope["state"]["headers"]
        content_type = headers[b"content-type"].decode("latin-1")
        as_json = JSON in headers.get(b"accept", b"")
        await _answer(service, scope, receive, send, lambda body: respond_csv(service, body, content_type, as_json))

    return [predictions, predictions_csv]


def respond_json(service: Service, body: bytes) -> Answer:
    """JSON in, JSON out."""
    return _as_json(service.answer(decode_batches(body), body))


def _as_json(answered: PredictionResult) -> Answer:
    return Answer(answered, answered.reply(), [(b"content-type", JSON)])


def respond_explained(service: Service, body: bytes) -> Answer:
    """JSON in, JSON with explanations out."""
    batches = decode_batches(body)
    check_explainable(batches)
    answered = service.answer(batches, body)
    return Answer(answered, msgspec.json.encode(explained(answered)), [(b"content-type", JSON)])


def respond_csv(service: Service, body: bytes, content_type: str, as_json: bool) -> Answer:
    """The plant's CSV in; `id,yield,lower,upper` out, or the JSON of the other route if that is preferred."""
    sheet = decode_upload(body, content_type)
    answered = service.answer_sheet(sheet)
    if as_json:
        return Answer(answered, answered.reply(), [(b"content-type", JSON), (b"vary", b"accept")])
    warned = sum(len(prediction.warnings) for prediction in answered.predictions)
    headers = [
        (b"content-type", b"text/csv; charset=utf-8"),
        (b"vary", b"accept"),
        (b"x-cell-warnings", b"%d" % warned),
        *answered.serving.pin_headers(),
    ]
    return Answer(answered, encode_predictions_csv(answered.predictions), headers)


def post_only(scope: HTTPScope) -> None:
    """Refuses every other method.

    Raises:
        RequestError: the request has another.
    """
    if scope["method"] != "POST":
        detail = f"{scope['method']} is not possible here, only POST"
        raise RequestError(METHOD_NOT_ALLOWED, detail, headers={"allow": "POST"})


async def _answer_json(service: Service, batcher: MicroBatcher, scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Answers a body that is not large together with others like it, and any other as `_answer` does."""
    if request_coding(scope["headers"]) or declared_length(scope) > service.settings.inline_body_bytes:
        await _answer(service, scope, receive, send, lambda body: respond_json(service, body))
        return
    service.serving  # noqa: B018 - refuses at once while there is none
    service.journal.admit()
    try:
        body = await read_body(scope, receive, service.settings)
        batches = decode_batches(body)
    except ClientGoneError:
        return
    if len(batches) <= MAX_GROUP_ROWS:
        answer = _as_json(await batcher.answer(batches, body, scope))
    else:
        answer = _as_json(service.answer(batches, body))
        await service.journal.record(answer.answered, scope)
    await _send(service, _packed(answer, scope["headers"]), scope, send)


async def _answer(
    service: Service,
    scope: HTTPScope,
    receive: Receive,
    send: Send,
    work: Callable[[bytes], Answer],
    inline: bool = True,
) -> None:
    """Answers with what `work` makes of the body: at once where that is quick, else in a thread."""
    service.serving  # noqa: B018 - refuses at once while there is none
    service.journal.admit()
    settings, sent_headers = service.settings, scope["headers"]
    coding = request_coding(sent_headers)
    try:
        if inline and not coding and declared_length(scope) <= settings.inline_body_bytes:
            answer = _packed(work(await read_body(scope, receive, settings)), sent_headers)
        else:
            with service.bulk_slot():
                body = await read_body(scope, receive, settings)
                answer = await in_time(
                    service.bulk,
                    lambda body: _packed(work(decoded(body, coding, settings)), sent_headers),
                    body,
                    settings.work_seconds,
                )
    except ClientGoneError:
        return
    await service.journal.record(answer.answered, scope)
    await _send(service, answer, scope, send)


async def _send(service: Service, answer: Answer, scope: HTTPScope, send: Send) -> None:
    scope["state"]["answered"] = answer.answered
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.content))]
    if FULL_RESPONSE in scope["state"]:
        whole: Any = {"type": FULL_RESPONSE, "status": 200, "headers": headers, "body": answer.content}
        await send(whole)
    else:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content, "more_body": False})
    service.shadow.offer(answer.answered.serving.pin.md5, answer.answered.batches, answer.answered.predictions)


def _packed(answer: Answer, sent_headers: Iterable[tuple[bytes, bytes]]) -> Answer:
    content, headers = packed(answer.content, sent_headers)
    return answer._replace(content=content, headers=[*answer.headers, *headers]) if headers else answer


def explanation_wanted(query: bytes) -> bool:
    """Whether a query asks for explanations; other parameters than `explain` are no matter.

    Raises:
        RequestError: `explain` is neither `true` nor `false`, or is given twice.
    """
    given = [value for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name == PARAMETER]
    if not given or given == ["false"]:
        return False
    if given != ["true"]:
        found = " and ".join(map(repr, given))
        violation = Violation(f"query parameter {PARAMETER}", f"expected `true` or `false`, once, got {found}")
        raise RequestError(INVALID, str(violation), violation)
    return True


def check_explainable(batches: Sequence[Batch]) -> None:
    """Refuses more batches than are explained at a time.

    Raises:
        RequestError: there are too many.
    """
    if len(batches) > MAX_EXPLAINED_BATCHES:
        problem = (
            f"holds {len(batches)} batches; with `{PARAMETER}=true`, send at most {MAX_EXPLAINED_BATCHES} at a time, "
            "or ask without it"
        )
        raise RequestError(INVALID, f"$.inputs: {problem}", Violation("$.inputs", problem))


def explained(answered: PredictionResult) -> ExplainedPredictions:
    """Predictions with the explanation of each, by the model that made them."""
    explanations = answered.serving.explainer.explain(answered.batches)
    told = [
        ExplainedPrediction(p.id, p.yield_, p.lower, p.upper, p.warnings, explanation=explanation)
        for p, explanation in zip(answered.predictions, explanations, strict=True)
    ]
    return ExplainedPredictions(answered.serving.pin, told)
