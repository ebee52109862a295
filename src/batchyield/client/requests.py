"""The calls of both clients: what each sends and makes of the answer. Does no input or output itself."""

import gzip
import io
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar

import httpx
import msgspec

from batchyield.client.errors import MixedModelsError, RefusedError, ReplyError, UnauthorizedError, UnavailableError
from batchyield.plant.batch import Batch
from batchyield.serving.chunking import (
    MAX_EXPLAINED_BATCHES,
    Chunk,
    chunk_batches,
    chunk_csv,
    rebase_position,
    rebase_violation,
)
from batchyield.serving.outcomes import MAX_OUTCOMES, Outcome, OutcomeKept, OutcomesKept, summarize_outcomes
from batchyield.serving.responses import (
    CSV_HEADER,
    ExplainedPredictions,
    Health,
    Model,
    ModelPin,
    Prediction,
    Predictions,
    Problem,
)

try:
    import zstandard
except ImportError:
    zstandard = None  # type: ignore[assignment]

Inputs: TypeAlias = Iterable[Batch | Mapping[str, Any]]
Outcomes: TypeAlias = Iterable[Outcome | Mapping[str, Any]]
Source: TypeAlias = str | Path | bytes | BinaryIO
Reply = TypeVar("Reply", Predictions, ExplainedPredictions)
Decoded = TypeVar("Decoded")
Result = TypeVar("Result")
RequestFlow: TypeAlias = Generator[httpx.Request, httpx.Response | None, Result]
"""A call: yields requests to send, is sent their responses, and returns the result."""

URL_VARIABLE, KEY_VARIABLE = "BATCHYIELD_URL", "BATCHYIELD_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"

MIN_COMPRESSED_BYTES = 64 * 2**10
"""Bytes; on loopback and in a data centre a smaller body is there before it is compressed."""

MAX_RESTARTS = 3
"""Times that a long request is begun, where it is to be answered by one model only."""

JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}


def http_options(url: str | None, key: str | None, timeout: float) -> dict[str, Any]:
    """How httpx reaches the service, from what is given and what the environment says."""
    key = key or os.environ.get(KEY_VARIABLE)
    return {
        "base_url": url or os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        "headers": {"accept": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {}),
        "timeout": timeout,
    }


class Endpoints:
    """The calls of one client.

    Args:
        build: makes a request for a method and a path.
        restart: start a request in several parts again if the model changes meanwhile, instead of raising.
        compressed_from: size in bytes from which bodies are compressed; None: never.
    """

    def __init__(self, build: Callable[..., httpx.Request], restart: bool, compressed_from: int | None) -> None:
        self._build, self._rounds, self._compressed_from = build, MAX_RESTARTS if restart else 1, compressed_from

    def predict(self, inputs: Inputs) -> RequestFlow[Predictions]:
        """Return a prediction for each batch, in order; any number of batches, in requests of at most 10,000."""
        return self._in_one(list(chunk_batches(inputs)), "/v1/predictions", JSON, Predictions)

    def predict_one(self, batch: Batch | Mapping[str, Any]) -> RequestFlow[Prediction]:
        """Return the prediction of one batch."""
        return (yield from self.predict([batch])).predictions[0]

    def explain(self, inputs: Inputs) -> RequestFlow[ExplainedPredictions]:
        """Return predictions, each with what made it differ from the typical batch's; about 4 ms a batch."""
        portions = list(chunk_batches(inputs, MAX_EXPLAINED_BATCHES))
        return self._in_one(portions, "/v1/predictions?explain=true", JSON, ExplainedPredictions)

    def predict_csv(self, source: Source) -> RequestFlow[Predictions]:
        """Return the predictions of the plant's file (a path, its bytes, or an open binary file), with warnings."""
        with _opened(source) as file:
            portions = list(chunk_csv(file))
        return self._in_one(portions, "/v1/predictions/csv", CSV, Predictions)

    def score_csv(self, source: Source) -> Iterator[RequestFlow[bytes]]:
        """Yield parts of `id,yield,lower,upper`, a line for each batch; a file of any size is never held whole.

        What was yielded before an error stands; `restart_on_model_change` does not apply.
        """
        first: list[ModelPin] = []
        with _opened(source) as file:
            for portion in chunk_csv(file):
                yield self._scored(portion, first)

    def record_outcomes(self, outcomes: Outcomes) -> RequestFlow[OutcomesKept]:
        """Record measured yields; return for each whether it was new or a correction, and the predictions it matched.

        Any number of them, in requests of at most 10,000, each of which is recorded whole or not at all. Recording the
        same again changes nothing, so that after an error all of them can be sent again.
        """
        kept: list[OutcomeKept] = []
        for portion in chunk_batches(outcomes, MAX_OUTCOMES, field="outcomes"):
            response = yield from self._post(portion, "/v1/outcomes", JSON)
            kept += _decoded(response, OutcomesKept).outcomes
        return summarize_outcomes(kept)

    def model(self) -> RequestFlow[Model]:
        """Return the serving model: its card, and the pin of each of its files."""
        return _decoded((yield from self._ask(self._build("GET", "/v1/model"))), Model)

    def ready(self) -> RequestFlow[Health]:
        """Return that the pinned model is loaded; raise while it is not."""
        return _decoded((yield from self._ask(self._build("GET", "/health/ready"))), Health)

    def _scored(self, portion: Chunk, first: list[ModelPin]) -> RequestFlow[bytes]:
        response = yield from self._post(portion, "/v1/predictions/csv", CSV | {"accept": "text/csv"})
        headers = response.headers
        pin = ModelPin(*(headers.get(f"x-model-{name}", "") for name in ("version", "revision", "md5")))
        if not pin.md5 or not response.content.startswith(CSV_HEADER):
            raise ReplyError(str(response.request.url), f"{_kind(response)} that is no CSV of predictions")
        first.append(pin)
        if pin != first[0]:
            raise MixedModelsError(first[0], pin)
        return response.content.removeprefix(CSV_HEADER) if portion.before else response.content

    def _in_one(
        self, portions: list[Chunk], path: str, headers: dict[str, str], kind: type[Reply]
    ) -> RequestFlow[Reply]:
        for _ in range(self._rounds):
            replies: list[Reply] = []
            for portion in portions:
                response = yield from self._post(portion, path, headers)
                replies.append(_decoded(response, kind))
                if replies[-1].model != replies[0].model:
                    break
            else:
                together: list[Any] = [prediction for reply in replies for prediction in reply.predictions]
                return kind(replies[0].model, together)
        raise MixedModelsError(replies[0].model, replies[-1].model)

    def _post(self, portion: Chunk, path: str, headers: dict[str, str]) -> RequestFlow[httpx.Response]:
        content, of_coding = self._packed(portion.content)
        request = self._build("POST", path, content=content, headers=headers | of_coding)
        return self._ask(request, portion.before)

    def _packed(self, content: bytes) -> tuple[bytes, dict[str, str]]:
        if self._compressed_from is None or len(content) < self._compressed_from:
            return content, {}
        if zstandard is None:
            return gzip.compress(content, 1), {"content-encoding": "gzip"}
        return zstandard.ZstdCompressor().compress(content), {"content-encoding": "zstd"}

    def _ask(self, request: httpx.Request, before: int = 0) -> RequestFlow[httpx.Response]:
        response = yield request
        assert response is not None  # noqa: S101 - each request is answered, or the call ends
        if response.is_success:
            return response
        problem, request_id = _problem(response, before), response.headers.get("x-request-id", "")
        if response.status_code in (401, 403):
            raise UnauthorizedError(problem, request_id)
        if response.status_code >= 500 or response.status_code == 429:
            raise UnavailableError(problem, request_id)
        raise RefusedError(problem, request_id)


def _problem(response: httpx.Response, before: int) -> Problem:
    if _kind(response) == "application/problem+json":
        problem = _decoded(response, Problem)
        return msgspec.structs.replace(
            problem,
            detail=rebase_position(problem.detail, before),
            violations=tuple(rebase_violation(violation, before) for violation in problem.violations),
        )
    # Something between here and the service.
    title = response.reason_phrase or "an answer without words"
    return Problem("about:blank", title, response.status_code, f"{response.request.url} answered with {title}")


def _decoded(response: httpx.Response, kind: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ReplyError(
            str(response.request.url), f"{_kind(response) or 'a body'} that cannot be read: {error}"
        ) from None


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0]


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            yield file
    else:
        yield source
