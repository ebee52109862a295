"""Turn an exception into a problem response (RFC 9457); the only place that does."""

import logging
from typing import Any, NoReturn

from litestar import Request
from litestar.exceptions import HTTPException
from litestar.types import Send

from api.problems import (
    INTERNAL,
    INVALID,
    KINDS,
    MEDIA_TYPE,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    ProblemKind,
    RequestError,
    encode,
    summarize,
)
from batchyield.errors import InputError

logger = logging.getLogger("batchyield.api")

_KIND_OF_STATUS = {kind.status: kind for kind in reversed(KINDS)}


def reraise(_: Request[Any, Any, Any], error: Exception) -> NoReturn:
    """Raise the error again: as Litestar's exception handler, it leaves the response to the outermost middleware."""
    raise error


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


def _of_litestar(error: HTTPException, scope: Any) -> RequestError:
    status = error.status_code
    if status == NOT_FOUND.status:
        return RequestError(NOT_FOUND, "nothing is here; GET /schema lists all there is")
    if status == METHOD_NOT_ALLOWED.status:
        path = scope["path"].rstrip("/") or "/"  # as the router does, which takes `/v1/model/` for `/v1/model`
        routes = [route for route in scope["litestar_app"].routes if route.path == path]
        allowed = ", ".join(sorted({str(method) for route in routes for method in getattr(route, "methods", ())}))
        detail = f"{scope['method']} is not possible here, only {allowed}"
        return RequestError(METHOD_NOT_ALLOWED, detail, headers={"allow": allowed})
    kind = _KIND_OF_STATUS.get(status) or ProblemKind(
        "refused", status, "The request is refused", "the framework refuses it", error.detail
    )
    return RequestError(kind, error.detail, headers=dict(error.headers or {}))
