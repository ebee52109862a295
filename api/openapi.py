"""The OpenAPI 3.1 document, from the very types that decode and encode: the one place that describes the routes."""

from typing import Any

import msgspec

from api import examples
from api.explanations import MOST_EXPLAINED, PARAMETER, ExplainedPredictions
from api.monitoring import Monitoring
from api.payload import MOST_BATCHES, PredictionRequest
from api.problems import (
    BUSY,
    INTERNAL,
    INVALID,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    NOT_READY,
    TOO_LARGE,
    TOO_SLOW,
    UNAUTHORIZED,
    UNSUPPORTED,
    Kind,
    Problem,
)
from api.problems import MEDIA_TYPE as PROBLEM
from api.service import Health, Model, Predictions

API_VERSION = "1.0.0"

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


TYPES = (PredictionRequest, Predictions, ExplainedPredictions, Model, Monitoring, Health, Problem)
REFERENCES, COMPONENTS = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
REFERENCE: dict[Any, Json] = dict(zip(TYPES, REFERENCES, strict=True))

SCHEMAS = {name: _readable(schema) for name, schema in COMPONENTS.items()}

OF_BODIES = (MALFORMED, TOO_SLOW, TOO_LARGE, UNSUPPORTED, INVALID, BUSY)

DESCRIPTION = f"""Predicts the yield of chemical batches from the 42 readings that the plant writes.

Every answer carries the pin of the model: the md5 of its bytes as `dvc.lock` names it, and the commit. A batch with bad
cells is never refused for them: what can be repaired is, the rest is taken as missing, and each such cell is named in
`warnings`. One request may hold up to {MOST_BATCHES:,} batches.

Refusals are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details. Where the service has keys, send one as
`Authorization: Bearer KEY` or `X-API-Key: KEY`."""


def document() -> Json:
    """The whole document, as JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "batchyield", "version": API_VERSION, "description": DESCRIPTION},
        "tags": [
            {"name": "Predictions", "description": "Batches in, yields with intervals out."},
            {"name": "Model", "description": "What answers, down to its bytes."},
            {"name": "Operation", "description": "For orchestrators and Prometheus."},
        ],
        "paths": {
            "/v1/predictions": {"post": _predictions()},
            "/v1/predictions/csv": {"post": _predictions_csv()},
            "/v1/model": {"get": _model()},
            "/v1/monitoring": {"get": _monitoring()},
            "/health/live": {"get": _health("live", "Whether the process answers", ())},
            "/health/ready": {"get": _health("ready", "Whether the pinned model is loaded", (NOT_READY,))},
            "/metrics": {"get": _metrics()},
        },
        "components": {
            "schemas": SCHEMAS,
            "headers": HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


HEADERS: Json = {
    "request-id": {
        "description": "the id that the request was sent with, or a new one; logs hold it",
        "schema": {"type": "string"},
    },
    "model-version": {"description": "released version of the model", "schema": {"type": "string"}},
    "model-revision": {"description": "commit of the code and the lock", "schema": {"type": "string"}},
    "model-md5": {"description": "hash of the model's bytes", "schema": {"type": "string"}},
    "cell-warnings": {"description": "cells repaired or taken as missing", "schema": {"type": "integer"}},
}


def _predictions() -> Json:
    body = {
        "schema": REFERENCE[PredictionRequest],
        "examples": {
            "batches": {"summary": "a clean batch, and one with a mistyped range", "value": examples.INPUTS},
            "empty": {"summary": "every reading may be absent", "value": {"inputs": [{"id": "unknown"}]}},
        },
    }
    answer = _json(Predictions, f"the predictions; with `{PARAMETER}=true`, each with its explanation")
    answer["content"]["application/json"] = {
        "schema": {"anyOf": [REFERENCE[ExplainedPredictions], REFERENCE[Predictions]]},
        "examples": {"explained": {"summary": f"with `{PARAMETER}=true`", "value": examples.EXPLAINED}},
    }
    explain = {
        "name": PARAMETER,
        "in": "query",
        "description": "whether to tell with each prediction what made it differ from the typical batch's; for at most "
        f"{MOST_EXPLAINED} batches at a time",
        "schema": {"type": "string", "enum": ["true", "false"], "default": "false"},
    }
    return {
        "operationId": "predict",
        "tags": ["Predictions"],
        "summary": "Predict batches",
        "description": "One answer for each input, in order. Every reading may be null or absent; an unknown field or "
        "a wrong type is refused with its index and its name.",
        "parameters": [explain],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": _responses(answer, *OF_BODIES, NOT_READY),
        "security": SECURITY,
    }


def _predictions_csv() -> Json:
    sheet = {
        "schema": {"type": "string", "format": "plant-sheet", "minLength": 1},
        "examples": {"sheet": {"summary": "two batches", "value": examples.sheet(examples.INPUTS["inputs"])}},
    }
    form = {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "string", "format": "binary", "description": "the file"}},
            "required": ["file"],
            "additionalProperties": False,
        }
    }
    answer = _json(Predictions, "the predictions, as `text/csv` unless JSON is preferred")
    answer["content"]["text/csv"] = {"schema": {"type": "string"}, "example": "id,yield,lower,upper\n"}
    for name in ("model-version", "model-revision", "model-md5", "cell-warnings"):
        answer["headers"][f"X-{name.title()}"] = {"$ref": f"#/components/headers/{name}"}
    return {
        "operationId": "predictSheet",
        "tags": ["Predictions"],
        "summary": "Predict the plant's CSV",
        "description": "The file as the plant writes it, GB18030 or UTF-8, with or without the yield column; as the "
        "body itself or as the one file of a form. Answers `id,yield,lower,upper`, a line for each batch in the "
        "file's order; with `Accept: application/json`, what `/v1/predictions` answers, warnings included.",
        "requestBody": {"required": True, "content": {"text/csv": sheet, "multipart/form-data": form}},
        "responses": _responses(answer, *OF_BODIES, NOT_READY),
        "security": SECURITY,
    }


def _model() -> Json:
    return {
        "operationId": "model",
        "tags": ["Model"],
        "summary": "Describe the model",
        "description": "The model's card, and the pin of each file it consists of.",
        "responses": _responses(_json(Model, "the model"), NOT_READY),
        "security": SECURITY,
    }


def _monitoring() -> Json:
    answer = _json(Monitoring, "what is watched, of all workers together")
    answer["content"]["application/json"]["examples"] = {
        "shadow": {"summary": "two workers, a model in the shadow", "value": examples.MONITORED}
    }
    return {
        "operationId": "monitoring",
        "tags": ["Model"],
        "summary": "Tell what is watched",
        "description": "Which model each worker has and which it refused, and how the answers of the model in the "
        "shadow differ from those given.",
        "responses": _responses(answer, NOT_READY),
        "security": SECURITY,
    }


def _health(name: str, summary: str, kinds: tuple[Kind, ...]) -> Json:
    return {
        "operationId": name,
        "tags": ["Operation"],
        "summary": summary,
        "responses": _responses(_json(Health, "yes"), *kinds, guarded=False),
    }


def _metrics() -> Json:
    answer = _json(Health, "Prometheus text, of all workers together")
    answer["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": "metrics",
        "tags": ["Operation"],
        "summary": "Metrics for Prometheus",
        "responses": _responses(answer),
        "security": SECURITY,
    }


SECURITY: list[Json] = [{"bearer": []}, {"key": []}, {}]


def _json(kind: Any, description: str) -> Json:
    return {
        "description": description,
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/request-id"}},
        "content": {"application/json": {"schema": REFERENCE[kind]}},
    }


def _responses(good: Json, *kinds: Kind, guarded: bool = True) -> Json:
    kinds = (*kinds, *((UNAUTHORIZED,) if guarded else ()), METHOD_NOT_ALLOWED, INTERNAL)
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
