"""Small requests that come together are answered together: one run of the model, one journal group.

Features and model cost 70 µs a run and 12 more for each row, and a journal group is dear too, so that company makes a
row cheaper. Nobody waits for it by the clock: a group closes at the first turn of the event loop that brings no other
request, and while the journal writes, which none of them could overtake, it stays open.
"""

import asyncio

from litestar.types import HTTPScope

from api.journal import teller_of
from api.service import Answered, Service
from batchyield.batch import Batch
from batchyield.journal.entry import parts
from batchyield.journal.outcomes import Teller

MOST_BATCHES = 16
"""Of a request that is answered with others; for more, company saves too little to be worth the others' time."""

MOST_TOGETHER = 256
"""Batches that close a group, so that it does not hold the event loop up for long."""


class _Asked:
    """A request, and its answer once there is one; `done` is what `Journal.submit` makes of it."""

    __slots__ = ("answered", "batches", "body", "done", "teller")

    def __init__(
        self, batches: list[Batch], body: bytes, teller: Teller, done: asyncio.Future[Exception | None]
    ) -> None:
        self.batches, self.body, self.teller, self.done = batches, body, teller, done
        self.answered: Answered


class Turns:
    """What the requests of a group ask for.

    Args:
        service: predicts, and keeps the journal.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._asked: list[_Asked] = []
        self._batches = 0

    async def answer(self, batches: list[Batch], body: bytes, scope: HTTPScope) -> Answered:
        """The answer to a request of at most `MOST_BATCHES` in JSON, once it is in the journal.

        Raises:
            ArtifactError: the model answered with something that is not a number.
            RequestError: the answer could not be journalled.
        """
        loop = asyncio.get_running_loop()
        asked = _Asked(batches, body, teller_of(scope), loop.create_future())
        self._asked.append(asked)
        self._batches += len(batches)
        if len(self._asked) == 1:
            loop.call_soon(self._gather, 0)
        error = await asked.done
        self._service.journal.settle(asked.answered, error)
        return asked.answered

    def _gather(self, seen: int) -> None:
        if self._batches < MOST_TOGETHER:
            if seen < len(self._asked):  # others may be about to be read
                asyncio.get_running_loop().call_soon(self._gather, len(self._asked))
                return
            if self._service.journal.after_writing(self._answer_all):
                return
        self._answer_all()

    def _answer_all(self) -> None:
        taken = batches = 0
        while taken < len(self._asked) and batches < MOST_TOGETHER:
            batches += len(self._asked[taken].batches)
            taken += 1
        asked, self._asked = self._asked[:taken], self._asked[taken:]
        self._batches -= batches
        if self._asked:
            asyncio.get_running_loop().call_soon(self._answer_all)
        self._answer(asked)

    def _answer(self, asked: list[_Asked]) -> None:
        try:
            batches = [batch for one in asked for batch in one.batches]
            serving, predictions = self._service.predict(batches, "json")
        except Exception as error:
            if len(asked) == 1:
                if not asked[0].done.done():  # else its request was cancelled
                    asked[0].done.set_exception(error)
            else:  # one fails alone
                for one in asked:
                    self._answer([one])
            return
        first = 0
        for one in asked:
            last = first + len(one.batches)
            said = predictions[first:last]
            first = last
            kept = parts(one.batches, said, one.body)
            one.answered = Answered(serving, one.batches, said, "json", kept)
            self._service.journal.submit(one.answered, kept[0], one.teller, one.done)
