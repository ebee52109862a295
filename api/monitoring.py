"""`GET /v1/monitoring`: what is seen of the model that answers."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from api.problems import JOURNAL_AWAY, RequestError
from api.service import ModelPin, Service
from api.watch import UNREADABLE, Watch
from batchyield.chart import Chart
from batchyield.frequency import Frequency
from batchyield.live import Live
from batchyield.window import Shift

OFF = "the service keeps no journal, so drift and error cannot be told; its operator sets BATCHYIELD_JOURNAL"


class Monitoring(msgspec.Struct, frozen=True):
    """The newest answers of the model beside its training, and beside measured yields."""

    model: Annotated[ModelPin, Meta(description="the model that answers, and whose answers these are")]
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
        pin = service.serving.pin
        if not service.journal.kept:
            return Monitoring(pin, None, OFF, None, None, None, None)
        try:
            look = watch.fresh()
        except UNREADABLE:
            detail = "the journal cannot be read; ask again later"
            raise RequestError(JOURNAL_AWAY, detail, headers={"retry-after": "5"}) from None
        at = datetime.fromtimestamp(look.at, UTC).isoformat(timespec="seconds")
        found = look.findings
        return Monitoring(pin, at, None, found.window, found.chart, found.live, found.frequency)

    return [monitoring]
