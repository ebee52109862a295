"""The pages a person looks at, and the document a machine reads; nothing in them is fetched from elsewhere."""

import hashlib
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.http.compression import LEVELS_ONCE, MIN_COMPRESS_BYTES, encoded, wanted
from api.openapi.responses import COMPRESSION_HEADERS, described
from api.problems import NOT_FOUND, RequestError

CONSOLE = Path(__file__).parent / "console"
VENDOR = CONSOLE / "vendor"
TYPES = {  # the framework adds the charset
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
VENDOR_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""For the page whose widget writes its own styles."""

REVALIDATE = "no-cache"
FOREVER = "public, max-age=31536000, immutable"
"""For vendored files, whose names hold their version."""


AnyRequest = Request[Any, Any, Any]


class Page:
    """A file read once, answered with a tag by which browsers tell whether theirs is the same."""

    def __init__(self, content: bytes, media_type: str, policy: str = POLICY, caching: str = REVALIDATE) -> None:
        self._content, self._media_type = {"": content}, media_type
        self._headers = {"content-security-policy": policy, "cache-control": caching}
        self._tag = hashlib.sha256(content).hexdigest()[:20]
        self._worth_packing = len(content) >= MIN_COMPRESS_BYTES

    def answer(self, request: AnyRequest, *vary: str) -> Response[Any]:
        """The file, or that it has not changed; `vary` names what else than the coding the answer depends on."""
        coding = wanted(request.headers.get("accept-encoding", "")) if self._worth_packing else ""
        headers = self._headers | {"etag": f'"{self._tag}-{coding}"' if coding else f'"{self._tag}"'}
        if vary or self._worth_packing:
            headers["vary"] = ", ".join([*vary, *(["accept-encoding"] if self._worth_packing else [])])
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(b"", status_code=304, headers=headers, media_type=self._media_type)
        if coding:
            headers["content-encoding"] = coding
        return Response(self._packed(coding), headers=headers, media_type=self._media_type)

    def _packed(self, coding: str) -> bytes:
        if coding not in self._content:  # at first need: who tests or only predicts does not wait for it
            self._content[coding] = encoded(self._content[""], coding, LEVELS_ONCE)
        return self._content[coding]


def page_routes() -> list[HTTPRouteHandler]:
    """Return the routes of the console, of the reference, of their files, and of the OpenAPI document.

    The application's state holds the document as `document()`: it is generated from these routes too, when it is
    first requested.
    """
    console = _page(CONSOLE / "console.html")
    reference = _page(CONSOLE / "reference.html", VENDOR_POLICY)
    files = {f"/{path.name}": _page(path) for path in CONSOLE.iterdir() if path.suffix in TYPES}
    files |= {f"/vendor/{path.name}": _page(path, caching=FOREVER) for path in VENDOR.iterdir() if path.suffix in TYPES}

    @get("/", media_type=MediaType.HTML, sync_to_thread=False, **_described("console", "The console"))
    def home(request: AnyRequest) -> Response[str]:
        return console.answer(request)

    @get(
        "/schema",
        sync_to_thread=True,
        **_described("schema", "This document, or a page that shows it to browsers"),
    )
    def schema(request: AnyRequest) -> Response[dict[str, Any]]:
        wants_page = "text/html" in request.headers.get("accept", "")
        page: Page = reference if wants_page else request.app.state.document()
        return page.answer(request, "accept")

    @get("/schema/openapi.json", sync_to_thread=True, **_described("openapi", "This document"))
    def openapi(request: AnyRequest) -> Response[dict[str, Any]]:
        page: Page = request.app.state.document()
        return page.answer(request)

    @get("/console/{name:path}", sync_to_thread=False, include_in_schema=False)
    def file(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
        if name not in files:
            raise RequestError(NOT_FOUND, "the console has no such file")
        return files[name].answer(request)

    return [home, schema, openapi, file]


def _page(path: Path, policy: str = POLICY, caching: str = REVALIDATE) -> Page:
    return Page(path.read_bytes(), TYPES[path.suffix], policy, caching)


def _described(name: str, summary: str) -> dict[str, Any]:
    headers = ("ETag", *COMPRESSION_HEADERS)
    return described(name, "Pages", summary, about="the page", headers=headers, guarded=False, unchanged=True)
