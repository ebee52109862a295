"""What every request and every answer passes through: keys, request id, security headers, counting."""

import os
import re
from time import perf_counter
from typing import Any

from litestar.types import ASGIApp, Receive, Send

from api.auth import Keys
from api.body import linger
from api.metrics import Metrics
from api.problems import MEDIA_TYPE, UNAUTHORIZED, RequestError, encode
from api.settings import Settings

OPEN_PATHS = frozenset({"/", "/schema", "/schema/openapi.json", "/health/live", "/health/ready"})
OPEN_FOLDER = "/console/"
"""What needs no key: pages, which hold no data, and health."""

API_POLICY = b"default-src 'none'; frame-ancestors 'none'"

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class Envelope:
    """Wraps the whole application, so that a refusal by the framework is stamped and counted like any answer."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys, metrics: Metrics) -> None:
        self._app, self._settings, self._keys, self._metrics = app, settings, keys, metrics

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = 499  # the client left before it could be answered; nginx's number for it
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id.decode()

        async def stamp(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _stamped(list(message["headers"]), request_id)
            elif scope["state"].get("unread") and not message.get("more_body"):
                await send({"type": "http.response.body", "body": message["body"], "more_body": True})
                await linger(receive, self._settings.linger_bytes)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        try:
            if _open(scope["path"]) or self._keys.admit(headers):
                await self._app(scope, receive, stamp)
            else:
                await _refuse(scope["path"], stamp)
        finally:
            route = scope.get("path_template") or "unmatched"
            self._metrics.answered(scope["method"], str(route), status, perf_counter() - started)


def _request_id(sent: bytes | None) -> bytes:
    if sent is not None and _SANE_ID.fullmatch(sent):
        return sent
    return os.urandom(8).hex().encode()


def _stamped(headers: list[tuple[bytes, bytes]], request_id: bytes) -> list[tuple[bytes, bytes]]:
    names = {name for name, _ in headers}
    if b"content-security-policy" not in names:
        headers.append((b"content-security-policy", API_POLICY))
    if b"cache-control" not in names:
        headers.append((b"cache-control", b"no-store"))
    headers.append((b"x-request-id", request_id))
    headers.extend(HEADERS)
    return headers


def _open(path: str) -> bool:
    # Only exact paths: a router that folds `//` must not open a way around a prefix.
    return path in OPEN_PATHS or (path.startswith(OPEN_FOLDER) and "//" not in path and ".." not in path)


async def _refuse(path: str, send: Send) -> None:
    refusal = RequestError(UNAUTHORIZED, "send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    content = encode(refusal.problem(path))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(content)),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": refusal.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})
