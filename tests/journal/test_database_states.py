"""The states that a journal's database can be in: behind a pooler, without rights, read-only, full, away."""

import contextlib
import errno
import os
import pwd
import shutil
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from psycopg.errors import ProtocolViolation
from sqlalchemy import text
from support.journal_database import append, database, entry, opened, rows_of
from support.pgbouncer import pgbouncer
from support.service import START_SECONDS, client_of, free_port

from api.inference.group_commit import prepare_journal
from api.openapi.examples import INPUTS, OUTCOMES
from api.settings import Settings
from batchyield.cli.__main__ import main
from batchyield.errors import ConfigError, DatabaseUnavailableError, JournalError
from batchyield.journal import database as journal_database
from batchyield.journal.database import UPGRADE_LOCK, Database, locate_journal
from batchyield.journal.failures import explain_failure
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.queries import read_counts
from batchyield.plant.batch import Batch


@pytest.fixture
def url(postgres_server):
    """A journal in PostgreSQL."""
    with database(postgres_server) as url:
        yield url


@pytest.fixture
def sql(url, postgres_server):
    """Runs a statement as the owner of the journal's database."""
    name = locate_journal(url, "", None).database
    return lambda statement: postgres_server.psql(f"\\c {name}\n{statement}")


@pytest.fixture
def pooler(url, postgres_server):
    """The journal's URL through a real PgBouncer, which gives each transaction another connection."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    direct = locate_journal(url, "", None)
    upstream = f"host={direct.query['host']} user={direct.username}"
    owner = Path(postgres_server.pgdata).stat().st_uid
    with pgbouncer(direct.database, upstream, owner, port=free_port(), default_pool_size=4) as address:
        yield f"postgresql://{direct.username}@{address}/{direct.database}"


def fill(ballast):
    """Write a file until its disk is full."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass


def test_transaction_pooler(checkout, pooler, capsys):
    """Behind PgBouncer in transaction mode, concurrent services, outcomes, upgrade and maintenance work."""
    journal = f"{pooler}?pool_mode=transaction"
    assert main(["journal", "upgrade", "--journal", journal]) == 0
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        clients = [stack.enter_context(client_of(checkout, journal=journal)) for _ in range(2)]

        def ask(number):
            client = clients[number % 2]
            return client.post("/v1/predictions", json=INPUTS).status_code, client.post("/v1/outcomes", json=OUTCOMES)

        answers = [*pool.map(ask, range(60))]
    assert {status for status, _ in answers} == {200}
    assert {outcome.status_code for _, outcome in answers} == {200}
    assert len(rows_of(journal)) == 120
    with opened(journal) as store, opened(journal) as other, store.exclusive_lock(UPGRADE_LOCK) as first:
        assert first
        with other.exclusive_lock(UPGRADE_LOCK, wait=False) as second:
            assert not second
    capsys.readouterr()


def test_unnamed_pooler(checkout, pooler, caplog):
    """Behind such a pooler without `pool_mode`, the log names the setting."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        clients = [stack.enter_context(client_of(checkout, journal=pooler)) for _ in range(3)]
        deadline = time.monotonic() + START_SECONDS
        while "pool_mode=transaction" not in caplog.text:
            assert time.monotonic() < deadline
            [*pool.map(lambda client: client.post("/v1/predictions", json=INPUTS), clients * 10)]


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("query_wait_timeout", "default_pool_size"),
        ("no more connections allowed (max_client_conn)", "max_client_conn"),
        ("unsupported startup parameter: options", "leave `options` out"),
    ],
)
def test_pooler_errors(message, remedy):
    """PgBouncer's errors, which all have one SQLSTATE, have each their remedy."""
    assert remedy in explain_failure(ProtocolViolation(message))[1]


def test_invalid_pool_mode():
    """An unknown pool mode is refused."""
    with pytest.raises(ConfigError, match="pool_mode statement"), opened("postgresql://h/d?pool_mode=statement"):
        pass


def test_limits(url):
    """A session has the limits of its statements, set without startup parameters."""
    with opened(url) as store, store.read_transaction() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "10min"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "10min"


@pytest.mark.parametrize(
    ("grant", "problem"),
    [
        ("", "permission denied"),
        ("grant select on all tables in schema public to {role}", "lacks INSERT on .*answer"),
        ("grant select, insert on all tables in schema public to {role}", "lacks .*USAGE on .*answer_id_seq"),
        (
            "grant select, insert, update on all tables in schema public to {role};"
            "grant usage on all sequences in schema public to {role}",
            "lacks DELETE on .*answer",
        ),
    ],
    ids=["none", "select", "no sequences", "no delete"],
)
def test_role_without_rights(url, sql, grant, problem):
    """A role without the rights to write is refused before the service starts; the error has the grants."""
    role = f"reader_{locate_journal(url, '', None).database}"
    sql(f"create role {role} login; {grant.format(role=role)};")
    settings = Settings(journal=url.replace("postgres:", f"{role}:", 1))
    with pytest.raises(JournalError, match=rf"(?s){problem}.*grant it SELECT, INSERT"):
        prepare_journal(settings)
    sql(
        f"grant select, insert, update, delete on all tables in schema public to {role};"
        f"grant usage on all sequences in schema public to {role};"
    )
    prepare_journal(settings)


def test_read_only_server(checkout, url, sql, caplog):
    """A server that becomes read-only is an outage with one line in the log, then the service goes on."""
    name = locate_journal(url, "", None).database
    others = f"datname = '{name}' and pid <> pg_backend_pid()"
    switch = f"select pg_terminate_backend(pid) from pg_stat_activity where {others}"  # noqa: S608 - our own name
    with client_of(checkout, journal=url) as client:
        assert client.post("/v1/predictions", json=INPUTS).status_code == 200
        sql(f"alter database {name} set default_transaction_read_only = on; {switch};")
        with pytest.raises(DatabaseUnavailableError, match="is read-only"):
            prepare_journal(Settings(journal=url))
        for _ in range(3):
            assert client.post("/v1/predictions", json=INPUTS).status_code == 503
            assert client.post("/v1/outcomes", json=OUTCOMES).status_code == 503
        sql(f"begin read write; alter database {name} reset default_transaction_read_only; commit; {switch};")
        deadline = time.monotonic() + START_SECONDS
        while client.post("/v1/predictions", json=INPUTS).status_code == 503:
            assert time.monotonic() < deadline
    assert caplog.text.count("cannot be written") == 1
    assert "is written again" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("error", [False, True])
def test_close_during_use(embedded, error, tmp_path, request):
    """A connection that is in use when the database is closed is closed after its transaction."""
    place = str(tmp_path / "journal.sqlite") if embedded else request.getfixturevalue("url")
    store = Database(locate_journal(place, "", None))
    with contextlib.suppress(ZeroDivisionError), store.write_transaction() as connection:
        raw = connection.connection.driver_connection
        connection.execute(text("SELECT 1"))
        store.close()
        if error:
            raise ZeroDivisionError
    with pytest.raises(store.driver.Error, match="closed"):
        raw.execute("SELECT 1")
    store.close()


def test_full_server(url, sql, postgres_server, small_disk):
    """A full disk of the server is named, and writing goes on once there is room."""
    folder, ballast = small_disk / "space", small_disk / "ballast"
    folder.mkdir()
    os.chown(folder, Path(postgres_server.pgdata).stat().st_uid, -1)
    space = f"small_{locate_journal(url, '', None).database}"
    sql(f"create tablespace {space} location '{folder}'")
    sql(f"alter table answer set tablespace {space}")
    fill(ballast)
    many = entry(*(Batch(id=str(n), A1=float(n)) for n in range(500)))
    with opened(url) as store:
        with pytest.raises(Exception, match="No space left on device") as full:
            append(store, *([many] * 100))
        assert "make room on the database server" in explain_failure(full.value)[1]
        ballast.unlink()
        append(store, entry(Batch(id="later")))
        assert read_counts(store).predictions >= 1
    sql(f"alter table answer set tablespace pg_default; drop tablespace {space}")


def test_other_schema(url, sql):
    """A role whose search path holds no tables gets the revision that is needed."""
    name = locate_journal(url, "", None).database
    sql(f"create schema elsewhere; alter database {name} set search_path = elsewhere")
    with pytest.raises(JournalError, match="has no tables yet"):
        prepare_journal(Settings(journal=url))


@pytest.mark.parametrize(
    ("part", "other", "remedy"),
    [
        ("/journal_", "/missing_", "create .* database"),
        ("host=", "host=/nowhere", "start the database server"),
        ("host=", "port=1&host=", "start the database server"),
    ],
    ids=["database", "socket", "port"],
)
def test_unreachable_database(url, part, other, remedy):
    """A database that cannot be opened is named with what to do."""
    with pytest.raises(DatabaseUnavailableError, match=rf"(?s)cannot be opened.*{remedy}"):
        prepare_journal(Settings(journal=url.replace(part, other, 1)))


def test_one_attempt_at_a_time(monkeypatch):
    """While one thread tries to connect, others wait for its result; after a failure they fail at once."""
    monkeypatch.setattr(journal_database, "RETRY_SECONDS", 600)
    accepted, started = [], threading.Barrier(9)

    def read(store):
        started.wait()
        with pytest.raises(DatabaseUnavailableError), store.read_transaction():
            pass

    def refuse(server):
        started.wait()
        connection, _ = server.accept()
        accepted.append(connection.close())

    server = socket.create_server(("127.0.0.1", 0))
    url = f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d"
    with server, ThreadPoolExecutor(9) as pool, opened(url) as store:
        for done in [pool.submit(refuse, server), *(pool.submit(read, store) for _ in range(8))]:
            done.result()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert len(accepted) == 1


# SQLite


@pytest.fixture
def other_user():
    """A folder of another user, which this process may only read until the end of the test."""
    folder = Path(tempfile.mkdtemp(prefix="batchyield-folder-"))
    with opened(folder / "journal.sqlite") as store:
        ensure_schema(store)
        append(store, entry(Batch(id="a")))
    for path in (folder, *folder.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = os.geteuid()
    if before == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    yield folder
    os.seteuid(before)
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["journal.sqlite", "new.sqlite", "new/journal.sqlite"])
def test_folder_without_permission(other_user, name):
    """A folder that must not be written stops the start with what to do."""
    with pytest.raises(JournalError, match=r"(?s)Permission denied.*write permission"):
        prepare_journal(Settings(journal=str(other_user / name)))


def test_stopped_journal_read_only(other_user, capsys):
    """A user who may read the file of a stopped service's journal, and not write its folder, can read it."""
    journal = other_user / "journal.sqlite"
    for command in (["status"], ["export"], ["prune", "--before", "2099-01-01", "--dry-run"]):
        assert main(["journal", *command, "--journal", str(journal)]) == 0, capsys.readouterr().err


def test_no_locks(tmp_path, monkeypatch):
    """A file system without locks stops the start with what to do."""

    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(JournalError, match=r"(?s)No locks available.*local disk"):
        prepare_journal(Settings(journal=str(tmp_path / "journal.sqlite")))


def test_private_file(tmp_path):
    """The journal's file is readable by its owner only, also in a folder that existed."""
    with opened(tmp_path / "journal.sqlite") as store:
        ensure_schema(store)
    assert (tmp_path / "journal.sqlite").stat().st_mode & 0o77 == 0


def test_full_disk_remedy(checkout, small_disk, tmp_path, capsys):
    """From a full disk the journal is copied to another one, on which the service goes on with all that was there."""
    journal, copy = small_disk / "journal.sqlite", tmp_path / "copy.sqlite"
    with client_of(checkout, journal=str(journal)) as client:
        assert client.post("/v1/predictions", json=INPUTS).status_code == 200
        fill(small_disk / "ballast")
        while client.post("/v1/predictions", json=INPUTS).status_code == 200:
            pass
        before = len(rows_of(journal))
        assert main(["journal", "prune", "--before", "2099-01-01", "--journal", str(journal)]) == 2
        assert "journal backup FILE" in capsys.readouterr().err
        assert main(["journal", "backup", str(copy), "--journal", str(journal)]) == 0
    with client_of(checkout, journal=str(copy)) as client:
        assert client.post("/v1/predictions", json=INPUTS).status_code == 200
    assert len(rows_of(copy)) == before + 2
