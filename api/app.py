"""The application, put together."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from litestar import Litestar
from litestar.types import ASGIApp

from api.auth import read_keys
from api.envelope import Envelope
from api.monitoring import monitoring_routes
from api.pages import page_routes
from api.predictions import prediction_routes
from api.refusals import EXCEPTION_HANDLERS
from api.routes import plain_routes
from api.service import Service, Serving
from api.settings import Settings, read_settings
from api.swap import Swap, open_wanted
from batchyield.errors import BatchyieldError


def create_app(settings: Settings, serving: Serving | None = None) -> ASGIApp:
    """The service as an ASGI application.

    Args:
        settings: limits, and where the model is.
        serving: an opened model; None: opened at start-up, until which the service is alive but not ready.

    Raises:
        SetupError: the keys cannot be read.
    """
    service = Service(settings, serving)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if not service.ready:
            service.serve(open_wanted(settings))
        swap = Swap(service)
        try:
            yield
        finally:
            swap.close()
            service.bulk.shutdown(wait=False, cancel_futures=True)

    app = Litestar(
        [*prediction_routes(service), *plain_routes(service), *monitoring_routes(service), *page_routes()],
        lifespan=[lifespan],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,  # api.openapi describes the plain ASGI routes too, which the framework cannot see
        logging_config=None,
    )
    return Envelope(app, settings, read_keys(settings), service.metrics)


def from_environment() -> ASGIApp:
    """The service as the environment describes it, for a server that starts its own workers."""
    try:
        settings = read_settings()
        return create_app(settings, open_wanted(settings))
    except BatchyieldError as error:
        print(f"batchyield: {error}", file=sys.stderr)
        sys.exit(uvicorn.config.STARTUP_FAILURE)  # which the server's supervisor takes as a reason not to try again
