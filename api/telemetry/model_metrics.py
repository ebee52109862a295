"""What Prometheus is told of models: which one answers, which were refused, and how a shadow's answers differ."""

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from batchyield.serving.deployment.prediction_diff import HISTOGRAM_EDGES, RunningDiff


class ModelMetrics:
    """The series of models, in the registry of the service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Not an Info metric: those do not exist where several workers share their files.
        self._model = Gauge(
            "batchyield_model_info",
            "the model that answers",
            ("name", "version", "revision", "md5"),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._changes = Counter(
            "batchyield_model_changes",
            "models that were to serve or to shadow",
            ("role", "outcome"),
            registry=registry,
        )
        self._model_refused = Gauge(
            "batchyield_model_refused",
            "whether a model that is to serve or to shadow is refused",
            ("role",),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        of_pair = ("baseline", "candidate")
        self._shadow_lost = Counter(
            "batchyield_shadow_lost",
            "batches that the shadow did not answer",
            ("candidate", "why"),
            registry=registry,
        )
        self._shadow_changed = Counter(
            "batchyield_shadow_changed",
            "batches that the shadow answers otherwise than by float noise",
            of_pair,
            registry=registry,
        )
        self._shadow_outside = Counter(
            "batchyield_shadow_outside",
            "batches whose yield by the shadow is outside the interval that was answered",
            of_pair,
            registry=registry,
        )
        self._shadow_moved = Gauge(
            "batchyield_shadow_moved",
            "sum of the shadow's yields less those answered",
            of_pair,
            registry=registry,
            multiprocess_mode="sum",
        )
        self._shadow_moved_absolute = Counter(
            "batchyield_shadow_moved_absolute",
            "sum of the same without their signs",
            of_pair,
            registry=registry,
        )
        self._shadow_largest = Gauge(
            "batchyield_shadow_largest",
            "greatest difference without its sign",
            of_pair,
            registry=registry,
            multiprocess_mode="max",
        )
        self._ready = Gauge(
            "batchyield_ready",
            "1 while every worker has its model and none is leaving",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._loaded = Gauge(
            "batchyield_model_loaded_timestamp_seconds",
            "since when every worker has the model it answers with",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._shadow_difference = Histogram(
            "batchyield_shadow_difference",
            "the shadow's yield less the one answered",
            of_pair,
            buckets=HISTOGRAM_EDGES,
            registry=registry,
        )
        self._most: dict[tuple[str, str], float] = {}

    def serves(self, name: str, version: str, revision: str, md5: str, value: int = 1) -> None:
        """Says which model answers, or with 0 that it does no longer."""
        self._model.labels(name, version, revision, md5).set(value)
        if value:
            self._loaded.set(time.time())
            self._ready.set(1)

    def leaves(self) -> None:
        """Says that this worker is leaving."""
        self._ready.set(0)

    def changed_model(self, role: str, outcome: str) -> None:
        """Counts a model that took over a role, or was refused."""
        self._changes.labels(role, outcome).inc()

    def refused_model(self, role: str, refused: bool) -> None:
        """Says whether what is wanted for a role is refused."""
        self._model_refused.labels(role).set(int(refused))

    def shadowed(self, baseline: str, candidate: str, moves: Sequence[float], found: RunningDiff) -> None:
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
