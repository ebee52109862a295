"""Micro-batching: requests that arrive together share one run of features and model, and one journal commit.

A run has a fixed cost of some 70 µs, and each of its steps finds the processor's caches as the others left them. A
group has no timer: it closes at the first turn of the event loop that adds no request, or, while the journal writes,
when that write ends.
"""

import asyncio

from litestar.types import HTTPScope

from api.inference.group_commit import request_origin
from api.inference.served_model import PredictionResult
from api.inference.service import Service
from batchyield.journal.outcomes import OutcomeSource
from batchyield.journal.records import MAX_PART_BATCHES, split_request
from batchyield.plant.batch import Batch

MAX_GROUP_ROWS = MAX_PART_BATCHES
"""Batches that close a group, some 8 ms of work; a larger request is answered alone. A part of the journal."""


class _Waiting:
    """A request of a group; `done` ends with None, a journal error or the exception of the request."""

    __slots__ = ("answered", "batches", "body", "done", "teller")

    def __init__(
        self, batches: list[Batch], body: bytes, teller: OutcomeSource, done: asyncio.Future[Exception | None]
    ) -> None:
        self.batches, self.body, self.teller, self.done = batches, body, teller, done
        self.answered: PredictionResult

    def fail(self, error: Exception) -> None:
        if not self.done.done():  # else its request was cancelled
            self.done.set_exception(error)


class MicroBatcher:
    """Collects requests into groups and answers each group in one run.

    Args:
        service: predicts, and keeps the journal.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._waiting: list[_Waiting] = []
        self._batches = 0

    async def answer(self, batches: list[Batch], body: bytes, scope: HTTPScope) -> PredictionResult:
        """Return the answer to a request of at most `MAX_GROUP_ROWS` batches in JSON, once it is in the journal.

        Raises:
            ArtifactError: a prediction is not a finite number.
            RequestError: the answer could not be journalled.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(batches, body, request_origin(scope), loop.create_future())
        self._waiting.append(waiting)
        self._batches += len(batches)
        if len(self._waiting) == 1:
            loop.call_soon(self._gather, 0)
        error = await waiting.done
        self._service.journal.settle(waiting.answered, error)
        return waiting.answered

    def _gather(self, seen: int) -> None:
        if self._batches < MAX_GROUP_ROWS:
            if seen < len(self._waiting):  # others may be about to be read
                asyncio.get_running_loop().call_soon(self._gather, len(self._waiting))
                return
            if self._service.journal.after_writing(self._answer_group):
                return
        self._answer_group()

    def _answer_group(self) -> None:
        taken = batches = 0
        while taken < len(self._waiting) and batches < MAX_GROUP_ROWS:
            batches += len(self._waiting[taken].batches)
            taken += 1
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._batches -= batches
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._answer_group)
        self._answer(group)

    def _answer(self, group: list[_Waiting]) -> None:
        try:
            batches = [batch for one in group for batch in one.batches]
            serving, predictions = self._service.predict(batches, "json")
        except Exception as error:
            if len(group) == 1:
                group[0].fail(error)
            else:  # each by itself, so that only those fail that cannot be answered
                for one in group:
                    self._answer([one])
            return
        first = 0
        for one in group:
            last = first + len(one.batches)
            own = predictions[first:last]
            first = last
            try:
                kept = split_request(one.batches, own, one.body)
                one.answered = PredictionResult(serving, one.batches, own, "json", kept)
                self._service.journal.submit(one.answered, kept[0], one.teller, one.done)
            except Exception as error:
                one.fail(error)
