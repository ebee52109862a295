"""Small requests that came in one turn of the event loop, answered together: one run of the model, one journal group.

A run of the model costs 20 µs and 10 more for each row, so that company makes a row cheaper. Nobody waits for it: what
is there when the loop comes round again is what goes.
"""

import asyncio

from litestar.types import HTTPScope

from api.journal import teller_of
from api.service import Answered, Service
from batchyield.batch import Batch
from batchyield.journal.outcomes import Teller

MOST_BATCHES = 16
"""Of a request that is answered with others; for more, company saves too little to be worth the others' time."""


class _Asked:
    """A request, and its answer once there is one; `done` is what `Journal.submit` makes of it."""

    __slots__ = ("answered", "batches", "done", "teller")

    def __init__(self, batches: list[Batch], teller: Teller, done: asyncio.Future[Exception | None]) -> None:
        self.batches, self.teller, self.done = batches, teller, done
        self.answered: Answered


class Turns:
    """What the requests of one turn ask for.

    Args:
        service: predicts, and keeps the journal.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._asked: list[_Asked] = []

    async def answer(self, batches: list[Batch], scope: HTTPScope) -> Answered:
        """The answer to a JSON request of at most `MOST_BATCHES`, once it is in the journal.

        Raises:
            ArtifactError: the model answered with something that is not a number.
            RequestError: the answer could not be journalled.
        """
        loop = asyncio.get_running_loop()
        asked = _Asked(batches, teller_of(scope), loop.create_future())
        self._asked.append(asked)
        if len(self._asked) == 1:
            loop.call_soon(self._answer_all)
        error = await asked.done
        self._service.journal.settle(asked.answered, error)
        return asked.answered

    def _answer_all(self) -> None:
        asked, self._asked = self._asked, []
        self._answer(asked)

    def _answer(self, asked: list[_Asked]) -> None:
        try:
            together = self._service.predict([batch for one in asked for batch in one.batches], "json")
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
            one.answered = Answered(together.serving, one.batches, together.predictions[first:last], "json")
            first = last
            self._service.journal.submit(one.answered, one.teller, one.done)
