"""The application, put together."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import uvicorn
from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.types import ASGIApp, Receive, Scope, Send

from api.http.error_handlers import EXCEPTION_HANDLERS
from api.http.shutdown import Drain
from api.inference.hot_swap import ModelHotSwapper, open_desired
from api.inference.served_model import ServedModel
from api.inference.service import Service
from api.middleware.auth import Keyring
from api.middleware.authorization import AccessControl
from api.middleware.rate_limit import RateLimiter
from api.middleware.request_context import RequestContextMiddleware
from api.monitoring.drift_gauges import DriftGauges
from api.monitoring.drift_watcher import DriftWatcher
from api.monitoring.routes import monitoring_routes
from api.openapi.document import document
from api.pages import Page, page_routes
from api.routes.operations import operation_routes
from api.routes.outcomes import outcome_routes
from api.routes.predictions import prediction_routes
from api.settings import Settings, read_settings
from api.telemetry.access_log import Log, open_log
from api.telemetry.metrics import MULTIPROC_DIR
from batchyield.errors import BatchyieldError


def create_app(settings: Settings, serving: ServedModel | None = None, log: Log | None = None) -> ASGIApp:
    """The service as an ASGI application.

    Args:
        settings: limits, and where the model is.
        serving: an opened model; None: opened at start-up, until which the service is alive but not ready.
        log: where requests are told; None: nowhere.

    Raises:
        SetupError: the keys cannot be read.
    """
    service = Service(settings, serving)
    metrics, keyring, watch = service.metrics, Keyring(settings), DriftWatcher(service, settings)
    metrics.show(DriftGauges(watch.found, watch.enabled))
    drain = Drain(settings.drain_seconds, metrics.leaves)
    if log is not None:
        log.count_dropped(metrics.line_dropped)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if not service.ready:
            service.serve(open_desired(settings))
        swap = ModelHotSwapper(service)
        watching = asyncio.create_task(keyring.watch(metrics.keys_read))
        service.journal.start()
        watch.start()
        try:
            with drain.on_signals():
                yield
        finally:
            swap.close()
            watching.cancel()
            service.bulk.shutdown(wait=False, cancel_futures=True)
            watch.close()  # nothing is waited for on the loop: a server that stops at once cancels whatever does
            service.journal.close()

    hot = prediction_routes(service)
    typed = [*operation_routes(service, drain), *monitoring_routes(service, watch), *page_routes()]
    app = Litestar(
        [*hot, *outcome_routes(service), *typed],
        state=State({"document": cache(lambda: Page(document(typed), "application/json"))}),
        lifespan=[lifespan],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,  # the document is generated apart: it describes the raw ASGI routes too
        logging_config=None,
    )
    admission = AccessControl(keyring, _rates(settings), settings.max_in_flight)
    straight = {path: route.fn for route in hot for path in route.paths}
    return RequestContextMiddleware(RouterBypass(app, straight), settings, admission, metrics, drain, log)


class RouterBypass:
    """ASGI application that calls the handlers of exact paths directly and Litestar's router for all others.

    For a single batch the router costs more than to decode the body and encode the answer.
    """

    def __init__(self, app: ASGIApp, handlers: Mapping[str, ASGIApp]) -> None:
        self._app, self._handlers = app, handlers

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        scope["path_template"] = scope["path"]
        try:
            await handler(scope, receive, send)
        except Exception as error:
            await _refuse(error, scope, receive, send)


async def _refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    kind = next(kind for kind in type(error).__mro__ if kind in EXCEPTION_HANDLERS)
    request: Request[Any, Any, Any] = Request(scope)
    response = EXCEPTION_HANDLERS[kind](request, error).to_asgi_response(app=None, request=request)
    await response(scope, receive, send)


def from_environment() -> ASGIApp:
    """The service as the environment describes it, for a server that starts its own workers."""
    try:
        settings = read_settings()
        app = create_app(settings, open_desired(settings), open_log(settings))
    except BatchyieldError as error:
        print(f"batchyield: {error}", file=sys.stderr)
        sys.exit(uvicorn.config.STARTUP_FAILURE)  # which the server's supervisor takes as a reason not to try again
    freeze_garbage_collector()
    return app


def freeze_garbage_collector() -> None:
    """Exclude the objects made so far from garbage collection, and look at new ones less often.

    Else each full collection stops all threads while it goes over some hundred thousand objects that stay.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _rates(settings: Settings) -> RateLimiter:
    folder = os.environ.get(MULTIPROC_DIR)
    shared = Path(folder) / "rates" if folder else None
    return RateLimiter(settings.rate_limit, settings.rate_limit_rows, settings.rate_burst_seconds, shared)
