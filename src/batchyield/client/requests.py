"""The calls of both clients as generators that yield requests and receive responses; no network I/O happens here."""

import gzip
import io
import os
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from batchyield.client.errors import MixedModelsError, RefusedError, ReplyError, UnauthorizedError, UnavailableError
from batchyield.errors import Violation
from batchyield.plant.batch import Batch
from batchyield.serving.chunking import (
    MAX_EXPLAINED_BATCHES,
    Chunk,
    chunk_batches,
    chunk_csv,
    rebase_position,
)
from batchyield.serving.outcomes import (
    MAX_OUTCOMES,
    Outcome,
    OutcomeKept,
    OutcomesKept,
    OutcomeWithdrawn,
    summarize_outcomes,
)
from batchyield.serving.prediction import Prediction
from batchyield.serving.responses import CSV_HEADER, ExplainedPredictions, Health, Model, ModelPin, Predictions, Problem

try:
    import zstandard
except ImportError:
    zstandard = None  # type: ignore[assignment]

Inputs: TypeAlias = Iterable[Batch | Mapping[str, Any]]
Outcomes: TypeAlias = Iterable[Outcome | Mapping[str, Any]]
Source: TypeAlias = str | Path | bytes | BinaryIO
Scored = TypeVar("Scored", Predictions, ExplainedPredictions)
Decoded = TypeVar("Decoded")
Result = TypeVar("Result")
RequestFlow: TypeAlias = Generator[httpx.Request, httpx.Response | None, Result]
"""One call: yields a request, receives its response, and so on; returns the result."""

URL_VARIABLE, KEY_VARIABLE = "BATCHYIELD_URL", "BATCHYIELD_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Hosts that are never reached through a proxy."""

MIN_COMPRESSED_BYTES = 64 * 2**10
"""Size of a body from which compression pays: a smaller one is sent before it could be compressed."""

MAX_ATTEMPTS_SAME_MODEL = 3
"""Attempts of a chunked request with `restart_on_model_change`."""

JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}


def http_options(url: str | None, key: str | None, timeout: float) -> dict[str, Any]:
    """Return the arguments of `httpx.Client`, with defaults from the environment."""
    key = key or os.environ.get(KEY_VARIABLE)
    return {
        "base_url": url or os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        "headers": {"accept": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {}),
        "timeout": timeout,
        "mounts": {f"all://{host}": None for host in LOOPBACK},
    }


class Endpoints:
    """The calls of one client; `build` is its `httpx.Client.build_request`, the rest as for `Client`."""

    def __init__(self, build: Callable[..., httpx.Request], restart: bool, compressed_from: int | None) -> None:
        self._build, self._compressed_from = build, compressed_from
        self._attempts = MAX_ATTEMPTS_SAME_MODEL if restart else 1

    def predict(self, inputs: Inputs, *, bias: bool = True, record: bool = True) -> RequestFlow[Predictions]:
        """Return a prediction for each batch, in order; any number of batches, sent in chunks of at most 10,000.

        With `bias`, measured yields of earlier batches correct them; without `record`, they are not journalled.
        """
        path = _path("/v1/predictions", bias=bias, record=record)
        return self._predict_chunks(list(chunk_batches(inputs)), path, JSON, Predictions)

    def predict_one(
        self, batch: Batch | Mapping[str, Any], *, bias: bool = True, record: bool = True
    ) -> RequestFlow[Prediction]:
        """Return the prediction of one batch; arguments as of `predict`."""
        return (yield from self.predict([batch], bias=bias, record=record)).predictions[0]

    def explain(self, inputs: Inputs, *, bias: bool = True) -> RequestFlow[ExplainedPredictions]:
        """Return predictions with their largest Shapley values; about 4 ms per batch."""
        path = _path("/v1/predictions", "explain=true", bias=bias)
        return self._predict_chunks(
            list(chunk_batches(inputs, MAX_EXPLAINED_BATCHES)), path, JSON, ExplainedPredictions
        )

    def predict_csv(self, source: Source, *, bias: bool = True) -> RequestFlow[Predictions]:
        """Return the predictions of the plant's CSV (a path, bytes or an open binary file), with warnings."""
        with _open_source(source) as file:
            chunks = list(chunk_csv(file))
        return self._predict_chunks(chunks, _path("/v1/predictions/csv", bias=bias), CSV, Predictions)

    def score_csv(self, source: Source, *, bias: bool = True) -> Iterator[RequestFlow[bytes]]:
        """Yield the CSV `id,yield,lower,upper` in parts, one line per batch; the file is read lazily.

        Parts yielded before an error are valid; `restart_on_model_change` does not apply.
        """
        first: list[ModelPin] = []
        with _open_source(source) as file:
            for chunk in chunk_csv(file):
                yield self._score_chunk(chunk, _path("/v1/predictions/csv", bias=bias), first)

    def record_outcomes(self, outcomes: Outcomes) -> RequestFlow[OutcomesKept]:
        """Record measured yields; return for each whether it was new or a correction, and the predictions it matched.

        Any number of outcomes, sent in chunks of at most 10,000; each chunk is recorded completely or not at all.
        Recording is idempotent: after an error, send all of them again.
        """
        results: list[OutcomeKept] = []
        for chunk in chunk_batches(outcomes, MAX_OUTCOMES, field="outcomes"):
            response = yield from self._post(chunk, "/v1/outcomes", JSON)
            results += _decode(response, OutcomesKept).outcomes
        return summarize_outcomes(results)

    def withdraw_outcome(self, id: str) -> RequestFlow[OutcomeWithdrawn]:  # noqa: A002
        """Withdraw the measured yield of a batch, so that later predictions no longer use it; return its value."""
        request = self._build("DELETE", f"/v1/outcomes/{quote(id, safe='')}")
        return _decode((yield from self._send(request)), OutcomeWithdrawn)

    def model(self) -> RequestFlow[Model]:
        """Return the serving model: its card, and the md5 of each of its files."""
        return _decode((yield from self._send(self._build("GET", "/v1/model"))), Model)

    def ready(self) -> RequestFlow[Health]:
        """Return if the service is ready; raise `UnavailableError` if its model is not loaded yet."""
        return _decode((yield from self._send(self._build("GET", "/health/ready"))), Health)

    def _score_chunk(self, chunk: Chunk, path: str, first: list[ModelPin]) -> RequestFlow[bytes]:
        headers = CSV | {"accept": "text/csv"} | _new_key()
        response = yield from self._post(chunk, path, headers)
        pin = ModelPin(*(response.headers.get(f"x-model-{name}", "") for name in ("version", "revision", "md5")))
        if not pin.md5 or not response.content.startswith(CSV_HEADER):
            raise ReplyError(str(response.request.url), f"{_media_type(response)} that is not a CSV of predictions")
        first.append(pin)
        if pin != first[0]:
            raise MixedModelsError(first[0], pin)
        return response.content.removeprefix(CSV_HEADER) if chunk.before else response.content

    def _predict_chunks(
        self, chunks: list[Chunk], path: str, headers: dict[str, str], schema: type[Scored]
    ) -> RequestFlow[Scored]:
        for _ in range(self._attempts):
            results: list[Scored] = []
            for chunk in chunks:
                response = yield from self._post(chunk, path, headers | _new_key())
                results.append(_decode(response, schema))
                if results[-1].model != results[0].model:
                    break
            else:
                predictions: list[Any] = [prediction for result in results for prediction in result.predictions]
                return schema(results[0].model, predictions)
        raise MixedModelsError(results[0].model, results[-1].model)

    def _post(self, chunk: Chunk, path: str, headers: dict[str, str]) -> RequestFlow[httpx.Response]:
        content, encoding = self._compress(chunk.content)
        request = self._build("POST", path, content=content, headers=headers | encoding)
        return self._send(request, chunk.before)

    def _compress(self, content: bytes) -> tuple[bytes, dict[str, str]]:
        if self._compressed_from is None or len(content) < self._compressed_from:
            return content, {}
        if zstandard is None:
            return gzip.compress(content, 1), {"content-encoding": "gzip"}
        return zstandard.ZstdCompressor().compress(content), {"content-encoding": "zstd"}

    def _send(self, request: httpx.Request, before: int = 0) -> RequestFlow[httpx.Response]:
        response = yield request
        assert response is not None  # noqa: S101 - the client sends the response of each request
        if response.is_success:
            return response
        problem, request_id = _problem(response, before), response.headers.get("x-request-id", "")
        if response.status_code in (401, 403):
            raise UnauthorizedError(problem, request_id)
        if response.status_code >= 500 or response.status_code == 429:
            raise UnavailableError(problem, request_id)
        raise RefusedError(problem, request_id)


def _new_key() -> dict[str, str]:
    """Return the header by which the service recognizes the retries of one request."""
    return {"idempotency-key": f'"{uuid.uuid4()}"'}


def _path(path: str, *options: str, bias: bool = True, record: bool = True) -> str:
    """Return a path with its query."""
    query = [*options, *(() if bias else ("bias=off",)), *(() if record else ("record=false",))]
    return f"{path}?{'&'.join(query)}" if query else path


def _problem(response: httpx.Response, before: int) -> Problem:
    if _media_type(response) == "application/problem+json":
        problem = _decode(response, Problem)
        return msgspec.structs.replace(
            problem,
            detail=rebase_position(problem.detail, before),
            violations=tuple(Violation(rebase_position(v.where, before), v.problem) for v in problem.violations),
        )
    # From a proxy between the client and the service.
    title = response.reason_phrase or "unknown error"
    detail = f"{response.request.url} returned {title}"
    if response.has_redirect_location:
        detail += f": the service's URL may be another one, near {response.headers['location']}"
    return Problem("about:blank", title, response.status_code, detail)


def _decode(response: httpx.Response, schema: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(response.content, type=schema)
    except (msgspec.MsgspecError, ValueError) as error:
        problem = f"{_media_type(response) or 'a body'} that cannot be read: {error}"
        raise ReplyError(str(response.request.url), problem) from None


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0]


@contextmanager
def _open_source(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            yield file
    else:
        yield source
