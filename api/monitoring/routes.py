"""`GET /v1/monitoring`: workers, shadow, drift and live error of the model in service."""

import os
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, get_args

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from msgspec import Meta

from api.inference.served_model import pin_of
from api.inference.service import Service
from api.monitoring.drift_watcher import READ_ERRORS, DriftWatcher
from api.openapi.responses import describe_route
from api.problems import (
    BUSY,
    INVALID,
    JOURNAL_AWAY,
    JOURNAL_OFF,
    NOT_READY,
    RATE_LIMITED,
    REPORT_OFF,
    RequestError,
)
from api.routes.raw_asgi import parameter_error
from api.routes.records import SinceTime, UntilTime, parse_time, read_journal
from batchyield.journal.database import Database
from batchyield.monitoring.arrival_rate import ArrivalRate
from batchyield.monitoring.bias_findings import BiasFindings
from batchyield.monitoring.control_chart import ControlChart
from batchyield.monitoring.drift_window import WindowDrift
from batchyield.monitoring.live_error import LiveError
from batchyield.monitoring.report.words import Language
from batchyield.serving.artifact import Artifact
from batchyield.serving.deployment.prediction_diff import HISTOGRAM_EDGES, RunningDiff
from batchyield.serving.responses import ModelPin, Refusal

OFF = "the service keeps no journal, so drift and live error are unknown; its operator sets BATCHYIELD_JOURNAL"

REPORT_KINDS = (INVALID, RATE_LIMITED, BUSY, NOT_READY, JOURNAL_OFF, JOURNAL_AWAY, REPORT_OFF)
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"

AnyRequest = Request[Any, Any, Any]
ReportLanguage = Annotated[
    str,  # not `Language`, whose other values would be refused as a request that cannot be parsed
    QueryParameter(description="language of the page", required=False, schema_extra={"enum": list(get_args(Language))}),
]


class WorkerModel(msgspec.Struct, frozen=True):
    """The models of one worker."""

    pid: Annotated[int, Meta(description="process id")]
    model: Annotated[str, Meta(description="hash of the model in service")]
    shadow: Annotated[str | None, Meta(description="hash of the model in the shadow")]
    refused: Annotated[tuple[Refusal, ...], Meta(description="desired models that it does not use, and why")]


class Bin(msgspec.Struct, frozen=True):
    """A bin of the histogram of differences, from the end of the bin before to `at_most`."""

    at_most: Annotated[float | None, Meta(description="upper end of the bin; null for the last")]
    batches: Annotated[int, Meta(description="in this bin")]


class ShadowReport(msgspec.Struct, frozen=True):
    """How the predictions of the shadow differ from those of the model in service, over all batches of both."""

    model: Annotated[ModelPin, Meta(description="the model in the shadow")]
    batches: Annotated[int, Meta(description="that both predicted")]
    dropped: Annotated[int, Meta(description="that the shadow skipped because its queue was full")]
    failed: Annotated[int, Meta(description="that the shadow could not predict")]
    failure: Annotated[str, Meta(description="the last reason why it could not; else empty")]
    changed: Annotated[int, Meta(description="whose prediction differs by more than float noise")]
    mean: Annotated[float | None, Meta(description="mean of the shadow's prediction minus the one sent")]
    mean_absolute: Annotated[float | None, Meta(description="mean absolute difference")]
    largest: Annotated[float, Meta(description="the greatest difference, with its sign")]
    outside: Annotated[float | None, Meta(description="share of batches predicted outside the interval sent")]
    width: Annotated[float | None, Meta(description="mean width of its intervals minus that of those sent")]
    histogram: Annotated[tuple[Bin, ...], Meta(description="batches by their difference")]


class Monitoring(msgspec.Struct, frozen=True):
    """The models of all workers, and the newest predictions compared with training data and outcomes."""

    model: Annotated[ModelPin, Meta(description="the model in service, which made these predictions")]
    workers: Annotated[tuple[WorkerModel, ...], Meta(description="by process id")]
    shadow: Annotated[ShadowReport | None, Meta(description="null without a model in the shadow")]
    at: Annotated[str | None, Meta(description="when the journal was checked; null without a journal")]
    off: Annotated[str | None, Meta(description="why drift and live error are unknown; null if they are known")]
    window: Annotated[WindowDrift | None, Meta(description="the newest batches, each once, compared with training")]
    chart: Annotated[ControlChart | None, Meta(description="control chart of the predictions")]
    live: Annotated[LiveError | None, Meta(description="the newest batches with an outcome: error, bias, coverage")]
    frequency: Annotated[ArrivalRate | None, Meta(description="how often batches arrive; null if none has arrived")]
    bias: Annotated[
        BiasFindings | None, Meta(description="corrections of the newest predictions; null without measured batches")
    ] = None


def monitoring_routes(service: Service, watcher: DriftWatcher) -> list[HTTPRouteHandler]:
    """Return the routes `GET /v1/monitoring` and `GET /v1/monitoring/report`."""

    @get(
        "/v1/monitoring",
        sync_to_thread=True,
        **describe_route(
            *("monitoring", "Model", "Show drift, live error and workers", RATE_LIMITED, BUSY, NOT_READY, JOURNAL_AWAY),
            description="Which model each worker has and which it refused, how the shadow differs from the model "
            "in service, and drift, live error and bias update from the journal.",
            about="monitoring data of all workers together",
        ),
    )
    def monitoring() -> Monitoring:
        models = service.model.pin, _workers(service), _shadow_report(service)
        if not service.journal.enabled:
            return Monitoring(*models, None, OFF, None, None, None, None)
        try:
            snapshot = watcher.refresh_if_stale()
        except READ_ERRORS:
            raise RequestError(JOURNAL_AWAY, JOURNAL_AWAY.detail, headers={"retry-after": "5"}) from None
        at = datetime.fromtimestamp(snapshot.at, UTC).isoformat(timespec="seconds")
        findings = snapshot.findings
        return Monitoring(
            *(*models, at, None, findings.window, findings.chart, findings.live_error, findings.arrival_rate),
            findings.bias,
        )

    @get(
        "/v1/monitoring/report",
        media_type=MediaType.HTML,
        **describe_route(
            *("driftReport", "Model", "Draw the drift report", *REPORT_KINDS),
            description="What moved since the training, and whether the model still holds, for a process engineer. The "
            "newest batches of the time, at most 20,000.",
            about="one HTML file without scripts, in English or Chinese",
        ),
    )
    async def report(
        request: AnyRequest,
        since: SinceTime = "1970-01-01",
        until: UntilTime = "9999-12-31",
        language: ReportLanguage = "en",
    ) -> Response[str]:
        times = parse_time("since", since), parse_time("until", until)
        database, artifact = service.journal.database, service.model.artifact
        with service.bulk_slot(request.scope["state"]["request_id"]):
            draw = partial(_draw_report, database, artifact, *times, _parse_language(language))
            page = await read_journal(database, draw, service.run_in_bulk_thread)
        return Response(page, headers={"content-security-policy": REPORT_POLICY})

    return [monitoring, report]


def _parse_language(text: str) -> Language:
    try:
        language: Language = msgspec.convert(text, Language)
    except msgspec.ValidationError:
        raise parameter_error("language", f"expected {' or '.join(get_args(Language))}, got {text!r}") from None
    return language


def _draw_report(
    database: Database, artifact: Artifact, since: int | None, until: int | None, language: Language
) -> str:
    try:  # the image of the service has neither Altair, which draws the charts, nor Jinja
        from batchyield.monitoring.report.collect import collect_report
        from batchyield.monitoring.report.html import render_page
    except ModuleNotFoundError:
        raise RequestError(REPORT_OFF, REPORT_OFF.detail) from None
    return render_page(collect_report(database, artifact, since, until), language)


def _workers(service: Service) -> tuple[WorkerModel, ...]:
    """Return the models of this worker now, and of the others by their last status, a second old at most."""
    candidate = service.shadow.candidate
    shadow = candidate.deployment.md5 if candidate else None
    workers = [WorkerModel(os.getpid(), service.model.pin.md5, shadow, service.refused)]
    for status in service.other_workers():
        shadow = status.shadow.md5 if status.shadow else None
        workers.append(WorkerModel(status.pid, status.serving.md5, shadow, status.refused))
    return tuple(sorted(workers, key=lambda worker: worker.pid))


def _shadow_report(service: Service) -> ShadowReport | None:
    """Return the comparison by the shadows of all workers, or None without a model in the shadow."""
    candidate = service.shadow.candidate
    if candidate is None:
        return None
    counts = candidate.counts()
    for status in service.other_workers():
        if status.shadowed and status.shadowed.candidate == counts.candidate:
            counts += status.shadowed
    total = counts.by_baseline.get(service.model.pin.md5, RunningDiff())

    def mean(value: float) -> float | None:
        return round(value / total.batches, 9) if total.batches else None

    return ShadowReport(
        model=pin_of(candidate.deployment),
        batches=total.batches,
        dropped=counts.dropped,
        failed=counts.failed,
        failure=counts.failure,
        changed=total.changed,
        mean=mean(total.moved),
        mean_absolute=mean(total.moved_absolute),
        largest=total.largest,
        outside=mean(total.outside),
        width=mean(total.widened),
        histogram=tuple(map(Bin, (*HISTOGRAM_EDGES, None), total.histogram)),
    )
