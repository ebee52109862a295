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
from batchyield.totals import EDGES, Totals

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
            multiprocess_mode="mostrecent",
        )
        self._changes = Counter(
            "batchyield_model_changes",
            "models that were to serve or to shadow",
            ("role", "outcome"),
            registry=self._registry,
        )
        self._refused = Gauge(
            "batchyield_model_refused",
            "whether a model that is to serve or to shadow is refused",
            ("role",),
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )
        of_pair = ("baseline", "candidate")
        self._shadow_lost = Counter(
            "batchyield_shadow_lost",
            "batches that the shadow did not answer",
            ("candidate", "why"),
            registry=self._registry,
        )
        self._shadow_changed = Counter(
            "batchyield_shadow_changed",
            "batches that the shadow answers otherwise than by float noise",
            of_pair,
            registry=self._registry,
        )
        self._shadow_outside = Counter(
            "batchyield_shadow_outside",
            "batches whose yield by the shadow is outside the interval that was answered",
            of_pair,
            registry=self._registry,
        )
        self._shadow_moved = Gauge(
            "batchyield_shadow_moved",
            "sum of the shadow's yields less those answered",
            of_pair,
            registry=self._registry,
            multiprocess_mode="sum",
        )
        self._shadow_moved_absolute = Counter(
            "batchyield_shadow_moved_absolute",
            "sum of the same without their signs",
            of_pair,
            registry=self._registry,
        )
        self._shadow_largest = Gauge(
            "batchyield_shadow_largest",
            "greatest difference without its sign",
            of_pair,
            registry=self._registry,
            multiprocess_mode="max",
        )
        self._shadow_difference = Histogram(
            "batchyield_shadow_difference",
            "the shadow's yield less the one answered",
            of_pair,
            buckets=EDGES,
            registry=self._registry,
        )
        if MULTIPROC_DIR not in os.environ:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self._registry)
        # Looking a child up by its labels costs more than counting does.
        self._known_requests: dict[tuple[str, str, int], Counter] = {}
        self._known_seconds: dict[str, Histogram] = {}
        self._most: dict[tuple[str, str], float] = {}

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
        self._predictions.labels(form).inc(len(predictions))
        kinds = Tally([warning.kind for prediction in predictions for warning in prediction.warnings])
        for kind, times in kinds.items():
            self._warnings.labels(kind).inc(times)

    def serves(self, name: str, version: str, revision: str, md5: str, value: int = 1) -> None:
        """Says which model answers, or with 0 that it does no longer."""
        self._model.labels(name, version, revision, md5).set(value)

    def changed_model(self, role: str, outcome: str) -> None:
        """Counts a model that took over a role, or was refused."""
        self._changes.labels(role, outcome).inc()

    def refused_model(self, role: str, refused: bool) -> None:
        """Says whether what is wanted for a role is refused."""
        self._refused.labels(role).set(int(refused))

    def shadowed(self, baseline: str, candidate: str, moves: Sequence[float], found: Totals) -> None:
        """Adds how a shadow's answers differ from those given."""
        pair = (baseline, candidate)
        self._shadow_changed.labels(*pair).inc(found.changed)
        self._shadow_outside.labels(*pair).inc(found.outside)
        self._shadow_moved.labels(*pair).inc(found.moved)
        self._shadow_moved_absolute.labels(*pair).inc(found.moved_absolute)
        most = self._most[pair] = max(self._most.get(pair, 0.0), abs(found.largest))
        self._shadow_largest.labels(*pair).set(most)
        observe = self._shadow_difference.labels(*pair).observe
        for move in moves:
            observe(move)

    def not_shadowed(self, candidate: str, why: str, batches: int) -> None:
        """Counts batches that a shadow did not answer: `dropped` for want of room, or `failed`."""
        self._shadow_lost.labels(candidate, why).inc(batches)

    def exposition(self) -> bytes:
        """The text that Prometheus reads: of this process, or of all workers where they share a folder."""
        if MULTIPROC_DIR not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        of_all_workers.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
