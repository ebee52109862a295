"""The routes that are asked seldom, as typed handlers."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.coding import packed
from api.drain import Drain
from api.metrics import MEDIA_TYPE
from api.service import Service
from batchyield.replies import Health

AnyRequest = Request[Any, Any, Any]


def plain_routes(service: Service, drain: Drain) -> list[HTTPRouteHandler]:
    """Model, health and metrics."""

    @get("/v1/model", sync_to_thread=False)
    def model(request: AnyRequest) -> Response[bytes]:
        return _packed(request, msgspec.json.encode(service.model()), MediaType.JSON)

    @get("/health/live", sync_to_thread=False)
    def live() -> Health:
        return Health("alive")

    @get("/health/ready", sync_to_thread=False)
    def ready() -> Health:
        drain.check()
        return Health("ready", service.serving.pin.md5)

    @get("/metrics", media_type=MediaType.TEXT, sync_to_thread=True)
    def metrics(request: AnyRequest) -> Response[bytes]:
        return _packed(request, service.metrics.exposition(), MEDIA_TYPE)

    return [model, live, ready, metrics]


def _packed(request: AnyRequest, content: bytes, media_type: str) -> Response[bytes]:
    content, headers = packed(content, request.scope["headers"])
    told = {name.decode(): value.decode() for name, value in headers}
    return Response(content, media_type=media_type, headers=told)
