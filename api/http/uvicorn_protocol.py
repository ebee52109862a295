"""All use of uvicorn's private API: limits on connections and request heads, and responses in one write.

uvicorn itself limits neither the time nor the size of a request's head. `HttpToolsProtocol` and `RequestResponseCycle`
are not public API; pyproject.toml holds uvicorn below its next minor version, and tests/api/test_uvicorn_protocol.py
fails when their source changes. docs/decisions/serving-tricks.md has the gain of each part.
"""

import asyncio
from typing import Any

import msgspec
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.http.body import BODY_COMPLETE
from api.http.shutdown import CLOSE
from api.problems import BUSY, HEAD_TOO_LARGE, MALFORMED, MEDIA_TYPE, TOO_SLOW, RequestError, encode
from api.settings import Settings

MAX_HEAD_BYTES = 64 * 2**10
LINGER_SECONDS = 0.5
LIMITS_KEY = "connections"
"""Key of the `ConnectionLimits` in the lifespan state, by which the application passes them to the server."""

FULL_RESPONSE = "batchyield.response"
"""Type of an ASGI message with a complete response: `status`, `headers` and `body`, sent in one write.

Its headers are not checked, since they contain no text of a caller. In the state of a request, the key shows that the
server supports such messages.
"""

RUNNING_TASKS = "batchyield.tasks"
"""Key in the state of a request: the tasks of all requests that the process has received and not answered."""

_TOO_MANY = RequestError(BUSY, "too many connections are open; retry in a second", headers={"retry-after": "1"})


class ConnectionLimits(msgspec.Struct, frozen=True):
    """The limits of connections, and the counter of refused ones by reason."""

    settings: Settings
    refused: Counter


class ResponseCycle(RequestResponseCycle):
    """A request and its response, which the application may send as one message."""

    async def send(self, message: Any) -> None:
        if message["type"] != FULL_RESPONSE:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        headers = [*self.default_headers, *message["headers"]]
        if CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append(CLOSE)
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.response_started = self.response_complete = True
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[message["status"]], head, message["body"]))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


FIRST_REQUEST_SECONDS = 0.5
"""At a shutdown, for a connection without a request yet: to close it now would reset a request under way."""


class BoundedConnection(HttpToolsProtocol):
    """A connection whose client must send each request head within limits of time and size.

    The timer runs only while no request is being processed and a head is incomplete, so that a request that arrives in
    one piece costs nothing.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        limits: ConnectionLimits = app_state[LIMITS_KEY]
        self._settings, self._refused = limits.settings, limits.refused
        self._timer: asyncio.TimerHandle | None = None
        self._between_requests = True  # the last message is complete, the next head is not
        self._bytes_received = 0
        self._closed = False  # refused; further bytes are dropped

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            self._refuse("too-many", _TOO_MANY)
        else:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection after the response; one that is new gets time for its first request, on its way now."""
        if self.cycle is None and not self.transport.is_closing():
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        between = self._between_requests
        super().data_received(data)
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and not (self._closed or self.transport.is_closing()):
            if between is self._between_requests:  # else the data end with the rest of an unread body
                self._bytes_received += len(data)
            if self._between_requests and self._bytes_received > MAX_HEAD_BYTES:
                detail = f"the head of the request is larger than {MAX_HEAD_BYTES} bytes"
                self._refuse("head-too-large", RequestError(HEAD_TOO_LARGE, detail))
            elif self._bytes_received > self._settings.linger_bytes + MAX_HEAD_BYTES:
                self.transport.close()
            elif self._timer is None:
                self._start_timer()

    def on_headers_complete(self) -> None:
        self._between_requests, self._bytes_received = False, 0
        if self._timer is not None:
            self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._between_requests, self._bytes_received = True, 0
        self.scope["state"][BODY_COMPLETE] = True  # set before the task starts if the body arrived with the head
        if self._timer is not None:
            self._stop_timer()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = ResponseCycle  # uvicorn has no hook to construct another class
        cycle.scope["state"][FULL_RESPONSE] = True
        cycle.scope["state"][RUNNING_TASKS] = self.tasks
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Refuse malformed HTTP with a problem document instead of uvicorn's plain text."""
        self._refuse("malformed", RequestError(MALFORMED, msg))

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._settings.head_seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        if not self._bytes_received:
            # A browser's spare connection; it would take a response for that of its next request.
            self.transport.close()
        elif not self.transport.is_closing():
            detail = f"no complete request arrived within {self._settings.head_seconds:g} s"
            self._refuse("head-too-slow", RequestError(TOO_SLOW, detail))

    def _refuse(self, reason: str, error: RequestError) -> None:
        self._refused.labels(reason).inc()
        cycle, content = self.cycle, encode(error.problem("/"))
        if cycle is None or not cycle.response_started or (cycle.response_complete and self._between_requests):
            headers = {"content-type": MEDIA_TYPE, "content-length": str(len(content)), "connection": "close"}
            lines = "".join(f"{name}: {value}\r\n" for name, value in (headers | error.headers).items())
            self.transport.write(f"HTTP/1.1 {error.kind.status} {error.kind.title}\r\n{lines}\r\n".encode() + content)
        self._closed = True
        self._stop_timer()
        if (cycle is None or cycle.response_complete) and self.transport.can_write_eof():
            # Closing while the client still sends would make TCP discard the response.
            self.transport.write_eof()
            self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()
