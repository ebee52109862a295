"""The journal's database: where it is, connections set up alike everywhere, and locks that processes share."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, PoolProxiedConnection, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from batchyield.errors import DatabaseUnavailableError, SetupError

JOURNAL_OFF = "off"
DEFAULT_PATH = Path(".journal/journal.sqlite")
SECRET_PARAMETERS = ("password", "sslpassword")
LOCATION_VARIABLE = "BATCHYIELD_JOURNAL"
URL_FILE_VARIABLE = "BATCHYIELD_JOURNAL_URL_FILE"
LOCATION_REMEDY = f"set {LOCATION_VARIABLE} to a file, to postgresql://USER@HOST/DATABASE, or to `{JOURNAL_OFF}`"

SERVICE_TIMEOUT_MS, COMMAND_TIMEOUT_MS = 5_000, 600_000
"""How long a statement may take, or wait for another process's transaction, each of which takes a few milliseconds."""

UPGRADE_LOCK, MAINTENANCE_LOCK, CHECKPOINT_LOCK = 7_243_001, 7_243_002, 7_243_003
"""The locks of the journal, as PostgreSQL numbers them."""


def locate_journal(given: str, url_file: str, root: Path) -> URL | None:
    """The database that holds the journal; None where there is to be none.

    Args:
        given: a path, a URL of SQLite or PostgreSQL, or `off`; empty: a file below `root`.
        url_file: a file that holds the same, so that no password stands in the environment; it goes first.
        root: the folder that the default is below.

    Raises:
        SetupError: the file cannot be read, or names no such database.
    """
    if url_file:
        try:
            given = Path(url_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"{url_file} cannot be read: {error}", f"correct {URL_FILE_VARIABLE}") from None
        if not given:
            raise SetupError(f"{url_file} is empty", "write the journal's URL into it")
    if given == JOURNAL_OFF:
        return None
    if "://" not in given:
        return _sqlite(Path(given) if given else root / DEFAULT_PATH)
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise SetupError(
            "the journal's URL cannot be read as one", LOCATION_REMEDY
        ) from None  # not shown: it may hold a secret
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return _sqlite(Path(url.database))
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
        case other:
            raise SetupError(f"the journal cannot be kept in {other}, or no file is named", LOCATION_REMEDY)


def mask_url(url: URL) -> str:
    """The URL for people and logs, with nothing secret in it."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    shown = url.difference_update_query(SECRET_PARAMETERS).set(drivername="postgresql")
    return shown.render_as_string(hide_password=True)


def _sqlite(file: Path) -> URL:
    return URL.create("sqlite", database=str(file.absolute()))


class Database:
    """A journal's database. Opens nothing until it is asked.

    Args:
        url: from `locate`.
        sync: of SQLite: `normal` keeps what is committed when the process is killed, `full` when the power fails too.
        timeout_ms: in milliseconds, with each statement.
    """

    def __init__(self, url: URL, sync: str = "normal", timeout_ms: int = COMMAND_TIMEOUT_MS) -> None:
        self.name = mask_url(url)
        self.embedded = url.get_backend_name() == "sqlite"
        self.file = Path(str(url.database)) if self.embedded else None
        options = {} if self.embedded else _postgres_options(url, timeout_ms)
        self._engine = create_engine(url, connect_args=options, hide_parameters=True, pool_pre_ping=not self.embedded)
        if self.embedded:
            event.listen(self._engine, "connect", lambda raw, _: _set_up(raw, sync, timeout_ms))
            event.listen(self._engine, "begin", _begin)

    @contextlib.contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """A transaction that only reads: it waits for no writer.

        Raises:
            DatabaseUnavailableError: the database cannot be opened, or its file is missing; reading makes none.
        """
        if self.file is not None and not self.file.exists():
            raise DatabaseUnavailableError(f"there is no journal at {self.file}", LOCATION_REMEDY)
        with self._connected() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block.

        Raises:
            DatabaseUnavailableError: the database cannot be opened.
        """
        self._make_folder()
        with self._connected() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def raw_connection(self) -> PoolProxiedConnection:
        """A connection of the database's own driver, for the one statement that must be quick."""
        self._make_folder()
        return self._engine.raw_connection()

    @property
    def operational_error(self) -> type[Exception]:
        """What the driver raises where the database is away, full or locked."""
        found: type[Exception] = self._engine.dialect.loaded_dbapi.OperationalError
        return found

    @property
    def driver_error(self) -> type[Exception]:
        """What the driver raises at all."""
        found: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        return found

    @contextlib.contextmanager
    def exclusive_lock(self, lock: int, wait: bool = True) -> Iterator[bool]:
        """Holds a lock of the journal against other processes; False where it is taken and not to be waited for."""
        if self.file is None:
            with self._connected() as connection:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                ask = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
                taken = connection.execute(text(f"SELECT {ask}(:lock)"), {"lock": lock}).scalar() is not False
                try:
                    yield taken
                finally:
                    if taken:
                        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": lock})
            return
        import fcntl  # not on Windows, where a journal on PostgreSQL can still be read

        self._make_folder()
        with self.file.with_name(f"{self.file.name}.{lock}.lock").open("ab") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            connection = self._engine.connect()
        except DBAPIError as error:
            said = " ".join(str(error.orig).split())
            raise DatabaseUnavailableError(
                f"the journal {self.name} cannot be opened: {said}", LOCATION_REMEDY
            ) from None
        with connection:
            yield connection

    def _make_folder(self) -> None:
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # readings are nobody else's business
        except OSError as error:
            raise SetupError(f"{self.file.parent} cannot be made: {error.strerror}", LOCATION_REMEDY) from None


def _postgres_options(url: URL, timeout_ms: int) -> dict[str, Any]:
    """So that a database which is away is noticed in seconds; what the URL says goes first."""
    ours = {
        "connect_timeout": 3,
        "tcp_user_timeout": SERVICE_TIMEOUT_MS,
        "keepalives_idle": 10,
        "options": f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms}",
        "application_name": "batchyield",
    }
    return {name: value for name, value in ours.items() if name not in url.query}


def _set_up(raw: sqlite3.Connection, sync: str, timeout_ms: int) -> None:
    raw.isolation_level = None  # the driver's own idea of when a transaction begins leaves DDL outside of it
    for pragma in (
        f"busy_timeout={timeout_ms}",
        "journal_mode=WAL",
        f"synchronous={sync.upper()}",
        "wal_autocheckpoint=0",  # upkeep does it, so that no request waits for it
        "foreign_keys=ON",
    ):
        raw.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes: Any = connection.get_execution_options().get("writes")
    # A transaction that reads first and writes later may find the journal changed between the two, and fail.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
