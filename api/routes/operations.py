"""Routes of the model, health and metrics, as typed handlers: they are called seldom."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.http.compression import compress_response
from api.http.shutdown import Drain
from api.inference.service import Service
from api.openapi.responses import COMPRESSION_HEADERS, describe_route
from api.problems import BUSY, NOT_READY, RATE_LIMITED
from api.telemetry.metrics import MEDIA_TYPE
from batchyield.serving.responses import Health, Model

AnyRequest = Request[Any, Any, Any]


def operation_routes(service: Service, drain: Drain) -> list[HTTPRouteHandler]:
    """Return the routes of the model, of health and of metrics."""

    @get(
        "/v1/model",
        sync_to_thread=False,
        **describe_route(
            *("model", "Model", "Describe the model", RATE_LIMITED, BUSY, NOT_READY),
            description="The model's card, and the hash of each of its files.",
            about="the model",
            headers=COMPRESSION_HEADERS,
        ),
    )
    def model(request: AnyRequest) -> Response[Model]:
        return _compressed(request, msgspec.json.encode(service.describe_model()), MediaType.JSON)

    @get(
        "/health/live",
        sync_to_thread=False,
        **describe_route("live", "Operation", "Whether the process responds", about="it does", guarded=False),
    )
    def live() -> Health:
        return Health("alive")

    @get(
        "/health/ready",
        sync_to_thread=False,
        **describe_route("ready", "Operation", "Whether the model is loaded", NOT_READY, about="it is", guarded=False),
    )
    def ready() -> Health:
        drain.check()
        return Health("ready", service.model.pin.md5)

    @get(
        "/metrics",
        media_type=MediaType.TEXT,
        sync_to_thread=True,
        **describe_route(
            *("metrics", "Operation", "Metrics for Prometheus"),
            about="Prometheus text, of all workers together",
            headers=COMPRESSION_HEADERS,
        ),
    )
    def metrics(request: AnyRequest) -> Response[str]:
        return _compressed(request, service.metrics.exposition(), MEDIA_TYPE)

    return [model, live, ready, metrics]


def _compressed(request: AnyRequest, content: bytes, media_type: str) -> Response[Any]:
    content, headers = compress_response(content, request.scope["headers"])
    return Response(content, media_type=media_type, headers={name.decode(): value.decode() for name, value in headers})
