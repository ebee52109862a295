"""Build the ASGI application."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import uvicorn
from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp, Receive, Send

from api.http.shutdown import Drain
from api.inference.hot_swap import ModelHotSwapper, open_desired
from api.inference.served_model import ServedModel
from api.inference.service import Service
from api.middleware.authorization import AccessControl, Keyring
from api.middleware.rate_limit import RATE_FILE, RateLimiter
from api.middleware.request_context import RequestContextMiddleware
from api.monitoring.drift_gauges import DriftGauges
from api.monitoring.drift_watcher import DriftWatcher
from api.monitoring.routes import monitoring_routes
from api.openapi.document import build_document
from api.pages import Page, page_routes
from api.routes.admin import admin_routes
from api.routes.evaluation import evaluation_routes
from api.routes.operations import operation_routes
from api.routes.outcomes import outcome_routes, withdrawal_route
from api.routes.predictions import prediction_routes
from api.routes.records import reading_routes
from api.routes.session import session_routes
from api.routes.workbooks import workbook_routes
from api.settings import Settings, read_settings
from api.telemetry.access_log import ServiceLog, open_log
from api.telemetry.metrics import MULTIPROC_DIR, JournalDisk
from batchyield.errors import BatchyieldError


def create_app(settings: Settings, model: ServedModel | None = None, log: ServiceLog | None = None) -> ASGIApp:
    """Return the service as an ASGI application.

    Without `model`, it is opened at start-up, until which the service is alive but not ready.

    Raises:
        ConfigError: the API keys cannot be read.
    """
    service = Service(settings, model)
    metrics, keyring, watcher = service.metrics, Keyring(settings), DriftWatcher(service, settings)
    metrics.register(DriftGauges(watcher.last, watcher.enabled))
    if service.journal.enabled and (file := service.journal.database.file) is not None:
        metrics.register(JournalDisk(file))
    drain = Drain(settings.drain_seconds, lambda: metrics.models.ready.set(0))
    if log is not None:
        log.count_dropped(metrics.lines_dropped.inc)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if not service.ready:
            service.set_model(open_desired(settings))
        swapper = ModelHotSwapper(service)
        key_refresh = asyncio.create_task(keyring.watch(metrics.key_reads))
        service.journal.start()
        watcher.start()
        service.bias.start()
        try:
            with drain.on_signals():
                yield
        finally:  # without await: a server that stops at once cancels whatever the loop waits for
            swapper.close()
            key_refresh.cancel()
            service.bulk.shutdown(wait=False, cancel_futures=True)
            watcher.close()
            service.bias.close()
            service.journal.close()

    def reraise(_: Any, error: Exception) -> NoReturn:
        raise error  # leaves the response to the outermost middleware

    raw = prediction_routes(service)
    typed = [
        *operation_routes(service, drain),
        *evaluation_routes(service),
        withdrawal_route(service),
        *monitoring_routes(service, watcher),
        *reading_routes(service),
    ]
    typed += [*admin_routes(service), *session_routes(keyring), *page_routes()]
    app = Litestar(
        [*raw, *outcome_routes(service), *workbook_routes(service), *typed],
        state=State({"document": cache(lambda server: Page(build_document(typed, server), "application/json"))}),
        lifespan=[lifespan],
        exception_handlers={Exception: reraise},
        openapi_config=None,  # build_document describes the raw ASGI routes too
        logging_config=None,
    )
    directory = os.environ.get(MULTIPROC_DIR)
    rate_file = Path(directory) / RATE_FILE if directory else None
    limiter = RateLimiter(settings.rate_limit, settings.rate_limit_rows, settings.rate_burst_seconds, rate_file)
    access = AccessControl(keyring, limiter, settings.max_in_flight)
    bypass = RouterBypass(app, {path: route.fn for route in raw for path in route.paths})
    return RequestContextMiddleware(bypass, settings, access, metrics, drain, log)


class RouterBypass:
    """ASGI application that calls the handlers of exact paths directly, and Litestar's router for all other paths.

    For a single batch the router costs more than decoding the body and encoding the response.
    """

    def __init__(self, app: ASGIApp, handlers: Mapping[str, ASGIApp]) -> None:
        self._app, self._handlers = app, handlers

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None:
            await self._app(scope, receive, send)
        else:
            scope["path_template"] = scope["path"]
            await handler(scope, receive, send)


def from_environment() -> ASGIApp:
    """Return the application with the settings of the environment, in a worker that uvicorn's supervisor started."""
    try:
        settings = read_settings()
        app = create_app(settings, open_desired(settings), open_log(settings))
    except BatchyieldError as error:
        print(f"batchyield: {error}", file=sys.stderr)
        sys.exit(uvicorn.config.STARTUP_FAILURE)  # the supervisor does not restart a worker that exits with it
    freeze_garbage_collector()
    return app


def freeze_garbage_collector() -> None:
    """Exclude the existing objects from garbage collection, and collect new ones less often.

    Otherwise each full collection stops all threads while it visits some hundred thousand objects that stay.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
