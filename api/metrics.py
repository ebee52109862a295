"""What Prometheus is told: requests, predictions, warnings, and which model answers."""

import os
from collections import Counter as Tally
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

from batchyield.replies import Prediction
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
        self._model_refused = Gauge(
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
        self._known_forms: dict[str, Counter] = {}
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
        counter = self._known_forms.get(form)
        if counter is None:
            counter = self._known_forms[form] = self._predictions.labels(form)
        counter.inc(len(predictions))
        kinds = [warning.kind for prediction in predictions for warning in prediction.warnings]
        if kinds:
            for kind, times in Tally(kinds).items():
                self._warnings.labels(kind).inc(times)

    def refused(self, reason: str) -> None:
        """Counts a connection that was closed before it was a request."""
        self._refused.labels(reason).inc()

    def keys_read(self, used: bool) -> None:
        """Counts a new file of keys, and whether it could be used."""
        self._key_reads.labels("used" if used else "refused").inc()

    def lines_dropped(self, count: int) -> None:
        """Counts lines of the log that were lost."""
        self._lost_lines.inc(count)

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

    def serves(self, name: str, version: str, revision: str, md5: str, value: int = 1) -> None:
        """Says which model answers, or with 0 that it does no longer."""
        self._model.labels(name, version, revision, md5).set(value)

    def changed_model(self, role: str, outcome: str) -> None:
        """Counts a model that took over a role, or was refused."""
        self._changes.labels(role, outcome).inc()

    def refused_model(self, role: str, refused: bool) -> None:
        """Says whether what is wanted for a role is refused."""
        self._model_refused.labels(role).set(int(refused))

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
        _forget_the_dead(Path(os.environ[MULTIPROC_DIR]))
        registry = CollectorRegistry()
        of_all_workers.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_the_dead(folder: Path) -> None:
    """Removes what killed workers said of themselves; what they counted stays."""
    for pid in {file.stem.rpartition("_")[2] for file in folder.glob("gauge_live*_*.db")}:
        if not Path(f"/proc/{pid}").exists():
            of_all_workers.mark_process_dead(pid)  # type: ignore[no-untyped-call]
