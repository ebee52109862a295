"""Describe responses for the OpenAPI document: headers, examples, and every problem of a route."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from litestar.datastructures import ResponseHeader
from litestar.openapi import spec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIType, Reference, Schema

from api.openapi.examples import BODIES, REPLIES
from api.problems import FORBIDDEN, HEAD_TOO_LARGE, INTERNAL, KINDS, METHOD_NOT_ALLOWED, UNAUTHORIZED, ProblemKind
from api.problems import MEDIA_TYPE as PROBLEM
from batchyield.serving.responses import Problem

SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}, {}]
COMPRESSION_HEADERS = ("Content-Encoding", "Vary")

HEADERS = {
    "X-Request-ID": ("the id that the request was sent with, or a new one; also in the log", "string"),
    "X-Model-Version": ("released version of the model", "string"),
    "X-Model-Revision": ("commit of the code and the lock", "string"),
    "X-Model-Md5": ("hash of the model's bytes", "string"),
    "X-Cell-Warnings": ("cells repaired or taken as missing", "integer"),
    "Content-Encoding": ("`zstd` or `gzip`, if the response is large and `Accept-Encoding` allows it", "string"),
    "Vary": ("request headers that the response depends on", "string"),
    "ETag": ("identifies these bytes; for `If-None-Match`", "string"),
    "Allow": ("the methods of the path", "string"),
    "WWW-Authenticate": ("how a key is sent", "string"),
    "RateLimit": ("what is left of the key's rate limit, if it has one", "string"),
    "RateLimit-Policy": ("the key's rate limit, if it has one", "string"),
    "Retry-After": ("seconds after which to retry", "integer"),
    "Connection": ("`close` if the body was not read to its end", "string"),
    "Accept": ("the media types that the path accepts, after a wrong one", "string"),
    "Accept-Encoding": ("the codings that the path accepts, after a wrong one", "string"),
}
ALWAYS = {"X-Request-ID", "Allow", "WWW-Authenticate", "Retry-After", "ETag"}
"""Headers that a response either always has or never."""

COMPONENTS = spec.Components(
    headers={
        name: spec.OpenAPIHeader(description=about, required=name in ALWAYS, schema=Schema(type=OpenAPIType(kind)))
        for name, (about, kind) in HEADERS.items()
    },
    security_schemes={
        "bearer": spec.SecurityScheme(type="http", scheme="bearer"),
        "key": spec.SecurityScheme(type="apiKey", security_scheme_in="header", name="X-API-Key"),
    },
)

_STRING = Schema(type=OpenAPIType.STRING)
_FILE = Schema(type=OpenAPIType.STRING, format="binary", description="the file")  # type: ignore[arg-type]
_FORM = Schema(type=OpenAPIType.OBJECT, properties={"file": _FILE}, required=["file"], additional_properties=False)

MORE_BODIES = {"predictSheet": {"multipart/form-data": _FORM}}
MORE_REPLIES = {"predictSheet": {"text/csv": _STRING}, "schema": {"text/html": _STRING}}
"""By operation: further media types; Litestar allows a handler only one."""


@dataclass
class DescribedOperation(spec.Operation):
    """An operation with headers, further media types and named examples, for which decorators have no arguments."""

    def __post_init__(self) -> None:
        name = str(self.operation_id)
        kept = ("200", "304")  # Litestar adds one of its own to each handler with parameters
        self.responses = {
            status: response
            for status, response in (self.responses or {}).items()
            if status in kept or isinstance(response, Reference) or PROBLEM in (response.content or {})
        }
        if isinstance(self.request_body, spec.RequestBody):
            _complete(self.request_body.content, MORE_BODIES.get(name, {}), BODIES.get(name, {}))
        for status, response in (self.responses or {}).items():
            if isinstance(response, Reference):
                continue
            content = response.content or {}
            headers = ["X-Request-ID", *sorted(response.headers or ()), *(["ETag"] if status == "304" else [])]
            if PROBLEM in content:
                examples = content[PROBLEM].examples or {}
                headers += [header for kind in KINDS if kind.name in examples for header in kind.headers]
                content[PROBLEM].examples = {
                    key: replace(example, id=None) for key, example in examples.items() if isinstance(example, Example)
                }
            response.headers = {header: Reference(f"#/components/headers/{header}") for header in headers}
            if status == "200":
                _complete(content, MORE_REPLIES.get(name, {}), REPLIES.get(name, {}))


def _complete(
    content: dict[str, OpenAPIMediaType], more: dict[str, Schema], examples: dict[str, dict[str, Example]]
) -> None:
    content.update((media_type, OpenAPIMediaType(schema=schema)) for media_type, schema in more.items())
    if "text/csv" in content:  # generators of clients take the first, which should be the default of the route
        described = content.pop("text/csv"), dict(content)
        content.clear()
        content.update({"text/csv": described[0]} | described[1])
    for media_type, body in content.items():
        body.examples = examples.get(media_type)  # type: ignore[assignment]
        if isinstance(body.schema, Schema) and body.schema.one_of:  # an explained response is valid as both
            body.schema.any_of, body.schema.one_of = body.schema.one_of, None


def describe_route(
    operation_id: str,
    tag: str,
    summary: str,
    *kinds: ProblemKind,
    about: str,
    description: str | None = None,
    headers: tuple[str, ...] = (),
    guarded: bool = True,
    unchanged: bool = False,
    any_key: bool = False,
) -> dict[str, Any]:
    """Return the arguments of a route's decorator that describe it in the OpenAPI document.

    Args:
        kinds: problems of this route; those of all routes are added.
        about, headers: of the response with status 200.
        guarded: the route needs a key if keys are configured.
        unchanged: the route replies 304 to the ETag of its content.
        any_key: a key with any scope will do.
    """
    of_keys = (UNAUTHORIZED,) if any_key else (UNAUTHORIZED, FORBIDDEN) if guarded else ()
    problems = (*kinds, *of_keys, METHOD_NOT_ALLOWED, HEAD_TOO_LARGE, INTERNAL)
    statuses = sorted({kind.status for kind in problems})
    responses = {status: _refusal([kind for kind in problems if kind.status == status]) for status in statuses}
    if unchanged:
        responses[304] = ResponseSpec(None, description="unchanged since the `ETag` in `If-None-Match`")
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
