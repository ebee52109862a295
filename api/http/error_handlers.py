"""How each error is answered: the one place where errors become responses."""

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException

from api.problems import INTERNAL, INVALID, KINDS, MEDIA_TYPE, NOT_FOUND, ProblemKind, RequestError, encode, summary
from batchyield.errors import InputError

logger = logging.getLogger("batchyield.api")

AnyRequest = Request[Any, Any, Any]

_BY_STATUS = {kind.status: kind for kind in reversed(KINDS)}


def answer_request_error(request: AnyRequest, error: RequestError) -> Response[bytes]:
    """Answers what the service refuses."""
    request.scope["state"]["refusal"] = error.kind.name
    return Response(
        encode(error.problem(request.url.path)),
        status_code=error.kind.status,
        media_type=MEDIA_TYPE,
        headers=error.headers,
    )


def answer_input_error(request: AnyRequest, error: InputError) -> Response[bytes]:
    """Answers input that the library cannot read as batches."""
    return answer_request_error(request, RequestError(INVALID, summary(error.violations), *error.violations))


def answer_http_exception(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Answers what the framework refuses."""
    status = error.status_code
    kind = _BY_STATUS.get(status) or ProblemKind(
        "refused", status, "The request is refused", "the framework refuses it", error.detail
    )
    detail, headers = error.detail, dict(error.headers or {})
    if kind is NOT_FOUND:
        detail = "nothing is here; GET /schema lists all there is"
    elif isinstance(error, MethodNotAllowedException):
        headers["allow"] = ", ".join(_methods(request))
        detail = f"{request.method} is not possible here, only {headers['allow']}"
    return answer_request_error(request, RequestError(kind, detail, headers=headers))


def answer_unexpected(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answers a bug, whose cause goes into the log and not into the answer."""
    request_id = request.scope["state"].get("request_id", "")
    about = {"request_id": request_id, "route": str(request.scope.get("path_template") or "unmatched")}
    logger.error("request %s failed", request_id, exc_info=error, extra=about)
    detail = f"the service failed; the operator finds the cause in its log under {request_id}"
    return answer_request_error(request, RequestError(INTERNAL, detail))


def _methods(request: AnyRequest) -> list[str]:
    # Compared as the router does, which takes `/v1/model/` for `/v1/model`.
    asked = request.url.path.rstrip("/") or "/"
    return sorted(
        {str(m) for route in request.app.routes if route.path == asked for m in getattr(route, "methods", ())}
    )


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    RequestError: answer_request_error,
    InputError: answer_input_error,
    HTTPException: answer_http_exception,
    Exception: answer_unexpected,
}
