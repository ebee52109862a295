"""`POST /v1/predictions` and `/v1/predictions/csv`, as raw ASGI handlers: typed ones cost 24 µs more per request."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Send

from api.http.body import ClientGoneError, check_media_type, declared_length, read_body
from api.http.compression import compress_response, decompress, request_coding
from api.http.decoding import decode_batches, decode_upload
from api.http.uvicorn_protocol import FULL_RESPONSE
from api.inference.group_commit import is_alone
from api.inference.micro_batching import MAX_REQUEST_ROWS, MicroBatcher
from api.inference.served_model import PredictionResult
from api.inference.service import Service
from api.problems import CONFLICT, INVALID, RequestError
from api.routes import idempotency
from api.routes.raw_asgi import CSV, JSON, READ_METHODS, media_weights, parameter_error, require_post, send_content
from api.routes.records import list_predictions, read_journal
from batchyield.errors import Violation
from batchyield.journal.queries import RecordedPart, read_recorded
from batchyield.serving.chunking import MAX_EXPLAINED_BATCHES
from batchyield.serving.responses import ExplainedPrediction, ExplainedPredictions, encode_predictions_csv

SHEETS = (CSV, b"application/csv", b"application/vnd.ms-excel", b"multipart/form-data")
"""The third is what Windows sends for `.csv`."""

EXPLAIN, RECORD = "explain", "record"
BIAS = "bias"
TRUTH, SWITCH = {"true": True, "false": False}, {"on": True, "off": False}

Headers = list[tuple[bytes, bytes]]


class Options(NamedTuple):
    """Options of `POST /v1/predictions`, in its query string.

    Attributes:
        explain: the response has the Shapley values of each prediction.
        bias: measured yields of earlier batches correct the prediction; `off`: the model alone.
        record: the journal gets the prediction, and so do drift, live error and the shadow; false: to try values out.
    """

    explain: bool = False
    bias: bool = True
    record: bool = True


DEFAULTS = Options()


class EncodedResponse(NamedTuple):
    """Predictions with the body and the headers of their response."""

    result: PredictionResult
    content: bytes
    headers: Headers

    def compressed(self, request_headers: Iterable[tuple[bytes, bytes]]) -> "EncodedResponse":
        """Return the response in the coding that the client prefers."""
        content, headers = compress_response(self.content, request_headers)
        return self._replace(content=content, headers=[*self.headers, *headers]) if headers else self


Encode = Callable[[PredictionResult], EncodedResponse]


def prediction_routes(service: Service) -> list[ASGIRouteHandler]:
    """Return the routes `POST /v1/predictions` and `POST /v1/predictions/csv`."""

    batcher = MicroBatcher(service)

    @asgi("/v1/predictions", copy_scope=False)
    async def predictions(scope: HTTPScope, receive: Receive, send: Send) -> None:
        if scope["method"] in READ_METHODS:
            await list_predictions(service, scope, send)
            return
        require_post(scope, READ_METHODS)
        check_media_type(scope, (JSON,))
        options = parse_options(scope["query_string"]) if scope["query_string"] else DEFAULTS
        if options.explain:
            await _respond(
                *(service, scope, receive, send, lambda body: predict_explained(service, body, options.bias)),
                encode=_explained_response,
                inline=False,
                record=options.record,
            )
        elif options != DEFAULTS or idempotency.HEADER in scope["state"]["headers"] or _is_large(service, scope):
            await _respond(
                *(service, scope, receive, send, lambda body: predict_json(service, body, options.bias)),
                record=options.record,
            )
        else:
            await _respond_to_small(service, batcher, scope, receive, send)

    @asgi("/v1/predictions/csv", copy_scope=False)
    async def predictions_csv(scope: HTTPScope, receive: Receive, send: Send) -> None:
        require_post(scope)
        check_media_type(scope, SHEETS)
        headers = scope["state"]["headers"]
        content_type = headers[b"content-type"].decode("latin-1")
        as_json = prefers_json(headers.get(b"accept", b"").decode("latin-1"))
        bias = parse_options(scope["query_string"]).bias
        await _respond(
            *(service, scope, receive, send),
            lambda body: service.predict_sheet(decode_upload(body, content_type), bias),
            lambda result: _sheet_response(result, as_json),
        )

    return [predictions, predictions_csv]


def predict_json(service: Service, body: bytes, bias: bool = True) -> PredictionResult:
    """Return the predictions of a JSON body, with or without bias update."""
    batches, warnings = decode_batches(body)
    return service.predict_json(batches, body, warnings, bias)


def _json_response(result: PredictionResult) -> EncodedResponse:
    return EncodedResponse(result, result.to_json(), [(b"content-type", JSON)])


def predict_explained(service: Service, body: bytes, bias: bool = True) -> PredictionResult:
    """Return the predictions of a JSON body whose batches are few enough to be explained."""
    batches, warnings = decode_batches(body)
    if len(batches) > MAX_EXPLAINED_BATCHES:
        advice = f"with `{EXPLAIN}=true`, send at most {MAX_EXPLAINED_BATCHES} at a time, or ask without it"
        problem = f"holds {len(batches)} batches; {advice}"
        raise RequestError(INVALID, f"$.inputs: {problem}", Violation("$.inputs", problem))
    return service.predict_json(batches, body, warnings, bias)


def _explained_response(result: PredictionResult) -> EncodedResponse:
    """Return the response with the Shapley values of each prediction."""
    if result.model.pin.md5 != result.model.deployment.md5:
        detail = "the model that answered first is no longer in service and cannot explain; send a new Idempotency-Key"
        raise RequestError(CONFLICT, detail)
    explanations = result.model.explainer.explain(result.batches)
    explained = [
        ExplainedPrediction(p.id, p.yield_, p.lower, p.upper, p.warnings, p.bias, p.unbiased, explanation=explanation)
        for p, explanation in zip(result.predictions, explanations, strict=True)
    ]
    content = msgspec.json.encode(ExplainedPredictions(result.model.pin, explained))
    return EncodedResponse(result, content, [(b"content-type", JSON)])


def _sheet_response(result: PredictionResult, as_json: bool) -> EncodedResponse:
    """Return the response to the plant's CSV: `id,yield,lower,upper`, or the JSON of the other route if preferred."""
    if as_json:
        return EncodedResponse(result, result.to_json(), [(b"content-type", JSON), (b"vary", b"accept")])
    warnings = sum(len(prediction.warnings) for prediction in result.predictions)
    headers = [
        (b"content-type", b"text/csv; charset=utf-8"),
        (b"vary", b"accept"),
        (b"x-cell-warnings", b"%d" % warnings),
        *result.model.pin_headers(),
    ]
    return EncodedResponse(result, encode_predictions_csv(result.predictions), headers)


def prefers_json(accept: str) -> bool:
    """Return whether an `Accept` header names JSON, and CSV not with a higher weight."""
    weights = media_weights(accept)
    return weights.get(JSON.decode(), 0.0) > 0 and weights[JSON.decode()] >= weights.get(CSV.decode(), 0.0)


def _is_large(service: Service, scope: HTTPScope) -> bool:
    return bool(request_coding(scope["headers"])) or declared_length(scope) > service.settings.inline_body_bytes


async def _respond_to_small(
    service: Service, batcher: MicroBatcher, scope: HTTPScope, receive: Receive, send: Send
) -> None:
    """Respond to a small body in JSON; a few rows are predicted together with other such requests that are waiting."""
    service.model  # noqa: B018 - refuses at once while there is none
    service.journal.check_capacity()
    try:
        body = await read_body(scope, receive, service.settings)
    except ClientGoneError:
        return
    batches, warnings = decode_batches(body)
    if warnings is None and len(batches) <= MAX_REQUEST_ROWS and not is_alone(scope):
        result = await batcher.predict(batches, body, scope)
    else:
        result = service.predict_json(batches, body, warnings)
        if service.shadow.candidate is None:
            result = result.only_encoded()
            del batches, warnings
        await service.journal.record(result, scope)
    await _send(service, _json_response(result).compressed(scope["headers"]), scope, send)


async def _respond(
    service: Service,
    scope: HTTPScope,
    receive: Receive,
    send: Send,
    predict: Callable[[bytes], PredictionResult],
    encode: Encode = _json_response,
    inline: bool = True,
    record: bool = True,
) -> None:
    """Respond with the result of `predict`, run in the event loop for a small body if `inline`, else in a thread."""
    key = idempotency.read_key(scope) if record else None
    service.model  # noqa: B018 - refuses at once while there is none
    if record:
        service.journal.check_capacity()
    settings, headers = service.settings, scope["headers"]
    try:
        if inline and not _is_large(service, scope):
            response = encode(predict(await read_body(scope, receive, settings))).compressed(headers)
            await _finish(service, response, encode, scope, send, record, key)
            return
        coding = request_coding(headers)
        with service.bulk_slot(scope["state"]["request_id"]):
            body = await read_body(scope, receive, settings)
            response = await service.run_in_bulk_thread(
                lambda: encode(predict(decompress(body, coding, settings))).compressed(headers)
            )
            await _finish(service, response, encode, scope, send, record, key)
    except ClientGoneError:
        return


async def _finish(
    service: Service,
    response: EncodedResponse,
    encode: Encode,
    scope: HTTPScope,
    send: Send,
    record: bool,
    key: str | None,
) -> None:
    """Journal a response if `record`, and send it, or the one that was journalled under its key before."""
    repeated = False
    if record and key is None:
        await service.journal.record(response.result, scope)
    elif key is not None:
        first = await _record_once(service, response, encode, scope, key)
        repeated, response = first is not response, first
    await _send(service, response, scope, send, shadowed=record and not repeated)


async def _record_once(
    service: Service, response: EncodedResponse, encode: Encode, scope: HTTPScope, key: str
) -> EncodedResponse:
    """Journal a response under a key and return it, or return the one that was journalled under the key before."""
    recorded: list[RecordedPart] = []
    while not recorded:  # again, if retention has just deleted it
        if await service.journal.record_once(response.result, scope, key):
            return response
        database = service.journal.database
        recorded = await read_journal(database, partial(read_recorded, database, key))
    return await service.run_in_bulk_thread(
        lambda: encode(idempotency.repeat_result(response.result, recorded)).compressed(scope["headers"])
    )


async def _send(
    service: Service, response: EncodedResponse, scope: HTTPScope, send: Send, shadowed: bool = True
) -> None:
    result = scope["state"]["result"] = response.result
    if FULL_RESPONSE in scope["state"]:
        headers = [*response.headers, (b"content-length", b"%d" % len(response.content))]
        message: Any = {"type": FULL_RESPONSE, "status": 200, "headers": headers, "body": response.content}
        await send(message)
    else:
        await send_content(send, response.content, response.headers)
    if shadowed:
        service.shadow.offer(result.model.pin.md5, result.batches, result.predictions)


def parse_options(query: bytes) -> Options:
    """Return the options in a query string; other parameters are ignored.

    Raises:
        RequestError: an option has an unknown value, or appears twice.
    """
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    options: dict[str, bool] = {}
    for name in Options._fields:
        words = SWITCH if name == BIAS else TRUTH
        values = [value for key, value in given if key == name]
        if len(values) > 1 or any(value not in words for value in values):
            problem = (
                f"expected {' or '.join(f'`{word}`' for word in words)}, once, got {' and '.join(map(repr, values))}"
            )
            raise parameter_error(name, problem)
        if values:
            options[name] = words[values[0]]
    return DEFAULTS._replace(**options)
