"""The routes that are asked seldom, as typed handlers."""

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

from api.metrics import MEDIA_TYPE
from api.service import Service
from batchyield.replies import Health, Model


def plain_routes(service: Service) -> list[HTTPRouteHandler]:
    """Model, health and metrics."""

    @get("/v1/model", sync_to_thread=False)
    def model() -> Model:
        return service.model()

    @get("/health/live", sync_to_thread=False)
    def live() -> Health:
        return Health("alive")

    @get("/health/ready", sync_to_thread=False)
    def ready() -> Health:
        return Health("ready", service.serving.pin.md5)

    @get("/metrics", media_type=MediaType.TEXT, sync_to_thread=True)
    def metrics() -> Response[bytes]:
        return Response(service.metrics.exposition(), media_type=MEDIA_TYPE)

    return [model, live, ready, metrics]
