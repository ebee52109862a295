"""What is counted of answers: yields, widths, and the cells that came blank or dirty.

Counting a row at a time would cost as much as decoding it. Answers are gathered instead and counted together, at the
latest when Prometheus asks or the watch makes its round.
"""

import threading
from collections import Counter as Times
from collections.abc import Iterable, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from api.telemetry.prometheus_histogram import BulkHistogram
from batchyield.plant.batch import READING_NAMES
from batchyield.plant.features import CELL_NAMES, Counts
from batchyield.plant.features.plausibility import WARNING_KINDS as OUT_OF_RANGE
from batchyield.serving.responses import Prediction

GATHERED = 256
"""Rows that are counted together: some 0.3 ms of work."""

YIELDS = (0.5, 0.6, 0.7, 0.75, 0.8, *(round(0.82 + 0.01 * step, 2) for step in range(19)))
WIDTHS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5)


class PredictionMetrics:
    """The counters; `add` is called for each answer, by any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._yields = BulkHistogram(
            "batchyield_predicted_yield", "predicted yields, as fractions", buckets=YIELDS, registry=registry
        )
        self._widths = BulkHistogram(
            "batchyield_interval_width",
            "upper less lower end of the interval, as fractions",
            buckets=WIDTHS,
            registry=registry,
        )
        self._warnings = Counter(
            "batchyield_warnings", "cells repaired or taken as missing", ("kind",), registry=registry
        )
        self._missing = _by_reading(registry, "missing", "cells that came blank or not at all")
        self._repaired = _by_reading(registry, "repaired", "cells with a warning: repaired, or taken as missing")
        self._out = _by_reading(registry, "out_of_range", "cells whose value no batch can have, however it is written")
        self._gathered: list[tuple[Sequence[Prediction], Counts]] = []
        self._rows = 0
        self._lock = threading.Lock()

    def add(self, predictions: Sequence[Prediction], blanks: Counts) -> None:
        """Takes an answer, to be counted soon; `blanks` is as in `Features`."""
        with self._lock:
            self._gathered.append((predictions, blanks))
            self._rows += len(predictions)
            if self._rows < GATHERED:
                return
        self.count()

    def count(self) -> None:
        """Counts what was gathered."""
        with self._lock:
            gathered, self._gathered, self._rows = self._gathered, [], 0
        if not gathered:
            return
        for name, blank in zip(CELL_NAMES, np.add.reduce([blanks for _, blanks in gathered]).tolist(), strict=True):
            if blank:
                self._missing[name].inc(blank)
        answers = [prediction for predictions, _ in gathered for prediction in predictions]
        if answers:
            self._yields.observe_all([answer.yield_ for answer in answers])
            self._widths.observe_all([answer.upper - answer.lower for answer in answers])
        warnings = [warning for answer in answers if answer.warnings for warning in answer.warnings]
        for kind, times in Times(warning.kind for warning in warnings).items():
            self._warnings.labels(kind).inc(times)
        _count(self._repaired, (warning.field for warning in warnings))
        _count(self._out, (warning.field for warning in warnings if warning.kind in OUT_OF_RANGE))


def _by_reading(registry: CollectorRegistry, what: str, about: str) -> dict[str, Counter]:
    counter = Counter(f"batchyield_cells_{what}", about, ("reading",), registry=registry)
    return {name: counter.labels(name) for name in READING_NAMES}


def _count(counters: dict[str, Counter], fields: Iterable[str]) -> None:
    for field, times in Times(fields).items():
        if field in counters:
            counters[field].inc(times)
