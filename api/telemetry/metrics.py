"""The service's Prometheus metrics: requests, predictions, journal and log; of models in `model_metrics`."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import multiprocess as of_all_workers
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from api.telemetry.model_metrics import ModelMetrics
from api.telemetry.prediction_metrics import PredictionMetrics
from batchyield.plant.features import Counts
from batchyield.serving.responses import Prediction

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # Litestar adds it again
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST"})
BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of a service, in a registry of its own, so that two applications in one process do not share them.

    The metrics without a method are counted by their owners; `models` are those of the models that serve and shadow.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        seconds = partial(Histogram, buckets=BUCKETS_SECONDS, registry=registry)
        self._requests = counter("batchyield_http_requests", "requests answered", ("method", "route", "status"))
        self._request_seconds = seconds(
            "batchyield_http_request_seconds", "time from the head of a request to the end of its response", ("route",)
        )
        self._batches = counter("batchyield_predictions", "batches predicted", ("format",))
        self.connections_refused = counter(
            "batchyield_connections_refused", "connections closed before a request", ("reason",)
        )
        self.key_reads = counter("batchyield_key_reads", "changes of the file of API keys", ("outcome",))
        self.lines_dropped = counter("batchyield_log_lines_dropped", "log lines dropped while standard output stalled")
        self.models = ModelMetrics(registry)
        self.predictions = PredictionMetrics(registry)
        self.watch_failures = counter("batchyield_watch_failures", "drift checks that failed")
        self._collectors: list[Collector] = []
        self._journal_rows = counter("batchyield_journal_rows", "predictions written to the journal")
        self._journal_seconds = seconds("batchyield_journal_commit_seconds", "time to write and commit a group")
        self.journal_waiting = Gauge(
            "batchyield_journal_waiting_rows",
            "predictions that waited for the journal after its last commit",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.journal_failures = counter("batchyield_journal_failures", "commits that failed")
        self.not_journalled = counter(
            "batchyield_not_journalled_rows", "predictions not journalled: refused, or sent nevertheless", ("answered",)
        )
        self.outcomes = counter("batchyield_outcomes", "measured yields received", ("result", "matched"))
        if MULTIPROC_DIR not in os.environ:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=registry)
        # To look up a child by its labels costs more than to count.
        self._known_requests: dict[tuple[str, str, int], Counter] = {}
        self._known_seconds: dict[str, Histogram] = {}
        self._known_formats: dict[str, Counter] = {}

    def request_finished(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is a template, never a path that a caller made up."""
        key = (method, route, status)
        counter = self._known_requests.get(key)
        if counter is None:
            label = method if method in METHODS else "other"
            counter = self._known_requests[key] = self._requests.labels(label, route, str(status))
            self._known_seconds.setdefault(route, self._request_seconds.labels(route))
        counter.inc()
        self._known_seconds[route].observe(seconds)

    def batches_predicted(self, predictions: Sequence[Prediction], blanks: Counts, form: str) -> None:
        """Count predictions of a request in `json` or `csv`; `blanks` is as in `Features`."""
        self.predictions.add(predictions, blanks)
        counter = self._known_formats.get(form)
        if counter is None:
            counter = self._known_formats[form] = self._batches.labels(form)
        counter.inc(len(predictions))

    def group_committed(self, rows: int, seconds: float) -> None:
        """Count a commit of the journal."""
        self._journal_rows.inc(rows)
        self._journal_seconds.observe(seconds)

    def register(self, collector: Collector) -> None:
        """Add a collector whose metrics are of all workers together."""
        self._collectors.append(collector)
        self._registry.register(collector)

    def exposition(self) -> bytes:
        """Return the metrics as Prometheus text: of this process, or of all workers if they share a directory."""
        self.predictions.flush()
        if MULTIPROC_DIR not in os.environ:
            return generate_latest(self._registry)
        _remove_dead_gauges(Path(os.environ[MULTIPROC_DIR]))
        registry = CollectorRegistry()
        of_all_workers.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        for collector in self._collectors:
            registry.register(collector)
        return generate_latest(registry)


def _remove_dead_gauges(directory: Path) -> None:
    """Remove the live gauges of killed workers; their counters stay."""
    for pid in {file.stem.rpartition("_")[2] for file in directory.glob("gauge_live*_*.db")}:
        if not Path(f"/proc/{pid}").exists():
            of_all_workers.mark_process_dead(pid)  # type: ignore[no-untyped-call]
