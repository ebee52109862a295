"""The OpenAPI 3.1 document, from the very types that decode and encode: the one place that describes the routes."""

from api import examples
from api.answers import REFERENCE, SCHEMAS, Json, good, header_components, json_of, responses
from api.monitoring import Monitoring
from api.outcomes import OutcomeRequest
from api.payload import PredictionRequest
from api.predictions import PARAMETER
from api.problems import (
    BUSY,
    INVALID,
    JOURNAL_AWAY,
    JOURNAL_OFF,
    MALFORMED,
    NOT_JOURNALLED,
    NOT_READY,
    RATE_LIMITED,
    TOO_LARGE,
    TOO_SLOW,
    UNSUPPORTED,
    Kind,
)
from batchyield.outcomes import OutcomesKept
from batchyield.portions import MOST_BATCHES, MOST_EXPLAINED
from batchyield.replies import ExplainedPredictions, Health, Model, Predictions

API_VERSION = "1.0.0"

PACKED = ("Content-Encoding", "Vary")
DOCUMENT: Json = {"schema": {"type": "object", "required": ["openapi", "info", "paths", "components"]}}
METERED = (RATE_LIMITED, BUSY)
OF_BODIES = (MALFORMED, TOO_SLOW, TOO_LARGE, UNSUPPORTED, INVALID, *METERED)

DESCRIPTION = f"""Predicts the yield of chemical batches from the 42 readings that the plant writes.

Every answer carries the pin of the model: the md5 of its bytes as `dvc.lock` names it, and the commit. A batch with bad
cells is never refused for them: what can be repaired is, the rest is taken as missing, and each such cell is named in
`warnings`. One request may hold up to {MOST_BATCHES:,} batches.

Bodies may be compressed with gzip or zstd (`Content-Encoding`); large answers are, for who sends `Accept-Encoding`.
A request may carry an `X-Request-ID`, which comes back with its answer.

Refusals are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details. Where the service has keys, send one as
`Authorization: Bearer KEY` or `X-API-Key: KEY`."""


def document() -> Json:
    """The whole document, as JSON values."""
    both = {"application/json": DOCUMENT, "text/html": {"schema": {"type": "string"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "batchyield", "version": API_VERSION, "description": DESCRIPTION},
        "tags": [
            {"name": "Predictions", "description": "Batches in, yields with intervals out."},
            {"name": "Outcomes", "description": "Measured yields in, joined to what was predicted."},
            {"name": "Model", "description": "What answers, down to its bytes."},
            {"name": "Operation", "description": "For orchestrators and Prometheus."},
            {"name": "Pages", "description": "For people, and for what reads this document."},
        ],
        "paths": {
            "/v1/predictions": {"post": _predictions()},
            "/v1/predictions/csv": {"post": _predictions_csv()},
            "/v1/outcomes": {"post": _outcomes()},
            "/v1/model": {"get": _model()},
            "/v1/monitoring": {"get": _monitoring()},
            "/health/live": {"get": _health("live", "Whether the process answers", ())},
            "/health/ready": {"get": _health("ready", "Whether the pinned model is loaded", (NOT_READY,))},
            "/metrics": {"get": _metrics()},
            "/schema": {"get": _page("schema", "This document, or a page that shows it to browsers", both)},
            "/schema/openapi.json": {"get": _page("openapi", "This document", {"application/json": DOCUMENT})},
            "/": {"get": _page("console", "The console", {"text/html": {"schema": {"type": "string"}}})},
        },
        "components": {
            "schemas": SCHEMAS,
            "headers": header_components(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _predictions() -> Json:
    body = {
        "schema": REFERENCE[PredictionRequest],
        "examples": {
            "batches": {"summary": "a clean batch, and one with a mistyped range", "value": examples.INPUTS},
            "empty": {"summary": "every reading may be absent", "value": {"inputs": [{"id": "unknown"}]}},
        },
    }
    content = {
        "schema": {"anyOf": [REFERENCE[ExplainedPredictions], REFERENCE[Predictions]]},
        "examples": {
            "predicted": {"summary": "of the two batches", "value": examples.PREDICTED},
            "explained": {"summary": f"with `{PARAMETER}=true`", "value": examples.EXPLAINED},
        },
    }
    about = f"the predictions; with `{PARAMETER}=true`, each with its explanation"
    answer = good(about, {"application/json": content}, *PACKED)
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
        "responses": responses(answer, *OF_BODIES, NOT_READY, NOT_JOURNALLED),
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
    content = json_of(Predictions)
    content["application/json"]["example"] = examples.PREDICTED
    content["text/csv"] = {"schema": {"type": "string"}, "example": examples.SCORED}
    told = ("X-Model-Version", "X-Model-Revision", "X-Model-Md5", "X-Cell-Warnings")
    answer = good("the predictions, as `text/csv` unless JSON is preferred", content, *told, *PACKED)
    return {
        "operationId": "predictSheet",
        "tags": ["Predictions"],
        "summary": "Predict the plant's CSV",
        "description": "The file as the plant writes it, GB18030 or UTF-8, with or without the yield column; as the "
        "body itself or as the one file of a form. Answers `id,yield,lower,upper`, a line for each batch in the "
        "file's order; with `Accept: application/json`, what `/v1/predictions` answers, warnings included.",
        "requestBody": {"required": True, "content": {"text/csv": sheet, "multipart/form-data": form}},
        "responses": responses(answer, *OF_BODIES, NOT_READY, NOT_JOURNALLED),
        "security": SECURITY,
    }


def _outcomes() -> Json:
    body = {
        "schema": REFERENCE[OutcomeRequest],
        "examples": {"outcomes": {"summary": "of a predicted batch, and of another", "value": examples.OUTCOMES}},
    }
    content = json_of(OutcomesKept)
    content["application/json"]["examples"] = {"kept": {"summary": "both new", "value": examples.OUTCOMES_KEPT}}
    answer = good("what became of each, in order", content)
    return {
        "operationId": "tellOutcomes",
        "tags": ["Outcomes"],
        "summary": "Tell measured yields",
        "description": "Joined to the journalled predictions by the batch's id. Telling the same again changes "
        "nothing; another yield corrects the earlier one. The outcome of a batch that was never predicted is kept for "
        "a prediction that comes later.",
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": responses(answer, *OF_BODIES, JOURNAL_OFF, NOT_JOURNALLED),
        "security": SECURITY,
    }


def _model() -> Json:
    return {
        "operationId": "model",
        "tags": ["Model"],
        "summary": "Describe the model",
        "description": "The model's card, and the pin of each file it consists of.",
        "responses": responses(good("the model", json_of(Model), *PACKED), *METERED, NOT_READY),
        "security": SECURITY,
    }


def _monitoring() -> Json:
    content = json_of(Monitoring)
    content["application/json"]["examples"] = {
        "watched": {
            "summary": "two workers, a model in the shadow, and a reading that has drifted",
            "value": examples.MONITORED,
        }
    }
    return {
        "operationId": "monitoring",
        "tags": ["Model"],
        "summary": "Tell what is watched",
        "description": "Which model each worker has and which it refused, how the answers of the model in the shadow "
        "differ from those given, and what the journal tells of drift and of the live error.",
        "responses": responses(
            good("what is watched, of all workers together", content), *METERED, NOT_READY, JOURNAL_AWAY
        ),
        "security": SECURITY,
    }


def _health(name: str, summary: str, kinds: tuple[Kind, ...]) -> Json:
    return {
        "operationId": name,
        "tags": ["Operation"],
        "summary": summary,
        "responses": responses(good("yes", json_of(Health)), *kinds, guarded=False),
    }


def _metrics() -> Json:
    answer = good("Prometheus text, of all workers together", {"text/plain": {"schema": {"type": "string"}}}, *PACKED)
    return {
        "operationId": "metrics",
        "tags": ["Operation"],
        "summary": "Metrics for Prometheus",
        "responses": responses(answer),
        "security": SECURITY,
    }


SECURITY: list[Json] = [{"bearer": []}, {"key": []}, {}]


def _page(name: str, summary: str, content: Json) -> Json:
    answered = responses(good("the page", content, "ETag", *PACKED), guarded=False)
    same = {"description": "it is the one that `If-None-Match` names", "headers": good("", {}, "ETag")["headers"]}
    return {"operationId": name, "tags": ["Pages"], "summary": summary, "responses": answered | {"304": same}}
