"""Commits in the event loop: of a request that is alone, while nothing makes it wait."""

import asyncio
import sqlite3
import threading

import pytest
from support.journal_database import rows_of
from support.service import REVISION, batches, make_checkout

from api.http.uvicorn_protocol import RUNNING_TASKS
from api.inference import group_commit
from api.inference.hot_swap import open_pinned
from api.inference.service import Service
from api.problems import RequestError
from api.settings import Settings
from batchyield.journal.records import encode_inputs

LOOP, WRITER = "MainThread", "journal"


class Alone:
    """A service whose requests come one at a time.

    Attributes:
        threads: which thread made each commit.
    """

    def __init__(self, root, **settings):
        lock, journal = str(make_checkout(root) / "dvc.lock"), str(root / "journal.sqlite")
        settings = Settings(lock=lock, revision=REVISION, journal=journal, **settings)
        self.service, self.threads = Service(settings, open_pinned(settings)), []
        count = self.service.metrics.group_committed

        def committed(rows, seconds):
            self.threads.append(threading.current_thread().name)
            count(rows, seconds)

        self.service.metrics.group_committed = committed
        self.service.journal = group_commit.GroupCommitJournal(settings, self.service.metrics)

    async def send(self, rows=1, others=()):
        sent = batches(rows)
        result = self.service.predict_json(sent, encode_inputs(sent))
        await self.service.journal.record(result, {"state": {RUNNING_TASKS: {asyncio.current_task(), *others}}})

    def run(self, requests):
        try:
            asyncio.run(requests())
        finally:
            self.service.journal.close()


@pytest.fixture
def alone(tmp_path, monkeypatch):
    monkeypatch.setattr(group_commit, "SLOW_SECONDS", 60.0)  # however busy the machine is
    return Alone(tmp_path)


def test_alone(alone, tmp_path):
    """The writer thread opens the journal; then requests that are alone and small are committed by the event loop."""

    async def requests():
        for rows in (1, 1, 2, group_commit.MAX_AT_ONCE_ROWS + 1, 1):
            await alone.send(rows)

    alone.run(requests)
    assert alone.threads == [WRITER, LOOP, LOOP, WRITER, LOOP]
    rows = rows_of(tmp_path / "journal.sqlite")
    assert len(rows) == 1 + 1 + 2 + group_commit.MAX_AT_ONCE_ROWS + 1 + 1


def test_small_group(alone, tmp_path):
    """Requests that came together are committed together, in the event loop if they are few."""

    async def requests():
        await alone.send()
        await asyncio.gather(*(alone.send(others=["another"]) for _ in range(5)))
        await asyncio.gather(*(alone.send(20, others=["another"]) for _ in range(2)))

    alone.run(requests)
    assert alone.threads == [WRITER, LOOP, WRITER]
    assert len(rows_of(tmp_path / "journal.sqlite")) == 1 + 5 + 40


def test_one_iteration_after_the_other(alone, tmp_path):
    """Requests that arrive in consecutive iterations of the event loop are committed together."""

    async def send_after(iterations):
        for _ in range(iterations):
            await asyncio.sleep(0)
        await alone.send(40, others=["another"])

    async def requests():
        await alone.send()
        await asyncio.gather(*map(send_after, range(5)))

    alone.run(requests)
    assert alone.threads == [WRITER, WRITER]
    assert len(rows_of(tmp_path / "journal.sqlite")) == 1 + 200


def test_another_writer(alone, tmp_path):
    """While another process writes, the event loop goes on; the request is committed once that has ended."""

    async def requests():
        await alone.send()
        other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(alone.send())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        other.execute("COMMIT")
        other.close()
        await waiting
        await alone.send()

    alone.run(requests)
    assert alone.threads == [WRITER, WRITER, LOOP]
    assert len(rows_of(tmp_path / "journal.sqlite")) == 3


def test_slow_disk(alone, monkeypatch):
    """After a slow commit in the event loop, the next ones are made by the writer thread."""
    monkeypatch.setattr(group_commit, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(group_commit, "SLOW_PAUSES", 1e9)

    async def requests():
        for _ in range(4):
            await alone.send()

    alone.run(requests)
    assert alone.threads == [WRITER, LOOP, WRITER, WRITER]


def test_synchronous_disk(tmp_path):
    """A journal that waits for the disk is never written by the event loop."""
    alone = Alone(tmp_path, journal_sync="full")

    async def requests():
        for _ in range(3):
            await alone.send()

    alone.run(requests)
    assert alone.threads == [WRITER] * 3


def test_removed_file(alone, tmp_path):
    """A journal whose file was removed is not written; the request fails."""

    async def requests():
        await alone.send()
        (tmp_path / "journal.sqlite").unlink()
        with pytest.raises(RequestError):
            await alone.send()

    alone.run(requests)
    assert alone.threads == [WRITER]
