"""Describe responses for the OpenAPI document: their headers, their examples, and every refusal of a route."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)

from api.openapi.examples import BODIES, REPLIES
from api.problems import FORBIDDEN, HEAD_TOO_LARGE, INTERNAL, KINDS, METHOD_NOT_ALLOWED, UNAUTHORIZED, ProblemKind
from api.problems import MEDIA_TYPE as PROBLEM
from batchyield.serving.responses import Problem

SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}, {}]
COMPRESSION_HEADERS = ("Content-Encoding", "Vary")

HEADERS = {
    "X-Request-ID": ("the id that the request was sent with, or a new one; logs hold it", "string"),
    "X-Model-Version": ("released version of the model", "string"),
    "X-Model-Revision": ("commit of the code and the lock", "string"),
    "X-Model-Md5": ("hash of the model's bytes", "string"),
    "X-Cell-Warnings": ("cells repaired or taken as missing", "integer"),
    "Content-Encoding": ("`zstd` or `gzip`, where the answer is large and `Accept-Encoding` allows it", "string"),
    "Vary": ("what the answer depends on besides the path", "string"),
    "ETag": ("names these very bytes; for `If-None-Match`", "string"),
    "Allow": ("the methods that the path takes", "string"),
    "WWW-Authenticate": ("how a key is sent", "string"),
    "RateLimit": ("what is left of the key's rate, where it has one", "string"),
    "RateLimit-Policy": ("the key's rate, where it has one", "string"),
    "Retry-After": ("seconds after which to come back", "integer"),
    "Connection": ("`close` where the body was not read to its end", "string"),
    "Accept": ("the types that the path takes, where it was the type", "string"),
    "Accept-Encoding": ("the codings that it takes, where it was the coding", "string"),
}
ALWAYS = {"X-Request-ID", "Allow", "WWW-Authenticate", "Retry-After", "ETag"}
"""Headers that a response either always has or never."""

COMPONENTS = Components(
    headers={
        name: OpenAPIHeader(description=about, required=name in ALWAYS, schema=Schema(type=OpenAPIType(kind)))
        for name, (about, kind) in HEADERS.items()
    },
    security_schemes={
        "bearer": SecurityScheme(type="http", scheme="bearer"),
        "key": SecurityScheme(type="apiKey", security_scheme_in="header", name="X-API-Key"),
    },
)

_STRING = Schema(type=OpenAPIType.STRING)
_FILE = Schema(type=OpenAPIType.STRING, format="binary", description="the file")  # type: ignore[arg-type]
_FORM = Schema(type=OpenAPIType.OBJECT, properties={"file": _FILE}, required=["file"], additional_properties=False)

MORE_BODIES = {"predictSheet": {"multipart/form-data": _FORM}}
MORE_REPLIES = {"predictSheet": {"text/csv": _STRING}, "schema": {"text/html": _STRING}}
"""By operation: the media types beside the one that the framework allows a handler."""


@dataclass
class DescribedOperation(Operation):
    """An operation with what a handler's decorator has no argument for: headers, media types, named examples."""

    def __post_init__(self) -> None:
        name = str(self.operation_id)
        if isinstance(self.request_body, RequestBody):
            _complete(self.request_body.content, MORE_BODIES.get(name, {}), BODIES.get(name, {}))
        for status, response in (self.responses or {}).items():
            if isinstance(response, Reference):
                continue
            content = response.content or {}
            headers = ["X-Request-ID", *(response.headers or ()), *(["ETag"] if status == "304" else [])]
            if PROBLEM in content:
                shown = content[PROBLEM].examples or {}
                headers += [header for kind in KINDS if kind.name in shown for header in kind.headers]
                content[PROBLEM].examples = {
                    key: replace(one, id=None) for key, one in shown.items() if isinstance(one, Example)
                }
            response.headers = {header: Reference(f"#/components/headers/{header}") for header in headers}
            if status == "200":
                _complete(content, MORE_REPLIES.get(name, {}), REPLIES.get(name, {}))


def _complete(
    content: dict[str, OpenAPIMediaType], more: dict[str, Schema], examples: dict[str, dict[str, Example]]
) -> None:
    content.update((media_type, OpenAPIMediaType(schema=schema)) for media_type, schema in more.items())
    for media_type, described in content.items():
        described.examples = examples.get(media_type)  # type: ignore[assignment]
        if isinstance(described.schema, Schema) and described.schema.one_of:  # an explained reply is valid as both
            described.schema.any_of, described.schema.one_of = described.schema.one_of, None


def described(
    operation_id: str,
    tag: str,
    summary: str,
    *kinds: ProblemKind,
    about: str,
    description: str | None = None,
    headers: tuple[str, ...] = (),
    guarded: bool = True,
    unchanged: bool = False,
) -> dict[str, Any]:
    """Return the arguments of a route's decorator that describe it in the OpenAPI document.

    Args:
        operation_id, tag, summary, description: of the operation.
        kinds: problems that only some routes have; those of all routes are added.
        about: description of the response with status 200.
        headers: of that response.
        guarded: the route needs a key where keys are configured.
        unchanged: the route replies 304 to the ETag of its content.
    """
    every = (*kinds, *((UNAUTHORIZED, FORBIDDEN) if guarded else ()), METHOD_NOT_ALLOWED, HEAD_TOO_LARGE, INTERNAL)
    statuses = sorted({kind.status for kind in every})
    responses = {status: _refusal([kind for kind in every if kind.status == status]) for status in statuses}
    if unchanged:
        responses[304] = ResponseSpec(None, description="it is the one that `If-None-Match` names")
    return {
        "operation_class": DescribedOperation,
        "operation_id": operation_id,
        "tags": [tag],
        "summary": summary,
        "description": description,
        "response_description": about,
        "response_headers": [ResponseHeader(name, documentation_only=True) for name in headers],
        "responses": responses,
        "security": SECURITY if guarded else None,
    }


def _refusal(kinds: list[ProblemKind]) -> ResponseSpec:
    return ResponseSpec(
        Problem,
        generate_examples=False,
        description="; or ".join(kind.meaning for kind in kinds),
        media_type=PROBLEM,
        examples=[Example(kind.name, kind.meaning, value=msgspec.to_builtins(kind.example())) for kind in kinds],
    )
