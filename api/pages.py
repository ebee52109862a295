"""The console, the API reference and the OpenAPI document; the pages load nothing from other hosts."""

import hashlib
import re
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.http.compression import MIN_COMPRESS_BYTES, STATIC_LEVELS, accepted_coding, compress
from api.openapi.responses import COMPRESSION_HEADERS, describe_route
from api.problems import NOT_FOUND, RequestError
from api.routes.raw_asgi import JSON, media_weights

CONSOLE = Path(__file__).parent / "console"
MEDIA_TYPES = {  # Litestar adds the charset
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_LIST_ITEM = re.compile(r'(?:W/)?("[^"]*")')

AnyRequest = Request[Any, Any, Any]


class Page:
    """A static file with an ETag, compressed once per coding."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content, self._media_type = {"": content}, media_type
        self._headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
        self._tag = hashlib.sha256(content).hexdigest()[:20]
        self._compressible = len(content) >= MIN_COMPRESS_BYTES

    def respond(self, request: AnyRequest, *vary: str) -> Response[Any]:
        """Return the file, or 304 if the client has it; `vary` names request headers that select this file."""
        coding = accepted_coding(request.headers.get("accept-encoding", "")) if self._compressible else ""
        headers = self._headers | {"etag": f'"{self._tag}-{coding}"' if coding else f'"{self._tag}"'}
        if vary or self._compressible:
            headers["vary"] = ", ".join([*vary, *(["accept-encoding"] if self._compressible else [])])
        known = request.headers.get("if-none-match", "")
        if known.strip() == "*" or headers["etag"] in _LIST_ITEM.findall(known):
            return Response(b"", status_code=304, headers=headers, media_type=self._media_type)
        if coding:
            headers["content-encoding"] = coding
        if coding not in self._content:  # when first requested, which keeps the start short
            self._content[coding] = compress(self._content[""], coding, STATIC_LEVELS)
        return Response(self._content[coding], headers=headers, media_type=self._media_type)


def page_routes() -> list[HTTPRouteHandler]:
    """Return the routes of the console, the API reference, their files, and the OpenAPI document.

    The application's state provides the document as `document(server)`, which generates it, from these routes too, when
    it is first requested; `server` is the service's URL relative to the document's.
    """
    console = _page(CONSOLE / "console.html")
    reference = _page(CONSOLE / "reference.html")
    files = {f"/{path.name}": _page(path) for path in CONSOLE.iterdir() if path.suffix in MEDIA_TYPES}

    @get("/", media_type=MediaType.HTML, sync_to_thread=False, **_describe_page("console", "The console"))
    def home(request: AnyRequest) -> Response[str]:
        return console.respond(request)

    @get(
        "/schema", sync_to_thread=True, **_describe_page("schema", "This document, or a page that shows it to browsers")
    )
    def schema(request: AnyRequest) -> Response[dict[str, Any]]:
        weights = media_weights(request.headers.get("accept", ""))
        wants_page = weights.get("text/html", 0.0) > weights.get(JSON.decode(), 0.0)
        page: Page = reference if wants_page else request.app.state.document(".")
        return page.respond(request, "accept")

    @get("/schema/openapi.json", sync_to_thread=True, **_describe_page("openapi", "This document"))
    def openapi(request: AnyRequest) -> Response[dict[str, Any]]:
        page: Page = request.app.state.document("..")
        return page.respond(request)

    @get("/console/{name:path}", sync_to_thread=False, include_in_schema=False)
    def file(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
        if name not in files:
            raise RequestError(NOT_FOUND, "the console has no such file")
        return files[name].respond(request)

    return [home, schema, openapi, file]


def _page(path: Path) -> Page:
    return Page(path.read_bytes(), MEDIA_TYPES[path.suffix])


def _describe_page(name: str, summary: str) -> dict[str, Any]:
    headers = ("ETag", *COMPRESSION_HEADERS)
    return describe_route(name, "Pages", summary, about="the page", headers=headers, guarded=False, unchanged=True)
