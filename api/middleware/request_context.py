"""The outermost middleware: access control, request id, security headers, problem responses, metrics, access log."""

import asyncio
import os
import random
import re
from functools import partial
from time import perf_counter
from typing import Any

from litestar.types import ASGIApp, Receive, Send

from api.http.body import linger
from api.http.shutdown import CLOSE, Drain
from api.http.uvicorn_protocol import LIMITS_KEY, ConnectionLimits
from api.middleware.authorization import PUBLIC_PATHS, REQUIRED_SCOPES, UNMETERED_PATHS, AccessControl, is_public
from api.middleware.origin import PREFLIGHT, Origins
from api.problems import send_problem
from api.settings import Settings
from api.telemetry.access_log import ServiceLog
from api.telemetry.metrics import Metrics

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left before the response."""

DEFAULT_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
KNOWN_PATHS = REQUIRED_SCOPES.keys() | PUBLIC_PATHS

_random_id = partial(random.Random(os.urandom(32)).getrandbits, 64)  # noqa: S311 - an id, not a secret
"""One system call at the start instead of one per request."""

_VALID_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class RequestContextMiddleware:
    """Wraps the whole application, so that refusals too get headers, metrics and a line of the log."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        access: AccessControl,
        metrics: Metrics,
        drain: Drain,
        log: ServiceLog | None,
    ) -> None:
        self._app, self._settings, self._access, self._metrics = app, settings, access, metrics
        self._drain, self._log = drain, log if log is not None and log.access else None
        self._origins, self._root_path = Origins(settings.cors_origins), settings.root_path

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan" and "state" in scope:
                scope["state"][LIMITS_KEY] = ConnectionLimits(self._settings, self._metrics.connections_refused)
            await self._app(scope, _shutdown_if_cancelled(receive), send)
            return
        started = perf_counter()
        status = CLIENT_CLOSED_REQUEST
        bytes_in = bytes_out = 0
        rate_headers: list[tuple[bytes, bytes]] = []
        access, method, headers = self._access, scope["method"], dict(scope["headers"])
        if (root := self._root_path) and scope["path"].startswith(f"{root}/"):
            scope["path"] = scope["path"].removeprefix(root)
        path = scope["path"]
        # A GET whose body is not sent; the server, too, looks at the method of its own scope.
        inner = scope | {"method": "GET"} if method == "HEAD" else scope
        request_id = headers.get(b"x-request-id")
        if request_id is None or not _VALID_ID.fullmatch(request_id):
            request_id = b"%016x" % _random_id()
        inner["state"] = state = scope.setdefault("state", {})
        state["headers"] = headers  # the last of each name
        state["request_id"] = request_id.decode()
        state["caller"] = caller = ""

        async def counting_receive() -> Any:
            nonlocal bytes_in
            message = await receive()
            if message["type"] == "http.request":
                bytes_in += len(message["body"])
            return message

        async def stamping_send(message: Any) -> None:
            nonlocal status, bytes_out
            if "status" in message:
                status = message["status"]
                names = {name for name, _ in message["headers"]}
                defaults = [header for header in DEFAULT_HEADERS if header[0] not in names]
                stamp = (b"x-request-id", request_id)
                message["headers"] = [*message["headers"], *defaults, stamp, *SECURITY_HEADERS, *rate_headers]
                if self._settings.cors_origins:
                    message["headers"] += self._origins.response_headers(headers)
                if self._drain.draining:
                    message["headers"].append(CLOSE)
            if method == "HEAD" and "body" in message:
                message = message | {"body": b""}
            if "body" in message:
                bytes_out += len(message["body"])
                if state.get("unread") and not message.get("more_body"):
                    await send({"type": "http.response.body", "body": message["body"], "more_body": True})
                    await linger(counting_receive, self._settings.linger_bytes)
                    message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        metered = False
        try:
            if method == "OPTIONS" and self._origins.is_preflight(headers):
                await stamping_send({"type": "http.response.start", "status": 204, "headers": [*PREFLIGHT]})
                await stamping_send({"type": "http.response.body", "body": b""})
                return
            if not is_public(path):
                if not access.guarded:
                    self._origins.check_page(headers)
                caller = access.authorize(path, headers, method, state)
                if path not in UNMETERED_PATHS:
                    rate_headers = access.admit(caller)
                    access.in_flight += 1
                    metered = True
            await self._app(inner, counting_receive, stamping_send)
        except Exception as error:
            if status != CLIENT_CLOSED_REQUEST:  # the response has begun; the server closes the connection
                raise
            await send_problem(error, inner, stamping_send)
        finally:
            seconds = perf_counter() - started
            if metered:
                access.in_flight -= 1
                access.charge(caller, state)
            route = str(inner.get("path_template") or (path if path in KNOWN_PATHS else "unmatched"))
            self._metrics.request_finished(method, route, status, seconds)
            if self._log is not None:
                self._log.request(scope, state["request_id"], route, status, seconds, bytes_in, bytes_out)
            state.pop("result", None)  # uvicorn keeps the state for as long as the connection idles


def _shutdown_if_cancelled(receive: Receive) -> Receive:
    """Return `receive`, which reports a shutdown when cancelled: a server that stops at once only cancels."""

    async def receive_or_shutdown() -> Any:
        try:
            return await receive()
        except asyncio.CancelledError:
            return {"type": "lifespan.shutdown"}

    return receive_or_shutdown
