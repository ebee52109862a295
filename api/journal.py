"""Every answer is in the journal before it leaves: the group commit between the routes and the journal's one writer.

A request hands its answer over and waits; a thread writes all that waits in one transaction and wakes those it belongs
to. While one transaction is on its way the next group gathers, so that a commit costs the less the busier the service.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar.types import HTTPScope

from api.metrics import Metrics
from api.problems import BUSY, JOURNAL_OFF, NOT_JOURNALLED, RequestError
from api.settings import Settings
from api.upkeep import Upkeep
from batchyield.errors import AwayError, SetupError
from batchyield.journal.append import Appender, appender
from batchyield.journal.entry import Entry, Pin
from batchyield.journal.outcomes import Teller
from batchyield.journal.store import Store
from batchyield.journal.upgrade import prepare

if TYPE_CHECKING:
    from api.service import Answered

logger = logging.getLogger("batchyield.journal")

LARGEST_GROUP = 10_000
"""Rows of one transaction, and of one request at the most."""

PAUSE_SECONDS = 0.25
"""After a failure nothing is tried for so long: a database which is away costs no request a timeout of its own."""

RETRY_AFTER = {"retry-after": "2"}


class _Waiting(NamedTuple):
    entry: Entry
    done: "asyncio.Future[Exception | None]"


class Journal:
    """The journal as the routes see it; writes nothing where the settings say that there is none.

    Raises:
        SetupError: the settings name no database that can hold one.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        url = settings.journal_url
        self._store = None if url is None else Store(url, settings.journal_sync)
        self._settings, self._metrics = settings, metrics
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._rows = 0
        self._upkeep = None if self._store is None else Upkeep(self._store, settings)
        self._thread: threading.Thread | None = None
        self._appender: Appender | None = None
        self._failure: tuple[float, Exception] | None = None

    @property
    def store(self) -> Store:
        """What the journal is kept in.

        Raises:
            RequestError: the service keeps none.
        """
        if self._store is None:
            raise RequestError(JOURNAL_OFF, "the service keeps no journal; its operator sets BATCHYIELD_JOURNAL")
        return self._store

    @property
    def on(self) -> bool:
        return self._store is not None

    def admit(self) -> None:
        """Lets a request in whose answer can be journalled soon.

        Raises:
            RequestError: as many rows wait as may.
        """
        if self._rows >= self._settings.journal_queue and self._settings.journal_required:
            raise RequestError(BUSY, f"{self._rows} answers wait for the journal", headers=RETRY_AFTER)

    async def record(self, answered: "Answered", scope: HTTPScope) -> None:
        """Returns once the answer is in the journal, or is counted as one that is not, where the settings allow that.

        Raises:
            RequestError: it could not be written.
        """
        if self._store is None:
            return
        size = len(answered.batches)
        if self._rows >= self._settings.journal_queue and not self._settings.journal_required:
            self._metrics.not_journalled(size, answered=True)
            return
        teller, pin = teller_of(scope), answered.serving.pin
        named = Pin(pin.version, pin.revision, pin.md5)
        entry = Entry(*teller, answered.form, named, answered.batches, answered.predictions)
        done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
            self._thread.start()
        self._rows += size
        self._queue.put(_Waiting(entry, done))
        if await done is None:
            return
        self._metrics.not_journalled(size, answered=not self._settings.journal_required)
        if self._settings.journal_required:
            detail = "the journal cannot be written, and what is not journalled is not answered; send it again later"
            raise RequestError(NOT_JOURNALLED, detail, headers=RETRY_AFTER)

    def close(self) -> None:
        """Writes what still waits, then gives the database up."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._upkeep is not None:
            self._upkeep.close()
        if self._store is not None:
            self._store.close()

    def start(self) -> None:
        """Begins to look after what the journal already holds."""
        if self._upkeep is not None:
            self._upkeep.start()

    def _write_all(self) -> None:
        more = True
        while more:
            group, more = self._next_group()
            if group:
                outcomes = self._write(group)
                self._settle(group, outcomes)
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        waiting = self._queue.get()
        group: list[_Waiting] = []
        rows = 0
        while waiting is not None:
            group.append(waiting)
            rows += len(waiting.entry.batches)
            if rows >= LARGEST_GROUP:
                return group, True
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                return group, True
        return group, False

    def _write(self, group: Sequence[_Waiting]) -> list[Exception | None]:
        started = time.perf_counter()
        try:
            rows = self._connected().append([waiting.entry for waiting in group])
        except Exception as error:
            if len(group) > 1 and self._is_of_one(error):
                return [self._write([waiting])[0] for waiting in group]
            self._failed(error)
            return [error] * len(group)
        if self._failure is not None:
            logger.warning("the journal is written again")
            self._failure = None
        self._metrics.journalled(rows, time.perf_counter() - started)
        return [None] * len(group)

    def _connected(self) -> Appender:
        if self._failure is not None and time.monotonic() < self._failure[0]:
            raise self._failure[1]
        if self._appender is None:
            prepare(self.store)
            self._appender = appender(self.store)
        return self._appender

    def _is_of_one(self, error: Exception) -> bool:
        """Whether the fault may lie in one of the entries, which then must not take the others with it."""
        return not isinstance(error, (SetupError, OSError, self.store.operational))

    def _failed(self, error: Exception) -> None:
        if self._failure is None:
            logger.error("the journal %s cannot be written: %s", self.store.name, error)
        if self._failure is None or time.monotonic() >= self._failure[0]:
            self._failure = time.monotonic() + PAUSE_SECONDS, error
        self._metrics.journal_failed()
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def _settle(self, group: list[_Waiting], outcomes: list[Exception | None]) -> None:
        loop = group[0].done.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._wake, group, outcomes)

    def _wake(self, group: list[_Waiting], outcomes: list[Exception | None]) -> None:
        for (entry, done), outcome in zip(group, outcomes, strict=True):
            self._rows -= len(entry.batches)
            if not done.done():  # else its request was cancelled
                done.set_result(outcome)
        self._metrics.journal_waits(self._rows)


def teller_of(scope: Any) -> Teller:
    """When it is, and who asks."""
    state = scope["state"]
    return Teller(time.time_ns() // 1000, state.get("request_id", ""), state.get("caller", ""))


def prepare_journal(settings: Settings) -> None:
    """Makes sure before the service starts that its journal can be written.

    Raises:
        SetupError: it cannot, or has another schema than this code. Where the journal is not required, a database that
            is away is no reason.
    """
    url = settings.journal_url
    if url is None:
        return
    store = Store(url, settings.journal_sync)
    try:
        prepare(store)
    except AwayError as error:
        if settings.journal_required:
            raise
        logger.warning("%s", error)
    finally:
        store.close()
