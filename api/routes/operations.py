"""Routes of the model, health and metrics, as typed handlers: they are called seldom."""

from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from api.http.compression import compress_response
from api.http.shutdown import Drain
from api.inference.hot_swap import SERVING, SHADOW
from api.inference.served_model import pin_of
from api.inference.service import Service
from api.openapi.responses import COMPRESSION_HEADERS, describe_route
from api.problems import BUSY, CONFLICT, NOT_READY, RATE_LIMITED, RequestError
from api.telemetry.metrics import MEDIA_TYPE
from batchyield.errors import BatchyieldError
from batchyield.serving.artifact import CARD
from batchyield.serving.deployment.model_store import Deployment, ModelStore
from batchyield.serving.prediction import Card
from batchyield.serving.responses import Health, Model, ModelPin

AnyRequest = Request[Any, Any, Any]

BEFORE = "before"


class KnownModel(msgspec.Struct, frozen=True):
    """A model that this service has or had in service, and what its card says."""

    role: Annotated[str, Meta(description=f"`{SERVING}`, `{SHADOW}`, or `{BEFORE}`: it served before")]
    model: ModelPin
    rows: Annotated[int | None, Meta(description="batches it was trained on; null if its card cannot be read")]
    metrics: Annotated[dict[str, float], Meta(description="measured on held-out batches")]


class KnownModels(msgspec.Struct, frozen=True):
    """The model in service, the one in the shadow, and those that served before, the latest first."""

    models: list[KnownModel]


def operation_routes(service: Service, drain: Drain) -> list[HTTPRouteHandler]:
    """Return the routes of the models, of health and of metrics."""
    store = ModelStore(service.settings.models_directory)

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
        "/v1/models",
        sync_to_thread=True,
        **describe_route(
            *("models", "Model", "List the models with their metrics", RATE_LIMITED, BUSY, NOT_READY, CONFLICT),
            description="The models that this service knows: those that are or were deployed here. "
            "`batchyield release list` in a checkout lists all that were released.",
            about="the models",
        ),
    )
    def models() -> KnownModels:
        serving, shadow = service.model.deployment, service.shadow.candidate
        roles = [(SERVING, serving), *([(SHADOW, shadow.deployment)] if shadow else [])]
        try:
            roles += [(BEFORE, deployment) for deployment in reversed(store.history())]
        except BatchyieldError as error:
            raise RequestError(CONFLICT, str(error)) from None
        return KnownModels([_describe(role, deployment, store) for role, deployment in roles])

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

    return [model, models, live, ready, metrics]


def _describe(role: str, deployment: Deployment, store: ModelStore) -> KnownModel:
    try:
        card = msgspec.json.decode((store.path(deployment) / CARD).read_bytes(), type=Card)
    except (OSError, msgspec.MsgspecError):
        return KnownModel(role, pin_of(deployment), None, {})
    return KnownModel(role, pin_of(deployment), card.rows, card.metrics)


def _compressed(request: AnyRequest, content: bytes, media_type: str) -> Response[Any]:
    content, headers = compress_response(content, request.scope["headers"])
    return Response(content, media_type=media_type, headers={name.decode(): value.decode() for name, value in headers})
