"""What Prometheus is told: requests, predictions, warnings, and which model answers."""

import os
from collections import Counter as Tally
from collections.abc import Sequence

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

from batchyield.predictor import Prediction

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
        self._warnings = Counter(
            "batchyield_warnings", "cells repaired or taken as missing", ("kind",), registry=self._registry
        )
        # Not an Info metric: those do not exist where several workers share their files.
        self._model = Gauge(
            "batchyield_model_info",
            "the model that answers",
            ("name", "version", "revision", "md5"),
            registry=self._registry,
            multiprocess_mode="max",
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

    def predicted(self, predictions: Sequence[Prediction], form: str) -> None:
        """Counts the predictions of one answer, and their warnings by kind."""
        counter = self._known_forms.get(form)
        if counter is None:
            counter = self._known_forms[form] = self._predictions.labels(form)
        counter.inc(len(predictions))
        kinds = [warning.kind for prediction in predictions for warning in prediction.warnings]
        if kinds:
            for kind, times in Tally(kinds).items():
                self._warnings.labels(kind).inc(times)

    def serves(self, name: str, version: str, revision: str, md5: str) -> None:
        """Says which model answers."""
        self._model.labels(name, version, revision, md5).set(1)

    def exposition(self) -> bytes:
        """The text that Prometheus reads: of this process, or of all workers where they share a folder."""
        if MULTIPROC_DIR not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        of_all_workers.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
