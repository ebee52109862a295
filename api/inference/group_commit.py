"""Group commit: predictions are in the journal before their response is sent, many requests in one transaction.

A request submits its predictions and waits. What one iteration of the event loop submitted goes to a writer thread as a
group, which writes it in one transaction; meanwhile the next group collects. The busier the service, the larger the
groups and the cheaper each commit.

A request that is alone in the process has nobody to share with, and waking a thread for it costs as much as the commit.
It is committed in the event loop's thread if that cannot wait: in SQLite, without a sync to the disk, while no other
connection writes and the last such commits were quick.
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

from api.http.uvicorn_protocol import RUNNING_TASKS
from api.inference.journal_maintenance import JournalMaintenance
from api.inference.served_model import PredictionResult
from api.problems import BUSY, JOURNAL_OFF, NOT_JOURNALLED, RequestError
from api.settings import Settings
from api.telemetry.metrics import Metrics
from batchyield.errors import DatabaseUnavailableError
from batchyield.journal.database import SERVICE_TIMEOUT_MS, Database
from batchyield.journal.insert import AlreadyRecordedError, BusyError, JournalWriter
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.outcomes import OutcomeSource
from batchyield.journal.records import MAX_PART_BATCHES, JournalEntry, RequestPart

logger = logging.getLogger("batchyield.journal")

RETRY_AFTER = {"retry-after": "2"}

SWITCH_SECONDS = 0.001
"""How long a thread with a large body may hold the interpreter lock while the writer and the event loop wait for it,
several times per group; with Python's 5 ms, small requests beside a large one take twice as long."""

MAX_AT_ONCE_ROWS = 32
"""Rows that the event loop's thread commits, in some 0.1 ms. More are predicted in groups while the journal writes."""

SLOW_SECONDS, SLOW_PAUSES = 0.005, 20
"""Time of a commit in the event loop after which the next ones go to the writer thread, for so many times as long."""

_QUEUE_FULL = DatabaseUnavailableError(
    "the queue of the journal is full", "see `batchyield_journal_waiting_rows` in /metrics"
)

Done = asyncio.Future[Exception | None]


class _Submitted(NamedTuple):
    entry: JournalEntry
    done: Done


Group = list[_Submitted]


class GroupCommitJournal:
    """The journal of the service; without one in the settings, nothing is written.

    Raises:
        ConfigError: the settings name no usable database.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        url = settings.journal_url
        self._settings, self._metrics = settings, metrics
        self._database = database = None if url is None else Database(url, settings.journal_sync, SERVICE_TIMEOUT_MS)
        if database is not None:
            self._maintenance = JournalMaintenance(database, settings)
            self._writer = JournalWriter(database, metrics.group_committed, metrics.journal_failures.inc)
        self._groups: SimpleQueue[Group | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._collecting: Group = []
        self._writing = False
        self._after_commit: Callable[[], None] | None = None
        self._waiting_rows = 0
        self._at_once = database is not None and database.embedded and settings.journal_sync == "normal"
        self._at_once_from = 0.0

    @property
    def enabled(self) -> bool:
        """Whether the settings name a journal."""
        return self._database is not None

    @property
    def database(self) -> Database:
        """The journal's database.

        Raises:
            RequestError: the service has no journal.
        """
        if self._database is None:
            raise RequestError(JOURNAL_OFF, "the service keeps no journal; its operator sets BATCHYIELD_JOURNAL")
        return self._database

    @property
    def _full(self) -> bool:
        return self._waiting_rows >= self._settings.journal_queue

    def check_capacity(self) -> None:
        """Raise a RequestError if the queue is full and predictions must be journalled."""
        if self._full and self._settings.journal_required:
            detail = f"{self._waiting_rows} predictions wait for the journal; retry in 2 s"
            raise RequestError(BUSY, detail, headers=RETRY_AFTER)

    async def record(self, result: PredictionResult, scope: HTTPScope) -> None:
        """Write a result part by part; return once it is committed, or counted as not journalled if settings allow.

        Raises:
            RequestError: the result could not be written.
        """
        if self._database is None:
            return
        source, loop = request_source(scope), asyncio.get_running_loop()
        if is_alone(scope) and self._record_at_once(result, source):
            return
        for part in result.parts:
            done: Done = loop.create_future()
            self.submit(result, part, source, done)
            if not self.check_written(result, await done, part.first):
                return

    async def record_once(self, result: PredictionResult, scope: HTTPScope, key: str) -> bool:
        """Do as `record`, in one transaction; return False, with nothing written, if `key` is in the journal."""
        source, done = request_source(scope), asyncio.get_running_loop().create_future()
        for part in result.parts:
            self.submit(result, part, source, done, key)
            if done.done():
                break
        error = await done
        if isinstance(error, AlreadyRecordedError):
            return False
        self.check_written(result, error)
        return True

    def submit(
        self, result: PredictionResult, part: RequestPart, source: OutcomeSource, done: Done, key: str | None = None
    ) -> None:
        """Queue a part of a result; `done` ends with None once it is committed, or with the error."""
        refused = part.first == 0 and self._full and not self._settings.journal_required
        if self._database is None or refused:
            if not done.done():  # else its request was cancelled
                done.set_result(_QUEUE_FULL if refused else None)
            return
        self._waiting_rows += len(part.ids)
        entry = JournalEntry(*source, result.form, result.model.journal_pin, part, key)
        self._collecting.append(_Submitted(entry, done))
        if not self._writing:
            self._writing = True
            done.get_loop().call_soon(self._wait_for_more, 0)

    def call_after_commit(self, call: Callable[[], None]) -> bool:
        """Call `call` when the running commit ends; return False if none is running. Holds one call at a time."""
        if self._writing:
            self._after_commit = call
        return self._writing

    def check_written(self, result: PredictionResult, error: Exception | None, first: int = 0) -> bool:
        """Return whether the batches from `first` on were committed, given the error of `submit`; count lost ones.

        Raises:
            RequestError: they were not, and the settings require it.
        """
        if error is None:
            return True
        required = self._settings.journal_required
        self._metrics.not_journalled.labels("false" if required else "true").inc(result.rows - first)
        if required:
            raise RequestError(NOT_JOURNALLED, NOT_JOURNALLED.detail, headers=RETRY_AFTER)
        return False

    def start(self) -> None:
        """Start the writer and the maintenance threads."""
        if self._database is not None:
            sys.setswitchinterval(SWITCH_SECONDS)
            self._thread = threading.Thread(target=self._write_groups, name="journal", daemon=True)
            self._thread.start()
            self._maintenance.start()

    def close(self) -> None:
        """Write what is queued, then close the database."""
        if self._database is None or self._thread is None:
            return
        self._groups.put(None)
        self._thread.join()
        self._maintenance.close()
        self._thread = None
        self._writer.close()
        self._database.close()

    def _record_at_once(self, result: PredictionResult, source: OutcomeSource) -> bool:
        """Commit a result in this thread; return False, with nothing written, if that would have to wait.

        Raises:
            RequestError: the result could not be written.
        """
        if self._writing or len(result.parts) != 1:
            return False
        entry = JournalEntry(*source, result.form, result.model.journal_pin, result.parts[0])
        errors = self._write_at_once([entry], result.rows)
        if errors is None:
            return False
        self.check_written(result, errors[0])
        return True

    def _write_at_once(self, entries: list[JournalEntry], rows: int) -> list[Exception | None] | None:
        """Commit entries in this thread, as the writer does; return None, with nothing written, if it would wait."""
        started = time.perf_counter()
        if not self._at_once or rows > MAX_AT_ONCE_ROWS or started < self._at_once_from or not self._writer.ready:
            return None
        try:
            errors = self._writer.write(entries, wait=False)
        except BusyError:
            return None
        if (seconds := time.perf_counter() - started) > SLOW_SECONDS:
            self._at_once_from = started + seconds * SLOW_PAUSES
        return errors

    def _wait_for_more(self, entries_before: int) -> None:
        """Close the group, unless the last iteration of the event loop added entries."""
        if entries_before < len(self._collecting) and self._waiting_rows < MAX_PART_BATCHES:
            self._collecting[0].done.get_loop().call_soon(self._wait_for_more, len(self._collecting))
        else:
            self._close_group()

    def _close_group(self) -> None:
        group, self._collecting = self._collecting, []
        if self._thread is None:
            self.start()
        entries = [submitted.entry for submitted in group]
        errors = self._write_at_once(entries, sum(len(entry.part.ids) for entry in entries))
        if errors is None:
            self._groups.put(group)
        else:
            self._finish_group(group, errors)

    def _write_groups(self) -> None:
        while (group := self._groups.get()) is not None:
            errors = self._writer.write([submitted.entry for submitted in group])
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it all requests
                group[0].done.get_loop().call_soon_threadsafe(self._finish_group, group, errors)
            del group, errors  # frees the memory before the next group arrives

    def _finish_group(self, group: Group, errors: list[Exception | None]) -> None:
        for (entry, done), error in zip(group, errors, strict=True):
            self._waiting_rows -= len(entry.part.ids)
            if not done.done():  # else its request was cancelled
                done.set_result(error)
        self._metrics.journal_waiting.set(self._waiting_rows)
        if self._collecting:
            self._close_group()
        else:
            self._writing = False
        if self._after_commit is not None:
            call, self._after_commit = self._after_commit, None
            call()


def is_alone(scope: HTTPScope) -> bool:
    """Return whether no other request is in this process; False if the server does not tell."""
    return len(scope["state"].get(RUNNING_TASKS, ())) == 1


def request_source(scope: Any) -> OutcomeSource:
    """Return the time, the request id and the caller of a request, as the journal stores them."""
    state = scope["state"]
    return OutcomeSource(time.time_ns() // 1000, state.get("request_id", ""), state.get("caller", ""))


def prepare_journal(settings: Settings) -> None:
    """Check before the service starts that its journal can be written; create it if missing.

    Raises:
        JournalError: it has another schema than this code.
        DatabaseUnavailableError: its database is unavailable, and the settings require the journal.
    """
    url = settings.journal_url
    if url is None:
        return
    database = Database(url, settings.journal_sync, SERVICE_TIMEOUT_MS)
    try:
        ensure_schema(database)
    except DatabaseUnavailableError as error:
        if settings.journal_required:
            raise
        logger.warning("%s", error)
    finally:
        database.close()
