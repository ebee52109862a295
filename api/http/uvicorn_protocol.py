"""All use of uvicorn's private API: bounds on connections and heads, and answers written in one piece.

uvicorn itself bounds neither the time nor the size of a request's head. `HttpToolsProtocol` and `RequestResponseCycle`
are no public API; pyproject.toml holds uvicorn below its next minor version, and tests/api/test_uvicorn_protocol.py
fails when their source changes. docs/decisions/serving-tricks.md has what each part brings.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.http.body import BODY_COMPLETE
from api.http.shutdown import CLOSE
from api.problems import BUSY, HEAD_TOO_LARGE, MALFORMED, MEDIA_TYPE, TOO_SLOW, RequestError, encode
from api.settings import Settings

MOST_HEAD_BYTES = 64 * 2**10
LINGER_SECONDS = 0.5
STATE = "connections"
"""Key of the bounds in the lifespan state that the application gives the server."""

FULL_RESPONSE = "batchyield.answer"
"""Type of an ASGI message that is a whole answer: `status`, `headers` and the whole `body`, written in one piece.

Its headers are not checked, since no caller can put text into them. It is also a key in the state of a request, which
tells the application that the server takes such messages.
"""

_TOO_MANY = RequestError(
    BUSY, "as many connections are open as the service takes; come back in a second", headers={"retry-after": "1"}
)


class ConnectionLimits(msgspec.Struct, frozen=True):
    """The limits of connections.

    Attributes:
        settings: the limits.
        refused: called with the reason each time a connection is refused.
    """

    settings: Settings
    refused: Callable[[str], None]


class ResponseCycle(RequestResponseCycle):
    """A request and its answer, which the application may send as one message."""

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


class BoundedConnection(HttpToolsProtocol):
    """A connection whose client must send each head in time and within a size.

    A timer runs only while no request is being answered and a head is incomplete, so that a request which arrives in
    one piece costs nothing.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        bounds: ConnectionLimits = app_state[STATE]
        self._settings, self._refused = bounds.settings, bounds.refused
        self._timer: asyncio.TimerHandle | None = None
        self._between = True  # the last message is complete, the next head is not
        self._waited_bytes = 0
        self._over = False  # refused; further bytes are dropped

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            self._refuse("too-many", _TOO_MANY)
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        between = self._between
        super().data_received(data)
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and not (self._over or self.transport.is_closing()):
            if between is self._between:  # else the data end with the rest of an unread body
                self._waited_bytes += len(data)
            if self._between and self._waited_bytes > MOST_HEAD_BYTES:
                detail = f"the head of the request is larger than {MOST_HEAD_BYTES} bytes"
                self._refuse("head-too-large", RequestError(HEAD_TOO_LARGE, detail))
            elif self._waited_bytes > self._settings.linger_bytes + MOST_HEAD_BYTES:
                self.transport.close()
            elif self._timer is None:
                self._wait()

    def on_headers_complete(self) -> None:
        self._between, self._waited_bytes = False, 0
        if self._timer is not None:
            self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._between, self._waited_bytes = True, 0
        self.scope["state"][BODY_COMPLETE] = True  # set before the request is worked on if its body came with its head
        if self._timer is not None:
            self._stop_waiting()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = ResponseCycle  # uvicorn has no hook to construct another class
        cycle.scope["state"][FULL_RESPONSE] = True
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Refuse malformed HTTP with a problem document instead of uvicorn's plain text."""
        self._refuse("malformed", RequestError(MALFORMED, msg))

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self._settings.head_seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self._waited_bytes:
            self.transport.close()  # a browser that connects ahead of need, and would take an answer for the next one's
        elif not self.transport.is_closing():
            detail = f"no whole request arrived within {self._settings.head_seconds:g} s"
            self._refuse("head-too-slow", RequestError(TOO_SLOW, detail))

    def _refuse(self, reason: str, error: RequestError) -> None:
        self._refused(reason)
        cycle, content = self.cycle, encode(error.problem("/"))
        if cycle is None or not cycle.response_started or (cycle.response_complete and self._between):
            headers = {
                "content-type": MEDIA_TYPE,
                "content-length": len(content),
                "connection": "close",
                **error.headers,
            }
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.transport.write(f"HTTP/1.1 {error.kind.status} {error.kind.title}\r\n{lines}\r\n".encode() + content)
        self._over = True
        self._stop_waiting()
        if (cycle is None or cycle.response_complete) and self.transport.can_write_eof():
            # To close while the client still sends would make the network drop the answer.
            self.transport.write_eof()
            self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()
