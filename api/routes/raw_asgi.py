"""What routes share: media types, the check of the method, query parameters, and sending a response."""

from collections.abc import Iterable

from litestar.types import HTTPScope, Send

from api.problems import INVALID, METHOD_NOT_ALLOWED, RequestError
from batchyield.errors import Violation

JSON = b"application/json"
CSV = b"text/csv"

READ_METHODS = ("GET", "HEAD")
"""A route sees GET for both: the outermost middleware leaves out the body for HEAD."""


def require_post(scope: HTTPScope, others: tuple[str, ...] = ()) -> None:
    """Raise a RequestError, which names `others` too, if the request's method is not POST."""
    if scope["method"] != "POST":
        allowed = ", ".join((*others, "POST"))
        detail = f"{scope['method']} is not possible here, only {allowed}"
        raise RequestError(METHOD_NOT_ALLOWED, detail, headers={"allow": allowed})


def parameter_error(name: str, problem: str) -> RequestError:
    """Return the error for a query parameter whose value cannot be used."""
    violation = Violation(f"query parameter {name}", problem)
    return RequestError(INVALID, str(violation), violation)


def media_weights(accept: str) -> dict[str, float]:
    """Return the media types of an `Accept` header with their weights, from 0 to 1."""
    weights = {}
    for offer in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in offer.split(";"))
        weight = next((text.removeprefix("q=") for text in parameters if text.startswith("q=")), "1")
        weights[media_type] = float(weight) if weight.replace(".", "", 1).isdecimal() else 0.0
    return weights


async def send_content(send: Send, content: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Send a whole response with status 200; its length is added to the headers."""
    complete = [*headers, (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": complete})
    await send({"type": "http.response.body", "body": content, "more_body": False})
