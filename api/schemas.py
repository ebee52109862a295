"""The schemas of the OpenAPI document, from the very types that decode and encode."""

from typing import Any

import msgspec

from api.explanations import ExplainedPredictions
from api.monitoring import Monitoring
from api.outcomes import OutcomeRequest, OutcomesKept
from api.payload import PredictionRequest
from api.problems import FORBIDDEN, HEAD_TOO_LARGE, INTERNAL, METHOD_NOT_ALLOWED, UNAUTHORIZED, Kind, Problem
from api.problems import MEDIA_TYPE as PROBLEM
from api.service import Health, Model, Predictions

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


OF_PREDICTIONS = (PredictionRequest, Predictions, ExplainedPredictions)
TYPES = (*OF_PREDICTIONS, OutcomeRequest, OutcomesKept, Model, Monitoring, Health, Problem)
REFERENCES, COMPONENTS = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
REFERENCE: dict[Any, Json] = dict(zip(TYPES, REFERENCES, strict=True))

SCHEMAS = {name: _readable(schema) for name, schema in COMPONENTS.items()}


SECURITY: list[Json] = [{"bearer": []}, {"key": []}, {}]


def json_answer(kind: Any, description: str) -> Json:
    """A good answer whose body is a `kind`."""
    return {
        "description": description,
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/request-id"}},
        "content": {"application/json": {"schema": REFERENCE[kind]}},
    }


def responses(good: Json, *kinds: Kind, guarded: bool = True) -> Json:
    """All answers of an operation: the good one, its own refusals, and those of every route."""
    kinds = (*kinds, *((UNAUTHORIZED, FORBIDDEN) if guarded else ()), METHOD_NOT_ALLOWED, HEAD_TOO_LARGE, INTERNAL)
    by_status: dict[int, list[Kind]] = {}
    for kind in sorted(kinds, key=lambda kind: kind.status):
        by_status.setdefault(kind.status, []).append(kind)
    return {"200": good} | {str(status): _refusal(status, of) for status, of in by_status.items()}


def _refusal(status: int, kinds: list[Kind]) -> Json:
    shown = {
        kind.name: {
            "value": {
                "type": kind.urn,
                "title": kind.title,
                "status": status,
                "detail": kind.meaning,
            }
        }
        for kind in kinds
    }
    return {
        "description": "; or ".join(kind.meaning for kind in kinds),
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/request-id"}},
        "content": {PROBLEM: {"schema": REFERENCE[Problem], "examples": shown}},
    }
