"""How the OpenAPI document tells of answers: their schemas, their headers, and every refusal with an example."""

from typing import Any

import msgspec

from api.examples import REFUSED
from api.monitoring import Monitoring
from api.outcomes import OutcomeRequest
from api.payload import PredictionRequest
from api.problems import (
    BUSY,
    FORBIDDEN,
    HEAD_TOO_LARGE,
    INTERNAL,
    JOURNAL_AWAY,
    METHOD_NOT_ALLOWED,
    NOT_JOURNALLED,
    NOT_READY,
    RATE_LIMITED,
    TOO_LARGE,
    TOO_SLOW,
    UNAUTHORIZED,
    UNSUPPORTED,
    Kind,
)
from api.problems import MEDIA_TYPE as PROBLEM
from batchyield.outcomes import OutcomesKept
from batchyield.replies import ExplainedPredictions, Health, Model, Predictions, Problem

Json = dict[str, Any]


def _readable(schema: Any) -> Any:
    """The same schema, shorter: `anyOf` of a type and null as one type, and of a docstring the first paragraph."""
    if isinstance(schema, list):
        return [_readable(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _readable(value) for name, value in schema.items()}
    match schema.get("anyOf"):
        case [{"type": str(kind), **bounds}, {"type": "null"}]:
            del schema["anyOf"]
            schema = {"type": [kind, "null"], **bounds, **schema}
    if isinstance(schema.get("description"), str):
        schema["description"] = " ".join(schema["description"].partition("\n\n")[0].split())
    return schema


TYPES = (
    PredictionRequest,
    Predictions,
    ExplainedPredictions,
    OutcomeRequest,
    OutcomesKept,
    Model,
    Monitoring,
    Health,
    Problem,
)
REFERENCES, COMPONENTS = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
REFERENCE: dict[Any, Json] = dict(zip(TYPES, REFERENCES, strict=True))

SCHEMAS = {name: _readable(schema) for name, schema in COMPONENTS.items()}

HEADERS: Json = {
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
"""Sent with each answer that has them at all."""

OF_KIND: dict[Kind, tuple[str, ...]] = {
    UNAUTHORIZED: ("WWW-Authenticate",),
    METHOD_NOT_ALLOWED: ("Allow",),
    TOO_SLOW: ("Connection",),
    TOO_LARGE: ("Connection",),
    UNSUPPORTED: ("Accept", "Accept-Encoding"),
    RATE_LIMITED: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    HEAD_TOO_LARGE: ("Connection",),
    NOT_READY: ("Retry-After",),
    BUSY: ("Retry-After",),
    NOT_JOURNALLED: ("Retry-After",),
    JOURNAL_AWAY: ("Retry-After",),
}


def header_components() -> Json:
    """Every header that an answer may have."""
    return {
        name: {"description": about, "required": name in ALWAYS, "schema": {"type": kind}}
        for name, (about, kind) in HEADERS.items()
    }


def good(description: str, content: Json, *headers: str) -> Json:
    """An answer that is what was asked for."""
    return {"description": description, "headers": _headers(*headers), "content": content}


def json_of(kind: Any) -> Json:
    """JSON of a type."""
    return {"application/json": {"schema": REFERENCE[kind]}}


def responses(answer: Json, *kinds: Kind, guarded: bool = True) -> Json:
    """All that a route may answer, by status."""
    kinds = (*kinds, *((UNAUTHORIZED, FORBIDDEN) if guarded else ()), METHOD_NOT_ALLOWED, HEAD_TOO_LARGE, INTERNAL)
    by_status: dict[int, list[Kind]] = {}
    for kind in sorted(kinds, key=lambda kind: kind.status):
        by_status.setdefault(kind.status, []).append(kind)
    return {"200": answer} | {str(status): _refusal(of) for status, of in by_status.items()}


def _refusal(kinds: list[Kind]) -> Json:
    named = [name for kind in kinds for name in OF_KIND.get(kind, ())]
    shown = {
        kind.name: {
            "summary": kind.meaning,
            "value": {"type": kind.urn, "title": kind.title, "status": kind.status} | REFUSED[kind.name],
        }
        for kind in kinds
    }
    return {
        "description": "; or ".join(kind.meaning for kind in kinds),
        "headers": _headers(*named),
        "content": {PROBLEM: {"schema": REFERENCE[Problem], "examples": shown}},
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *names)}
