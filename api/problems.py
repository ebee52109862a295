"""Refusals as RFC 9457 problem details: one table of kinds, one way to answer each."""

import logging
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException
from msgspec import Meta

from batchyield.errors import InputError, Violation

MEDIA_TYPE = "application/problem+json"
MOST_VIOLATIONS = 20
LONGEST = 600

encode = msgspec.json.Encoder().encode
logger = logging.getLogger("batchyield.api")


class Kind(msgspec.Struct, frozen=True):
    """A kind of problem: the last part of its `type`, its status, and when it happens."""

    name: str
    status: int
    meaning: str


MALFORMED = Kind("malformed", 400, "the body is not JSON, or not the multipart form that its header says")
UNAUTHORIZED = Kind("unauthorized", 401, "keys are configured, and the request holds none of them")
NOT_FOUND = Kind("not-found", 404, "there is nothing at this path")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "the path exists, but not for this method; see `Allow`")
TOO_SLOW = Kind("too-slow", 408, "the body did not arrive in time")
TOO_LARGE = Kind("too-large", 413, "the body is larger than the service takes")
UNSUPPORTED = Kind("unsupported-media-type", 415, "the body is of a type or an encoding that the path does not take")
INVALID = Kind("invalid-input", 422, "the body can be parsed but not used; `violations` says where and why")
INTERNAL = Kind("internal", 500, "the service failed; its log says why under the request's id")
NOT_READY = Kind("not-ready", 503, "the model is not loaded yet")
BUSY = Kind("busy", 503, "too many large bodies are being worked on; try again after `Retry-After` seconds")

KINDS = (
    MALFORMED, UNAUTHORIZED, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_SLOW, TOO_LARGE, UNSUPPORTED, INVALID, INTERNAL,
    NOT_READY, BUSY,
)  # fmt: skip
_BY_STATUS = {kind.status: kind for kind in reversed(KINDS)}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem details."""

    type: Annotated[str, Meta(description="the kind of problem, stable", examples=["urn:batchyield:invalid-input"])]
    title: Annotated[str, Meta(description="the status in words")]
    status: Annotated[int, Meta(description="the HTTP status", ge=400, le=599)]
    detail: Annotated[str, Meta(description="what was wrong, and what to do")]
    instance: Annotated[str | None, Meta(description="the path that was asked")] = None
    violations: Annotated[
        tuple[Violation, ...], Meta(description="what is wrong with the input, the first twenty in its order")
    ] = ()


class RequestError(Exception):
    """A request that will not be answered as asked.

    Args:
        kind: which kind of problem.
        detail: what was wrong, and what to do.
        violations: each thing wrong with the input.
        headers: further headers of the answer.
    """

    def __init__(self, kind: Kind, detail: str, *violations: Violation, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.violations, self.headers = kind, detail, violations, headers or {}

    def problem(self, path: str) -> Problem:
        title = HTTPStatus(self.kind.status).phrase
        urn = f"urn:batchyield:{self.kind.name}"
        violations = tuple(
            Violation(_short(found.where), _short(found.problem)) for found in self.violations[:MOST_VIOLATIONS]
        )
        return Problem(urn, title, self.kind.status, _short(self.detail), _short(path), violations)


def answer_refusal(request: Request[Any, Any, Any], refusal: RequestError) -> Response[bytes]:
    """Answers a refusal."""
    return Response(
        encode(refusal.problem(request.url.path)),
        status_code=refusal.kind.status,
        media_type=MEDIA_TYPE,
        headers=refusal.headers,
    )


def answer_input_error(request: Request[Any, Any, Any], error: InputError) -> Response[bytes]:
    """Answers input that the library cannot read as batches."""
    return answer_refusal(request, RequestError(INVALID, summary(error.violations), *error.violations))


def answer_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answers what the framework refuses."""
    kind = _BY_STATUS.get(error.status_code) or Kind("refused", error.status_code, "")
    if kind is NOT_FOUND:
        return answer_refusal(request, RequestError(kind, "nothing is here; GET /schema lists all there is"))
    if isinstance(error, MethodNotAllowedException):
        allowed = sorted({m for route in request.app.routes if route.path == request.url.path for m in _methods(route)})
        detail = f"{request.method} is not possible here, only {', '.join(allowed)}"
        return answer_refusal(request, RequestError(kind, detail, headers={"allow": ", ".join(allowed)}))
    return answer_refusal(request, RequestError(kind, error.detail, headers=dict(error.headers or {})))


def answer_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answers a bug, whose cause goes into the log and not into the answer."""
    request_id = request.scope["state"].get("request_id", "")
    logger.error("request %s to %s failed", request_id, request.url.path, exc_info=error)
    detail = f"the service failed; the operator finds the cause in its log under {request_id}"
    return answer_refusal(request, RequestError(INTERNAL, detail))


def summary(violations: tuple[Violation, ...]) -> str:
    """The first violation in words, and how many follow."""
    more = f"; and {len(violations) - 1} more" if len(violations) > 1 else ""
    return f"{violations[0]}{more}" if violations else "the input cannot be used"


def _short(text: str) -> str:
    """What a caller sent is named in the answer, but not all of it."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _methods(route: Any) -> set[str]:
    return set(getattr(route, "methods", ()))


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    RequestError: answer_refusal,
    InputError: answer_input_error,
    HTTPException: answer_http_exception,
    Exception: answer_unexpected,
}
