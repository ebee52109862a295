"""Prometheus metrics of models: which one serves, which were refused, and how a shadow's predictions differ."""

import time
from collections.abc import Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from batchyield.serving.deployment.prediction_diff import HISTOGRAM_EDGES, RunningDiff


class ModelMetrics:
    """The metrics of models, in the service's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        # Not an Info metric: prometheus_client has none for several processes.
        self._model = gauge(
            "batchyield_model_info",
            "the model that serves",
            ("name", "version", "revision", "md5"),
            multiprocess_mode="mostrecent",
        )
        self.changes = counter(
            "batchyield_model_changes", "models that took over a role or were refused", ("role", "outcome")
        )
        self.refused = gauge(
            "batchyield_model_refused",
            "1 while the model for the role is refused",
            ("role",),
            multiprocess_mode="mostrecent",
        )
        pair = ("baseline", "candidate")
        self.lost = counter("batchyield_shadow_lost", "batches that the shadow did not predict", ("candidate", "why"))
        self._changed = counter(
            "batchyield_shadow_changed", "batches that the shadow predicts differently beyond float noise", pair
        )
        self._outside = counter(
            "batchyield_shadow_outside", "batches whose yield by the shadow is outside the serving interval", pair
        )
        self._moved = gauge(
            "batchyield_shadow_moved", "sum of the shadow's yields minus those sent", pair, multiprocess_mode="sum"
        )
        self._moved_absolute = counter("batchyield_shadow_moved_absolute", "sum of the absolute differences", pair)
        self._largest = gauge(
            "batchyield_shadow_largest", "greatest absolute difference", pair, multiprocess_mode="max"
        )
        self.ready = gauge(
            "batchyield_ready", "1 while every worker has its model and none is stopping", multiprocess_mode="livemin"
        )
        self._loaded = gauge(
            "batchyield_model_loaded_timestamp_seconds",
            "time since which every worker has its model",
            multiprocess_mode="livemin",
        )
        self._difference = Histogram(
            "batchyield_shadow_difference",
            "the shadow's yield minus the one sent",
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
