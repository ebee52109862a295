"""What every request and every answer passes through: admission, request id, security headers, counting, the log."""

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
from api.http.uvicorn_protocol import STATE, ConnectionLimits
from api.middleware.authorization import OPEN_PATHS, REQUIRED_SCOPES, UNMETERED_PATHS, AccessControl, is_public
from api.problems import MEDIA_TYPE, RequestError, encode
from api.settings import Settings
from api.telemetry.access_log import Log
from api.telemetry.metrics import Metrics

API_POLICY = b"default-src 'none'; frame-ancestors 'none'"

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
KNOWN = REQUIRED_SCOPES.keys() | OPEN_PATHS

_draw = partial(random.Random(os.urandom(32)).getrandbits, 64)  # noqa: S311 - an id, not a secret
"""To ask the system for each id would be a call of its own."""

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class RequestContextMiddleware:
    """Wraps the whole application, so that a refusal by the framework is stamped and counted like any answer."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        admission: AccessControl,
        metrics: Metrics,
        drain: Drain,
        log: Log | None,
    ) -> None:
        self._app, self._settings, self._admission, self._metrics = app, settings, admission, metrics
        self._drain, self._log = drain, log if log is not None and log.access else None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan" and "state" in scope:
                scope["state"][STATE] = ConnectionLimits(self._settings, self._metrics.refused)
            await self._app(scope, _in_order(receive), send)
            return
        started = perf_counter()
        status = 499  # the client left before it could be answered; nginx's number for it
        bytes_in = bytes_out = 0
        more_headers: list[tuple[bytes, bytes]] = []
        admission, path, headers = self._admission, scope["path"], dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        state = scope.setdefault("state", {})
        state["headers"] = headers  # the last of each name
        state["request_id"] = request_id.decode()
        state["caller"] = caller = ""

        async def counted() -> Any:
            nonlocal bytes_in
            message = await receive()
            if message["type"] == "http.request":
                bytes_in += len(message["body"])
            return message

        async def stamp(message: Any) -> None:
            nonlocal status, bytes_out
            if "status" in message:
                status = message["status"]
                message["headers"] = _stamped(list(message["headers"]), request_id)
                message["headers"] += more_headers
                if self._drain.draining:
                    message["headers"].append(CLOSE)
            if "body" in message:
                bytes_out += len(message["body"])
                if state.get("unread") and not message.get("more_body"):
                    await send({"type": "http.response.body", "body": message["body"], "more_body": True})
                    await linger(counted, self._settings.linger_bytes)
                    message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        metered = False
        try:
            if not is_public(path):
                state["caller"] = caller = admission.caller(path, headers)
                if path not in UNMETERED_PATHS:
                    more_headers = admission.meter(caller)
                    admission.in_flight += 1
                    metered = True
            await self._app(scope, counted, stamp)
        except RequestError as refusal:
            state["refusal"] = refusal.kind.name
            await _refuse(refusal, path, stamp)
        finally:
            seconds = perf_counter() - started
            if metered:
                admission.in_flight -= 1
                admission.pay(caller, state)
            route = str(scope.get("path_template") or (path if path in KNOWN else "unmatched"))
            self._metrics.answered(scope["method"], route, status, seconds)
            if self._log is not None:
                self._log.request(scope, state["request_id"], route, status, seconds, bytes_in, bytes_out)
            state.pop("answered", None)  # the server keeps the state for as long as the connection idles


def _in_order(receive: Receive) -> Receive:
    """What the server says to the application; a server that stops at once only cancels, which is to end alike."""

    async def told() -> Any:
        try:
            return await receive()
        except asyncio.CancelledError:
            return {"type": "lifespan.shutdown"}

    return told


def _request_id(sent: bytes | None) -> bytes:
    if sent is not None and _SANE_ID.fullmatch(sent):
        return sent
    return b"%016x" % _draw()


def _stamped(headers: list[tuple[bytes, bytes]], request_id: bytes) -> list[tuple[bytes, bytes]]:
    names = {name for name, _ in headers}
    if b"content-security-policy" not in names:
        headers.append((b"content-security-policy", API_POLICY))
    if b"cache-control" not in names:
        headers.append((b"cache-control", b"no-store"))
    headers.append((b"x-request-id", request_id))
    headers.extend(HEADERS)
    return headers


async def _refuse(refusal: RequestError, path: str, send: Send) -> None:
    content = encode(refusal.problem(path))
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": refusal.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})
