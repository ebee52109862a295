"""Prometheus metrics of predictions: histograms of yields and interval widths, counts of blank and dirty cells.

Counting one row at a time would cost as much as decoding it. Predictions are collected and counted together, at the
latest when Prometheus scrapes or the drift watcher makes its round.
"""

import threading
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from api.telemetry.prometheus_histogram import BulkHistogram
from batchyield.plant.batch import READING_NAMES
from batchyield.plant.features import CELL_NAMES, Counts
from batchyield.plant.features.plausibility import WARNING_KINDS as OUT_OF_RANGE
from batchyield.serving.responses import Prediction

FLUSH_ROWS = 256
"""Rows that are counted together: some 0.3 ms of work."""

YIELDS = (0.5, 0.6, 0.7, 0.75, 0.8, *(round(0.82 + 0.01 * step, 2) for step in range(19)))
WIDTHS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5)


class PredictionMetrics:
    """The metrics, in the service's registry; any thread may call `add` and `flush`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        histogram, counter = partial(BulkHistogram, registry=registry), partial(Counter, registry=registry)
        self._yields = histogram("batchyield_predicted_yield", "predicted yields, as fractions", buckets=YIELDS)
        self._widths = histogram("batchyield_interval_width", "width of the interval, as a fraction", buckets=WIDTHS)
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
