"""Micro-batching: concurrent requests share one run of features and model, and one commit of the journal.

A run has a fixed cost of some 70 µs, and each of its steps finds the processor caches filled by the others. There is no
timer: a group closes when an iteration of the event loop adds no request or, while the journal writes, when that commit
ends.
"""

import asyncio

from litestar.types import HTTPScope

from api.inference.group_commit import Done, request_source
from api.inference.served_model import PredictionResult
from api.inference.service import Service
from batchyield.journal.outcomes import OutcomeSource
from batchyield.journal.records import MAX_PART_BATCHES, split_request
from batchyield.plant.batch import Batch

MAX_GROUP_ROWS = MAX_PART_BATCHES
"""Rows that close a group, some 8 ms of work and one part of the journal."""

MAX_REQUEST_ROWS = 32
"""Rows of the largest request that joins a group. A larger one gains more if it is predicted while its rows, just
decoded, are in the processor's cache."""


class _PendingRequest:
    """A request of a group; `done` ends with None, an error of the journal, or the exception of the request."""

    __slots__ = ("batches", "body", "done", "result", "source")

    def __init__(self, batches: list[Batch], body: bytes, source: OutcomeSource, done: Done) -> None:
        self.batches, self.body, self.source, self.done = batches, body, source, done
        self.result: PredictionResult

    def fail(self, error: Exception) -> None:
        if not self.done.done():  # else it was cancelled
            self.done.set_exception(error)


class MicroBatcher:
    """Collects requests into groups and predicts each group in one run. Used from the event loop only."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pending: list[_PendingRequest] = []
        self._rows = 0

    async def predict(self, batches: list[Batch], body: bytes, scope: HTTPScope) -> PredictionResult:
        """Return the predictions of a JSON request of a few batches, once they are journalled.

        Raises:
            ArtifactError: a prediction is not a finite number.
            RequestError: the predictions could not be journalled.
        """
        loop = asyncio.get_running_loop()
        pending = _PendingRequest(batches, body, request_source(scope), loop.create_future())
        self._pending.append(pending)
        self._rows += len(batches)
        if len(self._pending) == 1:
            loop.call_soon(self._close_group, 0)
        error = await pending.done
        self._service.journal.check_written(pending.result, error)
        return pending.result

    def _close_group(self, requests_before: int) -> None:
        """Predict the group, unless the last iteration of the event loop added requests or the journal writes."""
        if self._rows < MAX_GROUP_ROWS:
            if requests_before < len(self._pending):
                asyncio.get_running_loop().call_soon(self._close_group, len(self._pending))
                return
            if self._service.journal.call_after_commit(self._predict_group):
                return
        self._predict_group()

    def _predict_group(self) -> None:
        count = rows = 0
        while count < len(self._pending) and rows < MAX_GROUP_ROWS:
            rows += len(self._pending[count].batches)
            count += 1
        group, self._pending = self._pending[:count], self._pending[count:]
        self._rows -= rows
        if self._pending:
            asyncio.get_running_loop().call_soon(self._predict_group)
        self._predict(group)

    def _predict(self, group: list[_PendingRequest]) -> None:
        try:
            batches = [batch for pending in group for batch in pending.batches]
            model, predictions = self._service.predict(batches, "json")
        except Exception as error:
            if len(group) == 1:
                group[0].fail(error)
            else:  # one by one, so that only the requests fail whose batches cause the error
                for pending in group:
                    self._predict([pending])
            return
        first = 0
        for pending in group:
            last = first + len(pending.batches)
            own = predictions[first:last]
            first = last
            try:
                parts = split_request(pending.batches, own, pending.body)
                pending.result = PredictionResult(model, pending.batches, own, "json", parts)
                self._service.journal.submit(pending.result, parts[0], pending.source, pending.done)
            except Exception as error:
                pending.fail(error)
