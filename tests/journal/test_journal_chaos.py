"""Fault injection: acknowledged predictions are in the journal, and all others were refused."""

import contextlib
import os
import resource
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.journal_database import Load, database, lost, rows_of
from support.service import START_SECONDS, Running

from api.openapi.examples import INPUTS

NOT_JOURNALLED = (503, "not-journalled", True)


@pytest.fixture
def journal(request, tmp_path):
    """A journal's URL, of a file or in a real PostgreSQL."""
    if request.param == "sqlite":
        yield str(tmp_path / "journal.sqlite")
    else:
        with database(request.getfixturevalue("postgres_server")) as url:
            yield url


def workers_of(running):
    """Process ids of the service and its workers."""
    pid = running.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@contextlib.contextmanager
def killed(checkout, *options, **environment):
    """A service that is killed at the end of the block, with all its workers at once."""
    running = Running(checkout, *options, **environment)
    try:
        yield running.__enter__()
    finally:
        for pid in workers_of(running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.process.communicate(timeout=START_SECONDS)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("journal", ["sqlite", "postgres"], indirect=True)
def test_kill_under_load(checkout, journal, workers):
    """A SIGKILL of all processes under load loses no acknowledged prediction."""
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(killed(checkout, "--workers", workers, BATCHYIELD_JOURNAL=journal))
        load = stack.enter_context(Load(running.url, batches=3))
        load.wait_for_more(300)
        for pid in workers_of(running):
            os.kill(pid, signal.SIGKILL)
        load.wait_for(lambda load: load.refusals["gone"] >= 4)
    assert lost(load, journal) == {}
    assert set(load.refusals) == {"gone"}


def test_kill_of_a_lone_caller(checkout, tmp_path):
    """A SIGKILL loses no acknowledged prediction of a caller that is alone, whose commits the event loop makes."""
    journal = str(tmp_path / "journal.sqlite")
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(killed(checkout, BATCHYIELD_JOURNAL=journal))
        load = stack.enter_context(Load(running.url, connections=1, batches=3))
        load.wait_for_more(200)
        os.kill(running.process.pid, signal.SIGKILL)
        load.wait_for(lambda load: load.refusals["gone"] >= 1)
    assert lost(load, journal) == {}
    assert set(load.refusals) == {"gone"}


def test_two_workers(checkout, tmp_path):
    """Two workers write at the same time and stop in order."""
    journal = str(tmp_path / "journal.sqlite")
    with Running(checkout, "--workers", "2", BATCHYIELD_JOURNAL=journal) as running:
        with Load(running.url, connections=6, batches=20) as load:
            load.wait_for_more(200)
        text = running.get("/metrics").text
    assert not load.refusals
    assert lost(load, journal) == {}
    assert len(rows_of(journal)) == 20 * len(load.acknowledged)
    assert f"batchyield_journal_rows_total {20 * len(load.acknowledged)}.0" in text
    assert running.errors == ""


def test_database_restart(checkout, postgres_server):
    """While PostgreSQL is stopped, requests are refused; afterwards writing resumes, and nothing is lost."""
    with database(postgres_server) as journal, Running(checkout, BATCHYIELD_JOURNAL=journal) as running:
        with Load(running.url) as load:
            load.wait_for_more(100)
            postgres_server.stop()
            load.wait_for(lambda load: load.refusals[NOT_JOURNALLED] >= 20)
            assert running.get("/v1/model").status_code == 200
            outcome = {"outcomes": [{"id": "a", "yield": 0.9}]}
            refused = running.post("/v1/outcomes", json=outcome)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            postgres_server.start()
            load.wait_for_more(100)
        assert set(load.refusals) == {NOT_JOURNALLED}
        assert lost(load, journal) == {}
        assert running.post("/v1/outcomes", json=outcome).json()["outcomes"][0]["result"] == "recorded"
        text = running.get("/metrics").text
        refused = load.refusals[NOT_JOURNALLED]
        assert f'batchyield_not_journalled_rows_total{{answered="false"}} {refused}.0' in text
    assert running.output.count("cannot be written") == 1
    assert "is written again" in running.output
    assert "Traceback" not in running.output


def test_journal_not_required(checkout, postgres_server):
    """Without a required journal, predictions are returned while the database is down, and counted."""
    with database(postgres_server) as journal:
        environment = {"BATCHYIELD_JOURNAL": journal, "BATCHYIELD_JOURNAL_REQUIRED": "false"}
        with Running(checkout, **environment) as running:
            running.post("/v1/predictions", json=INPUTS)
            postgres_server.stop()
            for _ in range(3):
                assert running.post("/v1/predictions", json=INPUTS).status_code == 200
            text = running.get("/metrics").text
            postgres_server.start()
        assert 'batchyield_not_journalled_rows_total{answered="true"} 6.0' in text
        assert len(rows_of(journal)) == 2


def check_full_disk(journal, running, fill, free):
    """On a full disk, predictions are refused and reads work; afterwards writing resumes."""
    with Load(running.url, connections=2, batches=5) as load:
        load.wait_for_more(20)
        fill()
        load.wait_for(lambda load: load.refusals[NOT_JOURNALLED] >= 5)
        assert rows_of(journal)
        assert running.get("/v1/model").status_code == 200
        free()
        load.wait_for_more(20)
    assert set(load.refusals) == {NOT_JOURNALLED}
    assert lost(load, journal) == {}


def test_file_size_limit(checkout, tmp_path):
    """A journal file that must not grow behaves as a full disk."""
    journal = str(tmp_path / "journal.sqlite")
    with Running(checkout, BATCHYIELD_JOURNAL=journal) as running:
        no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        pid = running.process.pid
        check_full_disk(
            journal,
            running,
            lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY)),
            lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, no_limit),
        )


def test_full_disk(checkout, small_disk):
    """A full disk refuses predictions until there is room."""
    journal = str(small_disk / "journal.sqlite")
    with Running(checkout, BATCHYIELD_JOURNAL=journal) as running:
        ballast = small_disk / "ballast"

        def fill():
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(b"\0" * 4096):
                    pass

        check_full_disk(journal, running, fill, ballast.unlink)


def test_queue_limit(checkout, tmp_path):
    """With the queue full, requests are refused with 503 and Retry-After; the queued ones are answered."""
    journal = tmp_path / "journal.sqlite"
    environment = {"BATCHYIELD_JOURNAL": str(journal), "BATCHYIELD_JOURNAL_QUEUE": "1"}
    with Running(checkout, **environment) as running, ThreadPoolExecutor(10) as pool:
        running.post("/v1/predictions", json=INPUTS)
        other = sqlite3.connect(journal, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        first = threading.Event()
        answers = []

        def ask():
            answers.append(running.post("/v1/predictions", json=INPUTS))
            first.set()

        asked = [pool.submit(ask)]
        while len(asked) < 10 and not first.wait(0.4):  # one in the first group waits for the lock as the first does
            asked.append(pool.submit(ask))
        assert first.is_set()
        other.execute("ROLLBACK")
        other.close()
        for one in asked:
            one.result()
    busy, *good = answers
    assert (busy.status_code, busy.json()["type"]) == (503, "urn:batchyield:busy")
    assert busy.headers["retry-after"]
    assert {one.status_code for one in good} == {200}
    assert len(rows_of(journal)) == 2 + 2 * len(good)


def test_removed_journal(checkout, tmp_path):
    """A journal whose folder is removed is unavailable, then created again by the next request."""
    journal = tmp_path / "folder/journal.sqlite"
    with Running(checkout, BATCHYIELD_JOURNAL=str(journal), BATCHYIELD_WATCH_SECONDS="0") as running:

        def seen():
            answer = running.get("/v1/monitoring")
            return answer.json()["window"]["batches"] if answer.status_code == 200 else answer.json()["type"]

        with Load(running.url) as before:
            before.wait_for_more(20)
        assert seen() >= 20
        journal.parent.rename(tmp_path / "elsewhere")
        assert seen() == "urn:batchyield:journal-away"
        with Load(running.url) as after:
            after.wait_for(lambda load: load.refusals[NOT_JOURNALLED])
            after.wait_for_more(20)
        assert seen() == min(500, len(after.acknowledged))
    assert lost(after, journal) == {}
    assert rows_of(tmp_path / "elsewhere/journal.sqlite")
