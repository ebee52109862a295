"""`GET /v1/monitoring`: what is seen of the model that answers."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from api.problems import JOURNAL_AWAY, RequestError
from api.service import Service
from api.watch import UNREADABLE, Watch
from api.workers_report import ShadowReport, WorkerModel, shadow_of, workers_of
from batchyield.chart import Chart
from batchyield.frequency import Frequency
from batchyield.live import Live
from batchyield.replies import ModelPin
from batchyield.window import Shift

OFF = "the service keeps no journal, so drift and error cannot be told; its operator sets BATCHYIELD_JOURNAL"


class Monitoring(msgspec.Struct, frozen=True):
    """What is watched, of all workers together: their models, and the newest answers beside training and outcomes."""

    model: Annotated[ModelPin, Meta(description="the model that answers, and whose answers these are")]
    workers: Annotated[tuple[WorkerModel, ...], Meta(description="by process id")]
    shadow: Annotated[ShadowReport | None, Meta(description="null where no model runs in the shadow")]
    at: Annotated[str | None, Meta(description="when the journal was looked at; null where there is none")]
    off: Annotated[str | None, Meta(description="why nothing is told; null where it is")]
    window: Annotated[Shift | None, Meta(description="the newest batches, each once, against the training")]
    chart: Annotated[Chart | None, Meta(description="control chart of their predicted yields")]
    live: Annotated[Live | None, Meta(description="the newest batches with a measured yield: error, bias, coverage")]
    frequency: Annotated[Frequency | None, Meta(description="how often batches come; null where none has come")]


def monitoring_routes(service: Service, watch: Watch) -> list[HTTPRouteHandler]:
    """`GET /v1/monitoring`."""

    @get("/v1/monitoring", sync_to_thread=True)
    def monitoring() -> Monitoring:
        standing = service.serving.pin, workers_of(service), shadow_of(service)
        if not service.journal.kept:
            return Monitoring(*standing, None, OFF, None, None, None, None)
        try:
            look = watch.fresh()
        except UNREADABLE:
            detail = "the journal cannot be read; ask again later"
            raise RequestError(JOURNAL_AWAY, detail, headers={"retry-after": "5"}) from None
        at = datetime.fromtimestamp(look.at, UTC).isoformat(timespec="seconds")
        found = look.findings
        return Monitoring(*standing, at, None, found.window, found.chart, found.live, found.frequency)

    return [monitoring]
