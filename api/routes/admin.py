"""`/v1/admin`: which models served before, and the return to the previous one."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from api.inference.served_model import pin_of
from api.inference.service import Service
from api.openapi.responses import describe_route
from api.problems import BUSY, CONFLICT, RATE_LIMITED, RequestError
from batchyield.errors import BatchyieldError
from batchyield.serving.deployment import rollout
from batchyield.serving.deployment.model_store import ModelStore
from batchyield.serving.responses import ModelPin

ROLLBACK_SECONDS = 30.0
"""Time for all workers to open the model; after it, the change is taken back."""

AnyRequest = Request[Any, Any, Any]


class ServedBefore(msgspec.Struct, frozen=True):
    """Models that served before the one in service."""

    models: Annotated[tuple[ModelPin, ...], Meta(description="the previous one first")]


class RolledBack(msgspec.Struct, frozen=True):
    """The model that serves after a rollback."""

    model: ModelPin
    workers: Annotated[int, Meta(description="workers that serve it")]


def admin_routes(service: Service) -> list[HTTPRouteHandler]:
    """Return the routes that need a key with the scope `admin`."""
    models = ModelStore(service.settings.models_directory)

    @get(
        "/v1/admin/models",
        sync_to_thread=True,
        **describe_route(
            *("servedBefore", "Model", "List the models that served before", RATE_LIMITED, BUSY, CONFLICT),
            description="The deployments that `POST /v1/admin/rollback` returns to.",
            about="the models",
        ),
    )
    def served_before() -> ServedBefore:
        try:
            return ServedBefore(tuple(pin_of(deployment) for deployment in reversed(models.history())))
        except BatchyieldError as error:
            raise RequestError(CONFLICT, str(error)) from None

    @post(
        "/v1/admin/rollback",
        status_code=200,
        sync_to_thread=True,
        **describe_route(
            *("rollBack", "Model", "Return to the previous model", RATE_LIMITED, BUSY, CONFLICT),
            description="Has every worker serve the model that served before, as `batchyield deploy rollback` does, "
            "and waits for it. If a worker refuses the model, nothing changes.",
            about="the model that serves now",
        ),
    )
    def roll_back(request: AnyRequest) -> RolledBack:
        caller = request.scope["state"].get("caller", "")
        try:
            with rollout.deployment_lock(models):
                result = rollout.rollback(models, ROLLBACK_SECONDS, key=caller)
        except BatchyieldError as error:
            raise RequestError(CONFLICT, str(error)) from None
        if result.problem or result.desired.serving is None:
            raise RequestError(CONFLICT, f"the previous model was refused: {result.problem}")
        return RolledBack(pin_of(result.desired.serving), len(result.workers))

    return [served_before, roll_back]
