"""`GET /v1/monitoring`: what is seen of the model that answers."""

import os
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from api.inference.served_model import pin_of
from api.inference.service import Service
from api.monitoring.drift_watcher import UNREADABLE, DriftWatcher
from api.openapi.responses import described
from api.problems import BUSY, JOURNAL_AWAY, NOT_READY, RATE_LIMITED, RequestError
from batchyield.monitoring.arrival_rate import ArrivalRate
from batchyield.monitoring.control_chart import ControlChart
from batchyield.monitoring.drift_window import WindowDrift
from batchyield.monitoring.live_error import LiveError
from batchyield.serving.deployment.prediction_diff import HISTOGRAM_EDGES, RunningDiff
from batchyield.serving.deployment.worker_registry import ShadowStats
from batchyield.serving.responses import ModelPin, Refusal

OFF = "the service keeps no journal, so drift and error cannot be told; its operator sets BATCHYIELD_JOURNAL"


class WorkerModel(msgspec.Struct, frozen=True):
    """What one worker has."""

    pid: Annotated[int, Meta(description="process id")]
    model: Annotated[str, Meta(description="hash of the model that answers")]
    shadow: Annotated[str | None, Meta(description="hash of the model in the shadow")]
    refused: Annotated[tuple[Refusal, ...], Meta(description="models that it was to use and does not")]


class Bin(msgspec.Struct, frozen=True):
    """Batches whose yield moved by as much: more than the bin before says, and no more than this one."""

    at_most: Annotated[float | None, Meta(description="upper end of the bin; null for the last, which has none")]
    batches: Annotated[int, Meta(description="in this bin")]


class ShadowReport(msgspec.Struct, frozen=True):
    """How the shadow's answers differ from those of the model that answers now, over all batches both have seen."""

    model: Annotated[ModelPin, Meta(description="the model in the shadow")]
    batches: Annotated[int, Meta(description="that both answered")]
    dropped: Annotated[int, Meta(description="that the shadow had no time for")]
    failed: Annotated[int, Meta(description="that the shadow could not answer")]
    failure: Annotated[str, Meta(description="why, where it could not; else empty")]
    changed: Annotated[int, Meta(description="whose yield moved by more than float noise")]
    mean: Annotated[float | None, Meta(description="mean move: the shadow's yield less the one answered")]
    mean_absolute: Annotated[float | None, Meta(description="the same without its sign")]
    largest: Annotated[float, Meta(description="the greatest move, with its sign")]
    outside: Annotated[float | None, Meta(description="share of batches whose yield left the interval answered")]
    width: Annotated[float | None, Meta(description="mean width of its intervals less those answered")]
    histogram: Annotated[tuple[Bin, ...], Meta(description="batches by their move")]


class Monitoring(msgspec.Struct, frozen=True):
    """What is watched, of all workers together: their models, and the newest answers beside training and outcomes."""

    model: Annotated[ModelPin, Meta(description="the model that answers, and whose answers these are")]
    workers: Annotated[tuple[WorkerModel, ...], Meta(description="by process id")]
    shadow: Annotated[ShadowReport | None, Meta(description="null where no model runs in the shadow")]
    at: Annotated[str | None, Meta(description="when the journal was looked at; null where there is none")]
    off: Annotated[str | None, Meta(description="why nothing is told; null where it is")]
    window: Annotated[WindowDrift | None, Meta(description="the newest batches, each once, against the training")]
    chart: Annotated[ControlChart | None, Meta(description="control chart of their predicted yields")]
    live: Annotated[
        LiveError | None, Meta(description="the newest batches with a measured yield: error, bias, coverage")
    ]
    frequency: Annotated[ArrivalRate | None, Meta(description="how often batches come; null where none has come")]


def monitoring_routes(service: Service, watch: DriftWatcher) -> list[HTTPRouteHandler]:
    """`GET /v1/monitoring`."""

    @get(
        "/v1/monitoring",
        sync_to_thread=True,
        **described(
            *("monitoring", "Model", "Tell what is watched", RATE_LIMITED, BUSY, NOT_READY, JOURNAL_AWAY),
            description="Which model each worker has and which it refused, how the answers of the model in the shadow "
            "differ from those given, and what the journal tells of drift and of the live error.",
            about="what is watched, of all workers together",
        ),
    )
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
        return Monitoring(*standing, at, None, found.window, found.chart, found.live_error, found.arrival_rate)

    return [monitoring]


def workers_of(service: Service) -> tuple[WorkerModel, ...]:
    """What this worker has at this moment and what the others said last, a second ago at most."""
    serving, candidate = service.serving, service.shadow.candidate
    mine = WorkerModel(os.getpid(), serving.pin.md5, candidate.deployment.md5 if candidate else None, service.refused)
    others = [
        WorkerModel(one.pid, one.serving.md5, one.shadow.md5 if one.shadow else None, one.refused)
        for one in service.others()
    ]
    return tuple(sorted([mine, *others], key=lambda one: one.pid))


def shadow_of(service: Service) -> ShadowReport | None:
    """What the shadows of all workers have seen; None where no model runs in the shadow."""
    candidate = service.shadow.candidate
    if candidate is None:
        return None
    seen = candidate.seen()
    for one in service.others():
        if one.shadowed and one.shadowed.candidate == seen.candidate:
            seen += one.shadowed
    return _report(pin_of(candidate.deployment), seen, seen.by_baseline.get(service.serving.pin.md5, RunningDiff()))


def _report(pin: ModelPin, seen: ShadowStats, found: RunningDiff) -> ShadowReport:
    def mean(total: float) -> float | None:
        return round(total / found.batches, 9) if found.batches else None

    return ShadowReport(
        model=pin,
        batches=found.batches,
        dropped=seen.dropped,
        failed=seen.failed,
        failure=seen.failure,
        changed=found.changed,
        mean=mean(found.moved),
        mean_absolute=mean(found.moved_absolute),
        largest=found.largest,
        outside=mean(found.outside),
        width=mean(found.widened),
        histogram=tuple(map(Bin, (*HISTOGRAM_EDGES, None), found.histogram)),
    )
