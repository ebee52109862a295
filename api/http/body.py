"""The body of a request, read no further than it may be long and for no longer than it may take."""

import asyncio
import contextlib
import math

from litestar.types import HTTPScope, Receive

from api.problems import TOO_LARGE, TOO_SLOW, UNSUPPORTED, RequestError
from api.settings import Settings

LINGER_SECONDS = 10.0
CLOSE = {"connection": "close"}

BODY_COMPLETE = "whole"
"""In the state of a request whose body came with its head, in one piece."""


class ClientGoneError(Exception):
    """The client closed the connection before its body was whole; nobody is left to answer."""


def media_type(scope: HTTPScope, accepted: tuple[bytes, ...]) -> bytes:
    """The body's media type, without parameters.

    Raises:
        RequestError: it is not one of `accepted`.
    """
    sent: bytes = scope["state"]["headers"].get(b"content-type", b"")
    found = sent.partition(b";")[0].strip().lower()
    if found not in accepted:
        wanted = b" or ".join(accepted).decode()
        said = f"is {found.decode('latin-1')}" if found else "is not said"
        raise RequestError(UNSUPPORTED, f"the Content-Type {said}; send {wanted}", headers={"accept": wanted})
    return found


def declared_length(scope: HTTPScope) -> float:
    """How long the body says it is, in bytes; infinite where it does not say."""
    length: bytes = scope["state"]["headers"].get(b"content-length", b"")
    if length.isdigit() and len(length) < 20:
        return int(length)
    return math.inf


async def read_body(scope: HTTPScope, receive: Receive, settings: Settings) -> bytes:
    """The whole body.

    Raises:
        RequestError: it is too large, which a `Content-Length` says before anything is read, or too slow.
        ClientGoneError: the client left.
    """
    limit = settings.max_body_bytes
    if BODY_COMPLETE in scope["state"]:  # nothing is waited for, and a time limit would cost 6 µs
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


async def linger(receive: Receive, most: int) -> None:
    """Reads and drops up to `most` bytes of a body that was refused before its end.

    A server that closes while its client still sends makes the network drop the answer with the connection.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while most > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                most -= len(message["body"])
