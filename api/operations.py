"""The operations of the OpenAPI document: what each route takes, and all that it may answer."""

from api import examples
from api.explanations import MOST_EXPLAINED, PARAMETER, ExplainedPredictions
from api.monitoring import Monitoring
from api.outcomes import OutcomeRequest, OutcomesKept
from api.payload import PredictionRequest
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
from api.schemas import REFERENCE, SECURITY, Json, json_answer, responses
from api.service import Health, Model, Predictions

OF_BODIES = (MALFORMED, TOO_SLOW, TOO_LARGE, UNSUPPORTED, INVALID, RATE_LIMITED, BUSY)


def predictions() -> Json:
    """`POST /v1/predictions`."""
    body = {
        "schema": REFERENCE[PredictionRequest],
        "examples": {
            "batches": {"summary": "a clean batch, and one with a mistyped range", "value": examples.INPUTS},
            "empty": {"summary": "every reading may be absent", "value": {"inputs": [{"id": "unknown"}]}},
        },
    }
    answer = json_answer(Predictions, f"the predictions; with `{PARAMETER}=true`, each with its explanation")
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
        "responses": responses(answer, *OF_BODIES, NOT_READY, NOT_JOURNALLED),
        "security": SECURITY,
    }


def predictions_csv() -> Json:
    """`POST /v1/predictions/csv`."""
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
    answer = json_answer(Predictions, "the predictions, as `text/csv` unless JSON is preferred")
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
        "responses": responses(answer, *OF_BODIES, NOT_READY, NOT_JOURNALLED),
        "security": SECURITY,
    }


def outcomes() -> Json:
    """`POST /v1/outcomes`."""
    body = {
        "schema": REFERENCE[OutcomeRequest],
        "examples": {"outcomes": {"summary": "of a predicted batch, and of another", "value": examples.OUTCOMES}},
    }
    answer = json_answer(OutcomesKept, "what became of each, in order")
    answer["content"]["application/json"]["examples"] = {
        "kept": {"summary": "both new", "value": examples.OUTCOMES_KEPT}
    }
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


def model() -> Json:
    """`GET /v1/model`."""
    return {
        "operationId": "model",
        "tags": ["Model"],
        "summary": "Describe the model",
        "description": "The model's card, and the pin of each file it consists of.",
        "responses": responses(json_answer(Model, "the model"), NOT_READY),
        "security": SECURITY,
    }


def monitoring() -> Json:
    """`GET /v1/monitoring`."""
    answer = json_answer(Monitoring, "the newest batches against the training and against measured yields")
    answer["content"]["application/json"]["examples"] = {
        "drifted": {"summary": "a reading has moved; most of the 42 left out here", "value": examples.MONITORING}
    }
    return {
        "operationId": "monitoring",
        "tags": ["Model"],
        "summary": "Say whether inputs, predictions or errors have moved",
        "description": "Of the journal's newest batches that this model answered, each once: every reading and the "
        "predicted yields against the training, a control chart, how often batches come, and the live error where "
        "measured yields were told. Without a journal, `off` says so.",
        "responses": responses(answer, RATE_LIMITED, BUSY, NOT_READY, JOURNAL_AWAY),
        "security": SECURITY,
    }


def health(name: str, summary: str, kinds: tuple[Kind, ...]) -> Json:
    """`GET /health/` and `name`."""
    return {
        "operationId": name,
        "tags": ["Operation"],
        "summary": summary,
        "responses": responses(json_answer(Health, "yes"), *kinds, guarded=False),
    }


def metrics() -> Json:
    """`GET /metrics`."""
    answer = json_answer(Health, "Prometheus text, of all workers together")
    answer["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": "metrics",
        "tags": ["Operation"],
        "summary": "Metrics for Prometheus",
        "responses": responses(answer),
        "security": SECURITY,
    }
