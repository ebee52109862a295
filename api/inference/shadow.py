"""A second model that sees the same rows after they were answered, and whose answers nobody gets."""

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
from batchyield.serving.predictor import Predictor
from batchyield.serving.responses import Prediction

logger = logging.getLogger("batchyield.models")

MAX_QUEUED_ROWS = 20_000
"""Batches in the queue: two of the largest requests."""

AT_ONCE = 32
"""Batches between two pauses: about a millisecond of the interpreter, which a reply may need meanwhile."""

REST = 1.0
"""Pause after each part, as a multiple of the time that it took: the shadow never has more than half of a core."""


@dataclass
class ShadowCandidate:
    """A model in the shadow and what it has seen; written by the shadow's own thread alone, but `dropped`."""

    deployment: Deployment
    predictor: Predictor
    by_baseline: dict[str, RunningDiff] = field(default_factory=dict)
    dropped: int = 0
    failed: int = 0
    failure: str = ""

    def seen(self) -> ShadowStats:
        """What it has seen so far."""
        return ShadowStats(self.deployment.md5, dict(self.by_baseline), self.dropped, self.failed, self.failure)

    def inherit(self, seen: ShadowStats) -> None:
        """Takes over what the same shadow saw in a worker that is dead."""
        both = self.seen() + seen
        self.by_baseline, self.dropped = dict(both.by_baseline), both.dropped
        self.failed, self.failure = both.failed, both.failure


class _Rows(NamedTuple):
    candidate: ShadowCandidate
    baseline: str
    batches: Sequence[Batch]
    predictions: Sequence[Prediction]


class Shadow:
    """Rows that were answered, in a bounded queue, and a thread that has the candidate answer them too.

    Attributes:
        candidate: the model in the shadow, where there is one.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.candidate: ShadowCandidate | None = None
        self._metrics = metrics
        self._queue: SimpleQueue[_Rows | None] = SimpleQueue()
        self._handed = self._done = 0  # each written by one thread alone, so that no reply waits for a lock
        self._thread: threading.Thread | None = None

    def take(self, candidate: ShadowCandidate | None) -> None:
        """Has `candidate` see the rows from now on, or nobody."""
        if candidate is not None and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        self.candidate = candidate

    def offer(self, baseline: str, batches: Sequence[Batch], predictions: Sequence[Prediction]) -> None:
        """Hands over what was answered, from the event loop; never waits.

        Args:
            baseline: md5 of the model that answered.
            batches: as they came [n].
            predictions: as they were answered [n].
        """
        candidate = self.candidate
        if candidate is None:
            return
        count = len(batches)
        if self._handed - self._done + count > MAX_QUEUED_ROWS:
            candidate.dropped += count
            self._metrics.models.not_shadowed(candidate.deployment.md5, "dropped", count)
            return
        self._handed += count
        self._queue.put(_Rows(candidate, baseline, batches, predictions))

    def close(self) -> None:
        """Ends the thread once what waits is done, or after a second without it."""
        self.candidate = None
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(1.0)

    def _work(self) -> None:
        while (rows := self._queue.get()) is not None:
            for first in range(0, len(rows.batches), AT_ONCE):
                begun = time.perf_counter()
                part = slice(first, first + AT_ONCE)
                self._compare(rows.candidate, rows.baseline, rows.batches[part], rows.predictions[part])
                self._done += len(rows.batches[part])
                time.sleep((time.perf_counter() - begun) * REST)

    def _compare(
        self, candidate: ShadowCandidate, baseline: str, batches: Sequence[Batch], predictions: Sequence[Prediction]
    ) -> None:
        try:
            answers = candidate.predictor.predict(batches)
            found = running_diff(predictions, answers)
            self._metrics.models.shadowed(
                baseline, candidate.deployment.md5, yield_changes(predictions, answers), found
            )
        except Exception as error:
            if not candidate.failed:
                logger.warning("shadow %s cannot answer: %s", candidate.deployment, error)
            candidate.failed += len(batches)
            candidate.failure = f"{type(error).__name__}: {error}"
            self._metrics.models.not_shadowed(candidate.deployment.md5, "failed", len(batches))
            return
        candidate.by_baseline = candidate.by_baseline | {
            baseline: candidate.by_baseline.get(baseline, RunningDiff()) + found
        }
