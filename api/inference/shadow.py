"""Shadow: a second model predicts the same rows after their response was sent; its predictions are only compared."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import NamedTuple

from api.telemetry.metrics import Metrics
from batchyield.plant.batch import Batch
from batchyield.serving.deployment.model_store import Deployment
from batchyield.serving.deployment.prediction_diff import RunningDiff, running_diff, yield_changes
from batchyield.serving.deployment.worker_registry import ShadowStats
from batchyield.serving.prediction import Prediction
from batchyield.serving.predictor import Predictor

logger = logging.getLogger("batchyield.models")

MAX_QUEUED_ROWS = 20_000
"""Two of the largest requests."""

STEP_ROWS = 32
"""Rows between two pauses: about a millisecond with the interpreter lock, which a request may need meanwhile."""

PAUSE_SHARE = 1.0
"""Pause after each step, as a multiple of the step's time: the shadow uses at most half of a core."""


@dataclass
class ShadowCandidate:
    """The model in the shadow and its counts, written by the shadow's thread except `dropped`.

    Attributes:
        by_baseline: md5 of the model that served -> how the predictions differ.
    """

    deployment: Deployment
    predictor: Predictor
    by_baseline: dict[str, RunningDiff] = field(default_factory=dict)
    dropped: int = 0
    failed: int = 0
    failure: str = ""

    def counts(self) -> ShadowStats:
        """Return the counts so far."""
        return ShadowStats(self.deployment.md5, dict(self.by_baseline), self.dropped, self.failed, self.failure)

    def add_counts(self, counts: ShadowStats) -> None:
        """Add the counts that the same candidate had in a worker that died."""
        both = self.counts() + counts
        self.by_baseline, self.dropped = dict(both.by_baseline), both.dropped
        self.failed, self.failure = both.failed, both.failure


class _Rows(NamedTuple):
    candidate: ShadowCandidate
    baseline: str  # md5 of the model that predicted
    batches: Sequence[Batch]
    predictions: Sequence[Prediction]


class ShadowRunner:
    """A bounded queue of rows that were predicted, and a thread in which the candidate predicts them too."""

    def __init__(self, metrics: Metrics) -> None:
        self.candidate: ShadowCandidate | None = None
        self._metrics = metrics
        self._queue: SimpleQueue[_Rows | None] = SimpleQueue()
        self._queued = self._done = 0  # each written by one thread only, so that no request needs a lock
        self._thread: threading.Thread | None = None

    def set_candidate(self, candidate: ShadowCandidate | None) -> None:
        """Compare with `candidate` from now on, or with None stop comparing."""
        if candidate is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
            self._thread.start()
        self.candidate = candidate

    def offer(self, baseline: str, batches: Sequence[Batch], predictions: Sequence[Prediction]) -> None:
        """Queue rows for comparison, or drop them if the queue is full. Called from the event loop; never blocks."""
        candidate = self.candidate
        if candidate is None:
            return
        count = len(batches)
        if self._queued - self._done + count > MAX_QUEUED_ROWS:
            candidate.dropped += count
            self._metrics.models.lost.labels(candidate.deployment.md5, "dropped").inc(count)
            return
        self._queued += count
        self._queue.put(_Rows(candidate, baseline, batches, predictions))

    def close(self) -> None:
        """Stop the thread after the queued rows, or give up after a second."""
        self.candidate = None
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(1.0)

    def _run(self) -> None:
        while (rows := self._queue.get()) is not None:
            for first in range(0, len(rows.batches), STEP_ROWS):
                started = time.perf_counter()
                step = slice(first, first + STEP_ROWS)
                self._compare(rows.candidate, rows.baseline, rows.batches[step], rows.predictions[step])
                self._done += len(rows.batches[step])
                time.sleep((time.perf_counter() - started) * PAUSE_SHARE)

    def _compare(
        self, candidate: ShadowCandidate, baseline: str, batches: Sequence[Batch], predictions: Sequence[Prediction]
    ) -> None:
        md5 = candidate.deployment.md5
        try:
            others = candidate.predictor.predict(batches)
            predictions = [prediction.alone() for prediction in predictions]  # the shadow has no bias update
            total = running_diff(predictions, others)
            self._metrics.models.shadow_compared(baseline, md5, yield_changes(predictions, others), total)
        except Exception as error:
            if not candidate.failed:
                logger.warning("shadow %s cannot predict: %s", candidate.deployment, error)
            candidate.failed += len(batches)
            candidate.failure = f"{type(error).__name__}: {error}"
            self._metrics.models.lost.labels(md5, "failed").inc(len(batches))
            return
        total += candidate.by_baseline.get(baseline, RunningDiff())
        candidate.by_baseline = candidate.by_baseline | {baseline: total}
