"""The OpenAPI 3.1 document: the one place that lists the routes."""

from api import operations
from api.payload import MOST_BATCHES
from api.problems import NOT_READY
from api.schemas import SCHEMAS, Json

API_VERSION = "1.0.0"

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
            {"name": "Outcomes", "description": "Measured yields in, joined to what was predicted."},
            {"name": "Model", "description": "What answers, down to its bytes."},
            {"name": "Operation", "description": "For orchestrators and Prometheus."},
        ],
        "paths": {
            "/v1/predictions": {"post": operations.predictions()},
            "/v1/predictions/csv": {"post": operations.predictions_csv()},
            "/v1/outcomes": {"post": operations.outcomes()},
            "/v1/model": {"get": operations.model()},
            "/v1/monitoring": {"get": operations.monitoring()},
            "/health/live": {"get": operations.health("live", "Whether the process answers", ())},
            "/health/ready": {"get": operations.health("ready", "Whether the pinned model is loaded", (NOT_READY,))},
            "/metrics": {"get": operations.metrics()},
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
