"""The service's Prometheus metrics: of requests, journal and log, of predictions, and of models."""

import os
import shutil
import threading
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client import multiprocess as of_all_workers
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from api.telemetry.prometheus_histogram import BulkHistogram
from batchyield.plant.batch import READING_NAMES
from batchyield.plant.features import CELL_NAMES, Counts
from batchyield.plant.features.plausibility import WARNING_KINDS as OUT_OF_RANGE
from batchyield.plant.table import TARGET
from batchyield.serving.deployment.prediction_diff import HISTOGRAM_EDGES, RunningDiff
from batchyield.serving.prediction import Prediction

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # Litestar adds it again
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST"})
BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

FLUSH_ROWS = 256
"""Rows that are counted together: some 0.3 ms of work."""

YIELDS = TARGET.buckets
WIDTHS = tuple(float(f"{width}e{TARGET.order - 2}") for width in (*range(1, 11), 12, 15, 20, 30, 50))

disable_created_metrics()  # type: ignore[no-untyped-call]


class PredictionMetrics:
    """Histograms of yields and interval widths, counts of blank and dirty cells; any thread may call the methods.

    Counting one row at a time would cost as much as decoding it. Predictions are collected and counted together, at the
    latest when Prometheus scrapes or the drift watcher makes its round.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        histogram, counter = partial(BulkHistogram, registry=registry), partial(Counter, registry=registry)
        self._yields = histogram("batchyield_predicted_yield", f"predicted {TARGET.stored}", buckets=YIELDS)
        self._widths = histogram("batchyield_interval_width", "width of the interval", buckets=WIDTHS)
        self._warnings = counter("batchyield_warnings", "cells repaired or taken as missing", ("kind",))

        def by_reading(name: str, about: str) -> dict[str, Counter]:
            metric = counter(f"batchyield_cells_{name}", about, ("reading",))
            return {reading: metric.labels(reading) for reading in READING_NAMES}

        self._missing = by_reading("missing", "cells that are blank or absent")
        self._repaired = by_reading("repaired", "cells with a warning: repaired, or taken as missing")
        self._out_of_range = by_reading("out_of_range", "cells whose value is implausible in any form")
        self._collected: list[tuple[Sequence[Prediction], Counts]] = []
        self._rows = 0
        self._lock = threading.Lock()

    def add(self, predictions: Sequence[Prediction], blanks: Counts) -> None:
        """Collect predictions for counting; `blanks` is as in `Features`."""
        with self._lock:
            self._collected.append((predictions, blanks))
            self._rows += len(predictions)
            if self._rows < FLUSH_ROWS:
                return
        self.flush()

    def flush(self) -> None:
        """Count the collected predictions."""
        with self._lock:
            collected, self._collected, self._rows = self._collected, [], 0
        if not collected:
            return
        for name, blank in zip(CELL_NAMES, np.add.reduce([blanks for _, blanks in collected]).tolist(), strict=True):
            if blank:
                self._missing[name].inc(blank)
        predictions = [prediction for some, _ in collected for prediction in some]
        if predictions:
            self._yields.observe_all([prediction.yield_ for prediction in predictions])
            self._widths.observe_all([prediction.upper - prediction.lower for prediction in predictions])
        warnings = [warning for prediction in predictions for warning in prediction.warnings]
        for kind, count in Tally(warning.kind for warning in warnings).items():
            self._warnings.labels(kind).inc(count)
        _count(self._repaired, (warning.field for warning in warnings))
        _count(self._out_of_range, (warning.field for warning in warnings if warning.kind in OUT_OF_RANGE))


def _count(counters: dict[str, Counter], fields: Iterable[str]) -> None:
    for field, count in Tally(fields).items():
        if field in counters:
            counters[field].inc(count)


class ModelMetrics:
    """Which model serves, which were refused, and how a shadow's predictions differ."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        newest, live = partial(gauge, multiprocess_mode="mostrecent"), partial(gauge, multiprocess_mode="livemin")
        # Not an Info metric: prometheus_client has none for several processes.
        self._model = newest("batchyield_model_info", "the model that serves", ("name", "version", "revision", "md5"))
        self.changes = counter(
            "batchyield_model_changes", "models that took over a role or were refused", ("role", "outcome")
        )
        self.refused = newest("batchyield_model_refused", "1 while the model for the role is refused", ("role",))
        pair = ("baseline", "candidate")
        self.lost = counter("batchyield_shadow_lost", "batches that the shadow did not predict", ("candidate", "why"))
        self._changed = counter(
            "batchyield_shadow_changed", "batches that the shadow predicts differently beyond float noise", pair
        )
        self._outside = counter(
            "batchyield_shadow_outside", "batches that the shadow predicts outside the serving interval", pair
        )
        self._moved = gauge(
            "batchyield_shadow_moved", "sum of the shadow's predictions minus those sent", pair, multiprocess_mode="sum"
        )
        self._moved_absolute = counter("batchyield_shadow_moved_absolute", "sum of the absolute differences", pair)
        self._largest = gauge(
            "batchyield_shadow_largest", "greatest absolute difference", pair, multiprocess_mode="max"
        )
        self.ready = live("batchyield_ready", "1 while every worker has its model and none is stopping")
        # Not the oldest worker's time, which would hide that the other one keeps ending.
        self._loaded = gauge(
            "batchyield_model_loaded_timestamp_seconds", "when a worker last loaded its model", multiprocess_mode="max"
        )
        self._difference = Histogram(
            "batchyield_shadow_difference",
            "the shadow's prediction minus the one sent",
            pair,
            buckets=HISTOGRAM_EDGES,
            registry=registry,
        )
        self._largest_of: dict[tuple[str, str], float] = {}

    def set_serving(self, name: str, version: str, revision: str, md5: str, value: int = 1) -> None:
        """Set the model that serves; with `value` 0, mark it as replaced."""
        self._model.labels(name, version, revision, md5).set(value)
        if value:
            self._loaded.set(time.time())
            self.ready.set(1)

    def shadow_compared(self, baseline: str, candidate: str, differences: Sequence[float], total: RunningDiff) -> None:
        """Count how a shadow's predictions differ from those sent: each difference, and their total."""
        pair = (baseline, candidate)
        self._changed.labels(*pair).inc(total.changed)
        self._outside.labels(*pair).inc(total.outside)
        self._moved.labels(*pair).inc(total.moved)
        self._moved_absolute.labels(*pair).inc(total.moved_absolute)
        largest = self._largest_of[pair] = max(self._largest_of.get(pair, 0.0), abs(total.largest))
        self._largest.labels(*pair).set(largest)
        observe = self._difference.labels(*pair).observe
        for difference in differences:
            observe(difference)


class JournalDisk(Collector):
    """Free space and size of the disk of the journal's file, read whenever Prometheus scrapes."""

    def __init__(self, file: Path) -> None:
        self._directory = file.parent

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; none while the journal's folder is missing."""
        try:
            usage = shutil.disk_usage(self._directory)
        except OSError:
            return
        about = "of the disk of the journal's file"
        yield GaugeMetricFamily("batchyield_journal_disk_free_bytes", f"free space {about}", value=usage.free)
        yield GaugeMetricFamily("batchyield_journal_disk_bytes", f"size {about}", value=usage.total)


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
        self.outcomes = counter("batchyield_outcomes", "outcomes received", ("result", "matched"))
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
        if (directory := os.environ.get(MULTIPROC_DIR)) is None:
            return generate_latest(self._registry)
        for pid in {file.stem.rpartition("_")[2] for file in Path(directory).glob("gauge_live*_*.db")}:
            if not _runs(int(pid)):  # a killed worker; its counters stay
                of_all_workers.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        of_all_workers.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        for collector in self._collectors:
            registry.register(collector)
        return generate_latest(registry)


def _runs(pid: int) -> bool:
    """Return whether a process runs, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
