"""The journal's database: its location, its connections, and locks shared between processes."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, PoolProxiedConnection, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from batchyield.errors import ConfigError, DatabaseUnavailableError, WriteError

JOURNAL_OFF = "off"
DEFAULT_PATH = Path(".journal/journal.sqlite")
SECRET_PARAMETERS = ("password", "sslpassword")
LOCATION_VARIABLE = "BATCHYIELD_JOURNAL"
URL_FILE_VARIABLE = "BATCHYIELD_JOURNAL_URL_FILE"
LOCATION_REMEDY = f"set {LOCATION_VARIABLE} to a file, to postgresql://USER@HOST/DATABASE, or to `{JOURNAL_OFF}`"

SERVICE_TIMEOUT_MS, COMMAND_TIMEOUT_MS = 5_000, 600_000
"""Limit of one statement, including the wait for other transactions, which take a few milliseconds each."""

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
            location = Path(url_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{url_file} cannot be read: {error}", f"correct {URL_FILE_VARIABLE}") from None
        if not location:
            raise ConfigError(f"{url_file} is empty", "write the journal's URL into it")
    if location == JOURNAL_OFF:
        return None
    if "://" not in location:
        return _sqlite_url(Path(location) if location else root / DEFAULT_PATH)
    try:
        url = make_url(location)
    except (ArgumentError, ValueError):  # the message omits the URL, which may contain a password
        raise ConfigError("the journal's URL is malformed", LOCATION_REMEDY) from None
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return _sqlite_url(Path(url.database))
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


def _sqlite_url(file: Path) -> URL:
    return URL.create("sqlite", database=str(file.absolute()))


class Database:
    """The database of a journal; connects on first use.

    Thread-safe: every transaction takes a connection of its own from a pool. A connection, and an `Appender` on one,
    belongs to one thread at a time. After `close` the next transaction connects again.

    Args:
        url: from `locate_journal`.
        sync: SQLite's `synchronous`: `normal` keeps commits when the process is killed, `full` also at a power cut.
        timeout_ms: limit of each statement in milliseconds.

    Attributes:
        driver: the driver's module, for its exceptions (PEP 249).
    """

    def __init__(self, url: URL, sync: str = "normal", timeout_ms: int = COMMAND_TIMEOUT_MS) -> None:
        self.name = mask_url(url)
        self.embedded = url.get_backend_name() == "sqlite"
        self.file = Path(str(url.database)) if self.embedded else None
        options = {} if self.embedded else _postgres_options(url, timeout_ms)
        self._engine = create_engine(url, connect_args=options, hide_parameters=True, pool_pre_ping=not self.embedded)
        self.driver: Any = self._engine.dialect.loaded_dbapi
        if self.embedded:
            event.listen(self._engine, "connect", lambda raw, _: _configure_sqlite(raw, sync, timeout_ms))
            event.listen(self._engine, "begin", _begin)

    @contextlib.contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """Open a transaction that only reads and never waits for a writer; a missing file is an error."""
        if self.file is not None and not self.file.exists():
            raise DatabaseUnavailableError(f"there is no journal at {self.file}", LOCATION_REMEDY)
        with self._connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """Open a transaction that is committed at the end of the block."""
        self._make_directory()
        with self._connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def raw_connection(self) -> PoolProxiedConnection:
        """Return a connection of the database driver, for statements where SQLAlchemy costs too much."""
        self._make_directory()
        return self._engine.raw_connection()

    @contextlib.contextmanager
    def exclusive_lock(self, lock: int, wait: bool = True) -> Iterator[bool]:
        """Hold a lock against other processes; yields False if `wait` is false and another process holds it."""
        if self.file is None:
            with self._connect() as connection:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
                acquired = connection.execute(text(f"SELECT {function}(:lock)"), {"lock": lock}).scalar() is not False
                try:
                    yield acquired
                finally:
                    if acquired:
                        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": lock})
            return
        import fcntl  # missing on Windows, where a journal in PostgreSQL can still be read

        self._make_directory()
        with self.file.with_name(f"{self.file.name}.{lock}.lock").open("ab") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True

    def close(self) -> None:
        """Close all pooled connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Connection]:
        try:
            connection = self._engine.connect()
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            problem = f"the journal {self.name} cannot be opened: {reason}"
            raise DatabaseUnavailableError(problem, LOCATION_REMEDY) from None
        with connection:
            yield connection

    def _make_directory(self) -> None:
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # readings are confidential
        except OSError as error:
            raise WriteError(f"{self.file.parent} cannot be created: {error.strerror}", LOCATION_REMEDY) from None


def _postgres_options(url: URL, timeout_ms: int) -> dict[str, Any]:
    """Return options that detect an unreachable database in seconds; options in the URL have priority."""
    defaults = {
        "connect_timeout": 3,
        "tcp_user_timeout": SERVICE_TIMEOUT_MS,
        "keepalives_idle": 10,
        "options": f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms}",
        "application_name": "batchyield",
    }
    return {name: value for name, value in defaults.items() if name not in url.query}


def _configure_sqlite(raw: sqlite3.Connection, sync: str, timeout_ms: int) -> None:
    raw.isolation_level = None  # the driver's implicit transactions leave DDL outside
    for pragma in (
        f"busy_timeout={timeout_ms}",
        "journal_mode=WAL",
        f"synchronous={sync.upper()}",
        "wal_autocheckpoint=0",  # maintenance checkpoints, so that no request waits for one
        "foreign_keys=ON",
    ):
        raw.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes: Any = connection.get_execution_options().get("writes")
    # A transaction that reads first and then writes would fail if another one wrote in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
