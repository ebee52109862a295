"""The application, put together."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from litestar import Litestar
from litestar.types import ASGIApp

from api.auth import read_keys
from api.envelope import Envelope
from api.pages import page_routes
from api.predictions import prediction_routes
from api.refusals import EXCEPTION_HANDLERS
from api.routes import plain_routes
from api.service import Service, open_pinned
from api.settings import Settings, read_settings
from api.shortcut import Shortcut
from batchyield.artifact import Artifact
from batchyield.errors import BatchyieldError


def create_app(settings: Settings, artifact: Artifact | None = None) -> ASGIApp:
    """The service as an ASGI application.

    Args:
        settings: limits, and where the model is.
        artifact: an opened model; None: opened at start-up, until which the service is alive but not ready.

    Raises:
        SetupError: the keys cannot be read.
    """
    service = Service(settings, artifact)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if not service.ready:
            service.serve(open_pinned(settings))
        try:
            yield
        finally:
            service.bulk.shutdown(wait=False, cancel_futures=True)

    hot = prediction_routes(service)
    app = Litestar(
        [*hot, *plain_routes(service), *page_routes()],
        lifespan=[lifespan],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,  # api.openapi describes the plain ASGI routes too, which the framework cannot see
        logging_config=None,
    )
    straight = {path: route.fn for route in hot for path in route.paths}
    return Envelope(Shortcut(app, straight), settings, read_keys(settings), service.metrics)


def from_environment() -> ASGIApp:
    """The service as the environment describes it, for a server that starts its own workers."""
    try:
        settings = read_settings()
        return create_app(settings, open_pinned(settings))
    except BatchyieldError as error:
        print(f"batchyield: {error}", file=sys.stderr)
        sys.exit(uvicorn.config.STARTUP_FAILURE)  # which the server's supervisor takes as a reason not to try again
