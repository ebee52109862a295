"""The journal's database: its location, its connections, and locks shared between processes."""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, PoolProxiedConnection, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from batchyield.errors import ConfigError, DatabaseUnavailableError, JournalError, WriteError
from batchyield.journal.failures import JOURNAL_OFF, LOCATION_REMEDY, explain_failure, is_operational

DEFAULT_PATH = Path(".journal/journal.sqlite")
SECRET_PARAMETERS = ("password", "sslpassword")
URL_FILE_VARIABLE = "BATCHYIELD_JOURNAL_URL_FILE"
POOL_MODE = "pool_mode"
"""Parameter of the URL: `transaction` behind a pooler that gives each transaction another connection."""

SERVICE_TIMEOUT_MS, COMMAND_TIMEOUT_MS = 5_000, 600_000
"""Limit of one statement, including the wait for other transactions, which take a few milliseconds each."""

RETRY_SECONDS = 0.25
"""Pause after a failure to connect, during which attempts fail at once: an unavailable database costs no timeouts."""

Opened = TypeVar("Opened")

UPGRADE_LOCK, MAINTENANCE_LOCK, CHECKPOINT_LOCK = 7_243_001, 7_243_002, 7_243_003
"""Keys of the journal's locks; PostgreSQL advisory locks are numbered."""


def locate_journal(location: str, url_file: str, root: Path) -> URL | None:
    """Return the URL of the journal's database, or None if the journal is off.

    Args:
        location: a path, a SQLite or PostgreSQL URL, or `off`; empty: the default file below `root`.
        url_file: a file that contains the location, so that no password is in the environment; it has priority.
        root: directory of the default file.
    """
    if url_file:
        try:
            location = Path(url_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{url_file} cannot be read: {error}", f"correct {URL_FILE_VARIABLE}") from None
        if not location:
            raise ConfigError(f"{url_file} is empty", "write the journal's URL into it")
    if location == JOURNAL_OFF:
        return None
    if "://" not in location:
        return sqlite_url(Path(location) if location else root / DEFAULT_PATH)
    try:
        url = make_url(location)
    except (ArgumentError, ValueError):  # the message omits the URL, which may contain a password
        raise ConfigError("the journal's URL is malformed", LOCATION_REMEDY) from None
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return sqlite_url(Path(url.database))
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
        case backend:
            raise ConfigError(f"the journal cannot be kept in {backend}, or the URL names no file", LOCATION_REMEDY)


def mask_url(url: URL) -> str:
    """Return the URL without passwords."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    public = url.difference_update_query(SECRET_PARAMETERS).set(drivername="postgresql")
    return public.render_as_string(hide_password=True)


def sqlite_url(file: Path) -> URL:
    """Return the URL of a SQLite file."""
    return URL.create("sqlite", database=str(file.absolute()))


class Database:
    """The database of a journal; connects on first use.

    Thread-safe: every transaction takes a connection of its own from a pool. A connection, and an `Appender` on one,
    belongs to one thread at a time. After `close` the next transaction connects again. Threads try to connect one at a
    time, and after a failure none tries for `RETRY_SECONDS`.

    Args:
        url: from `locate_journal`.
        sync: SQLite's `synchronous`: `normal` keeps commits when the process is killed, `full` also at a power cut.
        timeout_ms: limit of each statement in milliseconds.
        read_only: open a SQLite file without write permission.

    Attributes:
        driver: the driver's module, for its exceptions (PEP 249).
    """

    def __init__(
        self, url: URL, sync: str = "normal", timeout_ms: int = COMMAND_TIMEOUT_MS, read_only: bool = False
    ) -> None:
        self.name = mask_url(url)
        self.embedded = url.get_backend_name() == "sqlite"
        self.file = Path(str(url.database)) if self.embedded else None
        options = {} if self.embedded else _postgres_options(url)
        if self.file is not None and read_only:
            url = url.set(database=self.file.as_uri(), query={"mode": "ro", "uri": "true"} | _immutable(self.file))
        engine_url = url.difference_update_query([POOL_MODE])
        self._engine = create_engine(
            engine_url, connect_args=options, hide_parameters=True, pool_pre_ping=not self.embedded
        )
        self.driver: Any = self._engine.dialect.loaded_dbapi
        self._connecting = threading.Lock()
        self._failure, self._retry_at = ("", ""), 0.0
        if self.embedded:
            pragmas = _sqlite_pragmas(sync, timeout_ms, read_only)
            event.listen(self._engine, "connect", lambda raw, _: _configure_sqlite(raw, pragmas))
            event.listen(self._engine, "begin", _begin)
        else:
            event.listen(self._engine, "connect", lambda raw, _: _configure_postgres(raw, url, timeout_ms))

    @contextlib.contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """Open a transaction that only reads one state and never waits for a writer; a missing file is an error."""
        if self.file is not None and not self.file.exists():
            raise DatabaseUnavailableError(f"there is no journal at {self.file}", LOCATION_REMEDY)
        with self._connect() as connection:
            if not self.embedded:  # a transaction of SQLite always reads one state
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """Open a transaction that is committed at the end of the block."""
        self._make_file()
        with self._connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def raw_connection(self) -> PoolProxiedConnection:
        """Return a connection of the database driver, for statements where SQLAlchemy costs too much."""
        self._make_file()
        return self._open(self._engine.raw_connection)

    @contextlib.contextmanager
    def exclusive_lock(self, lock: int, wait: bool = True) -> Iterator[bool]:
        """Hold a lock against other processes; yields False if `wait` is false and another process holds it."""
        if self.file is None:
            # A lock of a transaction, which a pooler that gives each transaction another connection keeps too.
            with self._connect() as connection, connection.begin():
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
                yield connection.execute(text(f"SELECT {function}(:lock)"), {"lock": lock}).scalar() is not False
            return
        import fcntl  # missing on Windows, where a journal in PostgreSQL can still be read

        path = self.file.with_name(f"{self.file.name}.{lock}.lock")
        with contextlib.ExitStack() as stack:
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                handle = stack.enter_context(path.open("ab"))
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                acquired = True
            except BlockingIOError:
                acquired = False
            except OSError as error:
                problem = f"the journal's lock file {path} cannot be used: {error.strerror}"
                raise JournalError(problem, explain_failure(error)[1]) from None
            yield acquired

    def close(self) -> None:
        """Close all pooled connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Connection]:
        pool = self._engine.pool
        try:
            with self._open(self._engine.connect) as connection:
                try:
                    yield connection
                finally:
                    if self._engine.pool is not pool:  # `close` was called: SQLAlchemy would keep the connection open
                        connection.invalidate()
        except DBAPIError as error:
            if not is_operational(error):
                raise
            reason, remedy = explain_failure(error)
            raise DatabaseUnavailableError(f"the journal {self.name} cannot be used: {reason}", remedy) from None

    def _open(self, connect: Callable[[], Opened]) -> Opened:
        with self._connecting:
            if time.monotonic() < self._retry_at:
                raise DatabaseUnavailableError(*self._failure)
            try:
                return connect()
            except (DBAPIError, self.driver.Error) as error:
                reason, remedy = explain_failure(error)
                self._failure = f"the journal {self.name} cannot be opened: {reason}", remedy
                self._retry_at = time.monotonic() + RETRY_SECONDS
                raise DatabaseUnavailableError(*self._failure) from None

    def _make_file(self) -> None:
        """Create a missing SQLite file and its folder for their owner only: the readings are confidential."""
        if self.file is None or self.file.exists():
            return
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.file.touch(mode=0o600)
        except OSError as error:
            raise WriteError(f"{self.file} cannot be created: {error.strerror}", explain_failure(error)[1]) from None


def _postgres_options(url: URL) -> dict[str, Any]:
    """Return options that detect an unreachable database in seconds; options in the URL have priority."""
    if (mode := url.query.get(POOL_MODE, "session")) not in ("session", "transaction"):
        raise ConfigError(f"invalid {POOL_MODE} {mode} in the journal's URL", "write `session` or `transaction`")
    defaults = {
        "connect_timeout": 3,
        "tcp_user_timeout": SERVICE_TIMEOUT_MS,  # for a statement that the server does not acknowledge
        "keepalives_idle": 5,  # for one that it acknowledged, and then is gone
        "keepalives_interval": 2,
        "application_name": "batchyield",
    }
    return {name: value for name, value in defaults.items() if name not in url.query}


def _configure_postgres(raw: Any, url: URL, timeout_ms: int) -> None:
    """Set the limits of a new connection by statement, since poolers refuse them as startup parameters."""
    if url.query.get(POOL_MODE) == "transaction":
        raw.prepare_threshold = None  # the next transaction may get a connection that has not prepared the statement
    elif "options" not in url.query:
        raw.execute(f"SET statement_timeout = {timeout_ms}; SET lock_timeout = {timeout_ms}")
        raw.commit()


def _immutable(file: Path) -> dict[str, str]:
    """Return the parameter for a file that nobody has open, if SQLite may not create the index of its log beside it."""
    effective = os.access in os.supports_effective_ids
    writable = os.access(file.parent, os.W_OK, effective_ids=effective)
    return {} if writable or file.with_name(f"{file.name}-wal").exists() else {"immutable": "1"}


def _sqlite_pragmas(sync: str, timeout_ms: int, read_only: bool) -> list[str]:
    if read_only:
        return [f"busy_timeout={timeout_ms}"]
    return [
        f"busy_timeout={timeout_ms}",
        "journal_mode=WAL",
        f"synchronous={sync.upper()}",
        "wal_autocheckpoint=0",  # maintenance checkpoints, so that no request waits for one
        "foreign_keys=ON",
    ]


def _configure_sqlite(raw: sqlite3.Connection, pragmas: list[str]) -> None:
    raw.isolation_level = None  # the driver's implicit transactions leave DDL outside
    for pragma in pragmas:
        raw.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes: Any = connection.get_execution_options().get("writes")
    # A transaction that reads first and then writes would fail if another one wrote in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
