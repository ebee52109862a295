"""The prediction routes without a router in front: it would cost more than decoding the body and writing the answer."""

from collections.abc import Mapping
from typing import Any

from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from api.refusals import EXCEPTION_HANDLERS


class Shortcut:
    """Exact paths go straight to their handlers; every other one, and every other spelling, through the framework."""

    def __init__(self, app: ASGIApp, handlers: Mapping[str, ASGIApp]) -> None:
        self._app, self._handlers = app, handlers

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        scope["path_template"] = scope["path"]
        try:
            await handler(scope, receive, send)
        except Exception as error:
            await _refuse(error, scope, receive, send)


async def _refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    kind = next(kind for kind in type(error).__mro__ if kind in EXCEPTION_HANDLERS)
    request: Request[Any, Any, Any] = Request(scope)
    response = EXCEPTION_HANDLERS[kind](request, error).to_asgi_response(app=None, request=request)
    await response(scope, receive, send)
