"""Every answer is in the journal before it leaves: the group commit between the routes and the journal's one writer.

A request hands its answer over and waits. What one turn of the event loop gathered goes to a thread that writes it in
one transaction; meanwhile the next group gathers, so that a commit costs the less the busier the service is.
"""

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from litestar.types import HTTPScope

from api.inference.journal_maintenance import JournalMaintenance
from api.inference.served_model import PredictionResult
from api.problems import BUSY, JOURNAL_OFF, NOT_JOURNALLED, RequestError
from api.settings import Settings
from api.telemetry.metrics import Metrics
from batchyield.errors import DatabaseUnavailableError
from batchyield.journal.database import SERVICE_TIMEOUT_MS, Database
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.outcomes import OutcomeSource
from batchyield.journal.records import JournalEntry, RequestPart
from batchyield.journal.writer import JournalWriter

logger = logging.getLogger("batchyield.journal")

RETRY_AFTER = {"retry-after": "2"}

REFUSAL = "the journal cannot be written, and what is not journalled is not answered; send it again later"

SWITCH_SECONDS = 0.001
"""How long a thread that works on a large body may keep the interpreter from the writer and the event loop, which each
wait for it several times a group; at Python's 5 ms, small requests beside a large one take twice as long."""


_FULL = DatabaseUnavailableError(
    "as many rows wait for the journal as may", "see `batchyield_journal_waiting_rows` in /metrics"
)


class _Waiting(NamedTuple):
    entry: JournalEntry
    done: "asyncio.Future[Exception | None]"


Group = list[_Waiting]


class Journal:
    """The journal as the routes see it; writes nothing where the settings say that there is none.

    Raises:
        SetupError: the settings name no database that can hold one.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        url = settings.journal_url
        self._settings, self._metrics = settings, metrics
        self._store = store = None if url is None else Database(url, settings.journal_sync, SERVICE_TIMEOUT_MS)
        if store is not None:
            self._upkeep = JournalMaintenance(store, settings)
            self._writer = JournalWriter(store, metrics.journalled, metrics.journal_failed)
        self._groups: SimpleQueue[Group | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._gathered: Group = []
        self._writing = False
        self._next: Callable[[], None] | None = None
        self._rows = 0

    @property
    def kept(self) -> bool:
        """Whether there is one."""
        return self._store is not None

    @property
    def store(self) -> Database:
        """What the journal is kept in.

        Raises:
            RequestError: the service keeps none.
        """
        if self._store is None:
            raise RequestError(JOURNAL_OFF, "the service keeps no journal; its operator sets BATCHYIELD_JOURNAL")
        return self._store

    def admit(self) -> None:
        """Lets a request in whose answer can be journalled soon.

        Raises:
            RequestError: as many rows wait as may.
        """
        if self._rows >= self._settings.journal_queue and self._settings.journal_required:
            raise RequestError(BUSY, f"{self._rows} answers wait for the journal", headers=RETRY_AFTER)

    async def record(self, answered: PredictionResult, scope: HTTPScope) -> None:
        """Returns once the answer is in the journal, or is counted as one that is not, where the settings allow that.

        Raises:
            RequestError: it could not be written.
        """
        if self._store is None:
            return
        teller, loop = request_origin(scope), asyncio.get_running_loop()
        for part in answered.parts:
            done: asyncio.Future[Exception | None] = loop.create_future()
            self.submit(answered, part, teller, done)
            if not self.settle(answered, await done, part.first):
                return

    def submit(
        self,
        answered: PredictionResult,
        part: RequestPart,
        teller: OutcomeSource,
        done: "asyncio.Future[Exception | None]",
    ) -> None:
        """Has a part of the answer written; `done` tells None once it is, else what was in the way."""
        refused = part.first == 0 and self._rows >= self._settings.journal_queue and not self._settings.journal_required
        if self._store is None or refused:
            if not done.done():  # else its request was cancelled
                done.set_result(_FULL if refused else None)
            return
        self._rows += len(part.ids)
        self._gathered.append(_Waiting(JournalEntry(*teller, answered.form, answered.serving.journal_pin, part), done))
        if not self._writing:
            self._writing = True
            done.get_loop().call_soon(self._hand_over)

    def after_writing(self, call: Callable[[], None]) -> bool:
        """Whether a group is being written; `call` is then made when it is. One at a time can wait so."""
        if self._writing:
            self._next = call
        return self._writing

    def settle(self, answered: PredictionResult, error: Exception | None, first: int = 0) -> bool:
        """Whether the batches from `first` on are written, as `submit` told; counts those that are not.

        Raises:
            RequestError: they are not, and must be.
        """
        if error is None:
            return True
        required = self._settings.journal_required
        self._metrics.not_journalled(len(answered.batches) - first, answered=not required)
        if required:
            raise RequestError(NOT_JOURNALLED, REFUSAL, headers=RETRY_AFTER)
        return False

    def start(self) -> None:
        """Begins to write, and to look after what the journal holds already."""
        if self._store is not None:
            sys.setswitchinterval(SWITCH_SECONDS)
            self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
            self._thread.start()
            self._upkeep.start()

    def close(self) -> None:
        """Writes what still waits, then gives the database up."""
        if self._store is None or self._thread is None:
            return
        self._groups.put(None)
        self._thread.join()
        self._upkeep.close()
        self._thread = None
        self._writer.close()
        self._store.close()

    def _hand_over(self) -> None:
        group, self._gathered = self._gathered, []
        if self._thread is None:
            self.start()
        self._groups.put(group)

    def _write_all(self) -> None:
        while (group := self._groups.get()) is not None:
            outcomes = self._writer.write([waiting.entry for waiting in group])
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waits
                group[0].done.get_loop().call_soon_threadsafe(self._wake, group, outcomes)
            del group, outcomes  # not to be held until the next one comes

    def _wake(self, group: Group, outcomes: list[Exception | None]) -> None:
        for (entry, done), outcome in zip(group, outcomes, strict=True):
            self._rows -= len(entry.part.ids)
            if not done.done():  # else its request was cancelled
                done.set_result(outcome)
        self._metrics.journal_waits(self._rows)
        if self._gathered:
            self._hand_over()
        else:
            self._writing = False
        if self._next is not None:
            call, self._next = self._next, None
            call()


def request_origin(scope: Any) -> OutcomeSource:
    """When it is, and who asks."""
    state = scope["state"]
    return OutcomeSource(time.time_ns() // 1000, state.get("request_id", ""), state.get("caller", ""))


def prepare_journal(settings: Settings) -> None:
    """Makes sure before the service starts that its journal can be written.

    Raises:
        SetupError: it cannot, or has another schema than this code. Where the journal is not required, a database that
            is away is no reason.
    """
    url = settings.journal_url
    if url is None:
        return
    store = Database(url, settings.journal_sync, SERVICE_TIMEOUT_MS)
    try:
        ensure_schema(store)
    except DatabaseUnavailableError as error:
        if settings.journal_required:
            raise
        logger.warning("%s", error)
    finally:
        store.close()
