"""RFC 9457 problem details: the kinds of problem, the exception that carries one, and the response to an exception."""

import logging
import re
from typing import Any

import msgspec
from litestar.exceptions import HTTPException
from litestar.types import Send

from batchyield.errors import InputError, Violation
from batchyield.serving.responses import Problem

logger = logging.getLogger("batchyield.api")

MEDIA_TYPE = "application/problem+json"
MAX_VIOLATIONS = 20
MAX_TEXT_CHARS = 600

encode = msgspec.json.Encoder().encode


class ProblemKind(msgspec.Struct, frozen=True):
    """A kind of problem; `detail` and `violations` are of its example in the OpenAPI document.

    Attributes:
        meaning: when it happens.
        headers: names of the response's headers besides those of every response.
    """

    name: str
    status: int
    title: str
    meaning: str
    detail: str
    headers: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()

    @property
    def urn(self) -> str:
        return f"urn:batchyield:{self.name}"

    def example(self) -> Problem:
        """Return the problem as the OpenAPI document shows it."""
        return Problem(self.urn, self.title, self.status, self.detail, violations=self.violations)


_NO_NUMBER = Violation("$.inputs[0].A6 (line 1, column 18)", "NaN is not JSON; send null for a reading that is missing")
_NO_READING = Violation("$.inputs[3].A6", "expected a number or null, got text")
_RETRY = ("Retry-After",)

MALFORMED = ProblemKind(
    "malformed", 400, "The body cannot be parsed",
    "the body is not JSON, or not the multipart form or compressed stream that it should be",
    f"the body is not JSON: {_NO_NUMBER}", violations=(_NO_NUMBER,),
)  # fmt: skip
UNAUTHORIZED = ProblemKind(
    "unauthorized", 401, "A key is needed",
    "keys are configured, and the request has none of them",
    "send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`", ("WWW-Authenticate",),
)  # fmt: skip
FORBIDDEN = ProblemKind(
    "forbidden", 403, "The key may not do this",
    "the key is valid, but lacks the scope that the path needs",
    "the key line-3 lacks the scope predict; ask the operator for one that has it",
)  # fmt: skip
NOT_FOUND = ProblemKind(
    "not-found", 404, "Nothing is here",
    "there is nothing at this path",
    "nothing is here; GET /schema lists all there is",
)  # fmt: skip
METHOD_NOT_ALLOWED = ProblemKind(
    "method-not-allowed", 405, "The method is not possible here",
    "the path takes other methods; `Allow` names them",
    "DELETE is not possible here, only POST", ("Allow",),
)  # fmt: skip
TOO_SLOW = ProblemKind(
    "too-slow", 408, "The body came too slowly",
    "the body did not arrive in time",
    "the body did not arrive within 30 s", ("Connection",),
)  # fmt: skip
JOURNAL_OFF = ProblemKind(
    "journal-off", 409, "There is no journal",
    "the service keeps no journal, so nothing can be joined",
    "the service keeps no journal; its operator sets BATCHYIELD_JOURNAL",
)  # fmt: skip
REPORT_OFF = ProblemKind(
    "report-off", 409, "There are no reports",
    "the service is installed without the packages that draw the drift report",
    "the service is installed without the packages of the drift report; install batchyield[report], or run "
    "`batchyield drift report` beside the journal",
)  # fmt: skip
NO_EVALUATION = ProblemKind(
    "no-evaluation", 409, "There is no evaluation of this model",
    "`dvc.lock` pins no evaluation of the model in service, as after the deployment of another one; or a file of the "
    "evaluation is not the one that it pins",
    "/srv/batchyield/dvc.lock: pins no evaluation of the model in service",
)  # fmt: skip
CONFLICT = ProblemKind(
    "conflict", 409, "The state of the service does not allow it",
    "no model served before, another deployment is running, or a worker refused the model; nothing was changed; or the "
    "model that answered an `Idempotency-Key` first is gone and cannot explain",
    "/srv/batchyield/.serving has no record of a previous model",
)  # fmt: skip
TOO_LARGE = ProblemKind(
    "too-large", 413, "The body is too large",
    "the body is larger than the service takes",
    "the body is larger than 16777216 bytes; send fewer batches at a time", ("Connection",),
)  # fmt: skip
UNSUPPORTED = ProblemKind(
    "unsupported-media-type", 415, "The body is of another type",
    "the path does not take this type or this encoding",
    "the Content-Type is text/xml; send application/json", ("Accept", "Accept-Encoding"),
)  # fmt: skip
INVALID = ProblemKind(
    "invalid-input", 422, "The input cannot be used",
    "the request can be parsed, but is wrong at the places in `violations`",
    str(_NO_READING), violations=(_NO_READING,),
)  # fmt: skip
RATE_LIMITED = ProblemKind(
    "rate-limited", 429, "The rate limit of the key is reached",
    "the key has used up its rate; retry after `Retry-After` seconds",
    "the key has used up its rate; retry in 2 s", ("Retry-After", "RateLimit", "RateLimit-Policy"),
)  # fmt: skip
HEAD_TOO_LARGE = ProblemKind(
    "head-too-large", 431, "The head is too large",
    "the head of the request is larger than 64 KiB",
    "the head of the request is larger than 64 KiB", ("Connection",),
)  # fmt: skip
INTERNAL = ProblemKind(
    "internal", 500, "The service failed",
    "the service failed; its log has the cause under the request's id",
    "the service failed; the operator finds the cause in its log under 1f0c2b7a9d3e5f60",
)  # fmt: skip
NOT_READY = ProblemKind(
    "not-ready", 503, "The service is not ready",
    "the model is not loaded yet, or the service is stopping",
    "the model is not loaded yet", _RETRY,
)  # fmt: skip
BUSY = ProblemKind(
    "busy", 503, "The service is busy",
    "the number of requests, large bodies, connections or responses that wait for the journal is at its limit; "
    "retry after `Retry-After` seconds",
    "the service is working on as many large bodies as it takes; retry in 2 s", _RETRY,
)  # fmt: skip
NOT_JOURNALLED = ProblemKind(
    "not-journalled", 503, "The journal cannot be written",
    "the journal cannot be written (disk full, database unavailable), and predictions that are not journalled are "
    "not sent; retry after `Retry-After` seconds",
    "the journal cannot be written, and predictions that are not journalled are not sent; retry later", _RETRY,
)  # fmt: skip
JOURNAL_AWAY = ProblemKind(
    "journal-away", 503, "The journal cannot be read",
    "its database is unavailable; retry after `Retry-After` seconds",
    "the journal cannot be read; retry later", _RETRY,
)  # fmt: skip

KINDS = (
    MALFORMED, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_SLOW, JOURNAL_OFF, REPORT_OFF,
    NO_EVALUATION, CONFLICT, TOO_LARGE, UNSUPPORTED, INVALID, RATE_LIMITED, HEAD_TOO_LARGE, INTERNAL, NOT_READY, BUSY,
    NOT_JOURNALLED, JOURNAL_AWAY,
)  # fmt: skip
BODY_KINDS = (MALFORMED, TOO_SLOW, TOO_LARGE, UNSUPPORTED, INVALID, RATE_LIMITED, BUSY, NOT_JOURNALLED)
"""Of routes that read a body."""


class RequestError(Exception):
    """A request that is refused; the middleware sends it as a problem document with further `headers`."""

    def __init__(
        self, kind: ProblemKind, detail: str, *violations: Violation, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.violations, self.headers = kind, detail, violations, headers or {}

    def problem(self, path: str) -> Problem:
        """Return the problem document for a request of `path`; texts and violations from the request are truncated."""
        kind, violations = self.kind, self.violations[:MAX_VIOLATIONS]
        shown = tuple(Violation(_short(v.where), _short(v.problem)) for v in violations)
        return Problem(kind.urn, kind.title, kind.status, _short(self.detail), _short(path), shown)


def summarize(violations: tuple[Violation, ...]) -> str:
    """Return the first violation in words and the number of further ones."""
    more = f"; and {len(violations) - 1} more" if len(violations) > 1 else ""
    return f"{violations[0]}{more}" if violations else "the input cannot be used"


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}…"


async def send_problem(error: Exception, scope: Any, send: Send) -> None:
    """Send the problem response for `error`, and leave its kind in the request's state for the access log."""
    refusal = _request_error(error, scope)
    scope["state"]["refusal"] = refusal.kind.name
    content = encode(refusal.problem(scope["path"]))
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": refusal.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})


def _request_error(error: Exception, scope: Any) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, InputError):
        return RequestError(INVALID, summarize(error.violations), *error.violations)
    if isinstance(error, HTTPException):  # Litestar's own
        return _of_litestar(error, scope)
    request_id, route = scope["state"]["request_id"], str(scope.get("path_template") or "unmatched")
    logger.error("request %s failed", request_id, exc_info=error, extra={"request_id": request_id, "route": route})
    return RequestError(INTERNAL, f"the service failed; the operator finds the cause in its log under {request_id}")


PARAMETER = re.compile(r"\{[^}]+:path\}")
"""A parameter at the end of the path of a route, which may hold slashes."""


def _of_litestar(error: HTTPException, scope: Any) -> RequestError:
    status = error.status_code
    if status == NOT_FOUND.status:
        return RequestError(NOT_FOUND, "nothing is here; GET /schema lists all there is")
    if status == METHOD_NOT_ALLOWED.status:
        path = scope["path"].rstrip("/") or "/"  # as the router does, which takes `/v1/model/` for `/v1/model`
        routes = [r for r in scope["litestar_app"].routes if re.fullmatch(PARAMETER.sub(".+", r.path), path)]
        methods = {str(method) for route in routes for method in getattr(route, "methods", ())}
        allowed = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
        detail = f"{scope['method']} is not possible here, only {allowed}"
        return RequestError(METHOD_NOT_ALLOWED, detail, headers={"allow": allowed})
    other = ProblemKind("refused", status, "The request is refused", "the framework refuses it", error.detail)
    kind = next((kind for kind in KINDS if kind.status == status), other)
    return RequestError(kind, error.detail, headers=dict(error.headers or {}))
