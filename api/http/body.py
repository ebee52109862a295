"""Read a request's body within limits of size and time."""

import asyncio
import contextlib
import math

from litestar.types import HTTPScope, Receive

from api.problems import TOO_LARGE, TOO_SLOW, UNSUPPORTED, RequestError
from api.settings import Settings

LINGER_SECONDS = 10.0
CLOSE = {"connection": "close"}

BODY_COMPLETE = "body-complete"
"""Key in the state of a request whose body arrived together with its head."""


class ClientGoneError(Exception):
    """The client closed the connection before its body was complete; no response can be sent."""


def check_media_type(scope: HTTPScope, accepted: tuple[bytes, ...]) -> None:
    """Raise a RequestError if the body's media type is not one of `accepted`."""
    content_type: bytes = scope["state"]["headers"].get(b"content-type", b"")
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type not in accepted:
        expected = b" or ".join(accepted).decode()
        problem = f"is {media_type.decode('latin-1')}" if media_type else "is missing"
        raise RequestError(UNSUPPORTED, f"the Content-Type {problem}; send {expected}", headers={"accept": expected})


def declared_length(scope: HTTPScope) -> float:
    """Return the body's `Content-Length` in bytes, or infinity without one."""
    length: bytes = scope["state"]["headers"].get(b"content-length", b"")
    if length.isdigit() and len(length) < 20:
        return int(length)
    return math.inf


async def read_body(scope: HTTPScope, receive: Receive, settings: Settings) -> bytes:
    """Return the complete body.

    Raises:
        RequestError: it is too large (by its `Content-Length` before anything is read), or too slow.
        ClientGoneError: the client left.
    """
    limit = settings.max_body_bytes
    if BODY_COMPLETE in scope["state"]:  # no time limit, which would cost 6 µs
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        if len(message["body"]) <= limit:
            return message["body"]
        raise _too_large(scope, limit, unread=False)
    body, more = bytearray(), True
    if not limit < declared_length(scope) < math.inf:
        try:
            async with asyncio.timeout(settings.body_seconds):
                while more and len(body) <= limit:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientGoneError
                    more = message.get("more_body", False)
                    if not body and not more and len(message["body"]) <= limit:
                        return message["body"]
                    body += message["body"]
        except TimeoutError:
            detail = f"the body did not arrive within {settings.body_seconds:g} s"
            raise RequestError(TOO_SLOW, detail, headers=CLOSE) from None
        if not more and len(body) <= limit:
            return bytes(body)
    raise _too_large(scope, limit, unread=more)


def _too_large(scope: HTTPScope, limit: int, unread: bool) -> RequestError:
    scope["state"]["unread"] = unread
    detail = f"the body is larger than {limit} bytes; send fewer batches at a time"
    return RequestError(TOO_LARGE, detail, headers=CLOSE)


async def linger(receive: Receive, max_bytes: int) -> None:
    """Read and drop up to `max_bytes` of a body that was refused before its end (lingering close).

    If a server closes while its client still sends, TCP discards the response with the connection.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while max_bytes > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                max_bytes -= len(message["body"])
