"""What Prometheus is told: requests, predictions, warnings, and which model answers."""

import os
from collections.abc import Sequence
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
MEDIA_TYPE = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # the framework adds it again
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST"})
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The service's counters; a registry of its own, so that two apps in one process do not share them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "batchyield_http_requests", "requests answered", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "batchyield_http_request_seconds",
            "time from the head of a request to the end of its answer",
            ("route",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._predictions = Counter("batchyield_predictions", "batches predicted", ("format",), registry=self._registry)
        self._refused = Counter(
            "batchyield_connections_refused",
            "connections closed before a request",
            ("reason",),
            registry=self._registry,
        )
        self._key_reads = Counter(
            "batchyield_key_reads", "times the file of keys changed", ("outcome",), registry=self._registry
        )
        self._lost_lines = Counter(
            "batchyield_log_lines_dropped", "lines of the log that nobody read in time", registry=self._registry
        )
        self.models = ModelMetrics(self._registry)
        self._cells = PredictionMetrics(self._registry)
        self._watch_failures = Counter("batchyield_watch_failures", "passes that failed", registry=self._registry)
        self._shown: list[Collector] = []
        self._journalled = Counter(
            "batchyield_journal_rows", "predictions written to the journal", registry=self._registry
        )
        self._journal_seconds = Histogram(
            "batchyield_journal_commit_seconds",
            "time that a group of answers took to be written and committed",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._journal_waiting = Gauge(
            "batchyield_journal_waiting_rows",
            "answers that waited for the journal after its last commit",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._journal_failures = Counter("batchyield_journal_failures", "commits that failed", registry=self._registry)
        self._not_journalled = Counter(
            "batchyield_not_journalled_rows",
            "predictions that could not be journalled: refused, or answered all the same",
            ("answered",),
            registry=self._registry,
        )
        self._outcomes = Counter(
            "batchyield_outcomes", "measured yields told", ("result", "matched"), registry=self._registry
        )
        if MULTIPROC_DIR not in os.environ:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self._registry)
        # Looking a child up by its labels costs more than counting does.
        self._known_requests: dict[tuple[str, str, int], Counter] = {}
        self._known_seconds: dict[str, Histogram] = {}
        self._known_forms: dict[str, Counter] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request; `route` is a template, never a path that a caller made up."""
        key = (method, route, status)
        counter = self._known_requests.get(key)
        if counter is None:
            label = method if method in METHODS else "other"
            counter = self._known_requests[key] = self._requests.labels(label, route, str(status))
            self._known_seconds.setdefault(route, self._seconds.labels(route))
        counter.inc()
        self._known_seconds[route].observe(seconds)

    def predicted(self, predictions: Sequence[Prediction], blanks: Counts, form: str) -> None:
        """Counts predictions, and soon what there is to tell of them; `blanks` is as in `Features`."""
        self._cells.add(predictions, blanks)
        counter = self._known_forms.get(form)
        if counter is None:
            counter = self._known_forms[form] = self._predictions.labels(form)
        counter.inc(len(predictions))

    def refused(self, reason: str) -> None:
        """Counts a connection that was closed before it was a request."""
        self._refused.labels(reason).inc()

    def keys_read(self, used: bool) -> None:
        """Counts a new file of keys, and whether it could be used."""
        self._key_reads.labels("used" if used else "refused").inc()

    def line_dropped(self) -> None:
        """Counts a line of the log that was lost."""
        self._lost_lines.inc()

    def journalled(self, rows: int, seconds: float) -> None:
        """Counts a commit."""
        self._journalled.inc(rows)
        self._journal_seconds.observe(seconds)

    def journal_waits(self, rows: int) -> None:
        """Says how many answers wait for the journal."""
        self._journal_waiting.set(rows)

    def journal_failed(self) -> None:
        """Counts a commit that failed."""
        self._journal_failures.inc()

    def not_journalled(self, rows: int, answered: bool) -> None:
        """Counts predictions that are not in the journal, and whether they were answered all the same."""
        self._not_journalled.labels(str(answered).lower()).inc(rows)

    def outcome(self, result: str, matched: bool, times: int) -> None:
        """Counts measured yields by what became of them."""
        self._outcomes.labels(result, str(matched).lower()).inc(times)

    def leaves(self) -> None:
        """Says that this worker is leaving."""
        self.models.leaves()

    def count_cells(self) -> None:
        """Counts what is counted together, up to now."""
        self._cells.count()

    def watch_failed(self) -> None:
        """Counts a look at the journal that failed."""
        self._watch_failures.inc()

    def show(self, collector: Collector) -> None:
        """Shows what `collector` knows of all workers beside what each of them counts."""
        self._shown.append(collector)
        self._registry.register(collector)

    def exposition(self) -> bytes:
        """The text that Prometheus reads: of this process, or of all workers where they share a folder."""
        self.count_cells()
        if MULTIPROC_DIR not in os.environ:
            return generate_latest(self._registry)
        _forget_the_dead(Path(os.environ[MULTIPROC_DIR]))
        registry = CollectorRegistry()
        of_all_workers.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        for collector in self._shown:
            registry.register(collector)
        return generate_latest(registry)


def _forget_the_dead(folder: Path) -> None:
    """Removes what killed workers said of themselves; what they counted stays."""
    for pid in {file.stem.rpartition("_")[2] for file in folder.glob("gauge_live*_*.db")}:
        if not Path(f"/proc/{pid}").exists():
            of_all_workers.mark_process_dead(pid)  # type: ignore[no-untyped-call]
