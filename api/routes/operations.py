"""The routes that are asked seldom, as typed handlers."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.http.compression import packed
from api.http.shutdown import Drain
from api.inference.service import Service
from api.openapi.responses import COMPRESSION_HEADERS, described
from api.problems import BUSY, NOT_READY, RATE_LIMITED
from api.telemetry.metrics import MEDIA_TYPE
from batchyield.serving.responses import Health, Model

AnyRequest = Request[Any, Any, Any]


def operation_routes(service: Service, drain: Drain) -> list[HTTPRouteHandler]:
    """Return the routes of the model, of health and of metrics."""

    @get(
        "/v1/model",
        sync_to_thread=False,
        **described(
            *("model", "Model", "Describe the model", RATE_LIMITED, BUSY, NOT_READY),
            description="The model's card, and the pin of each file it consists of.",
            about="the model",
            headers=COMPRESSION_HEADERS,
        ),
    )
    def model(request: AnyRequest) -> Response[Model]:
        return _packed(request, msgspec.json.encode(service.model()), MediaType.JSON)

    @get(
        "/health/live",
        sync_to_thread=False,
        **described("live", "Operation", "Whether the process answers", about="yes", guarded=False),
    )
    def live() -> Health:
        return Health("alive")

    @get(
        "/health/ready",
        sync_to_thread=False,
        **described("ready", "Operation", "Whether the pinned model is loaded", NOT_READY, about="yes", guarded=False),
    )
    def ready() -> Health:
        drain.check()
        return Health("ready", service.serving.pin.md5)

    @get(
        "/metrics",
        media_type=MediaType.TEXT,
        sync_to_thread=True,
        **described(
            *("metrics", "Operation", "Metrics for Prometheus"),
            about="Prometheus text, of all workers together",
            headers=COMPRESSION_HEADERS,
        ),
    )
    def metrics(request: AnyRequest) -> Response[str]:
        return _packed(request, service.metrics.exposition(), MEDIA_TYPE)

    return [model, live, ready, metrics]


def _packed(request: AnyRequest, content: bytes, media_type: str) -> Response[Any]:
    content, headers = packed(content, request.scope["headers"])
    told = {name.decode(): value.decode() for name, value in headers}
    return Response(content, media_type=media_type, headers=told)
