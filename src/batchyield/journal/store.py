"""The opened journal: connections set up alike everywhere, and a lock that processes share."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, PoolProxiedConnection, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from batchyield.errors import AwayError, SetupError
from batchyield.journal.location import REMEDY, masked

SERVICE_MS, COMMAND_MS = 5_000, 600_000
"""How long a statement may take, or wait for another process's transaction, each of which takes a few milliseconds."""

UPGRADE, UPKEEP, CHECKPOINT = 7_243_001, 7_243_002, 7_243_003
"""The locks of the journal, as PostgreSQL numbers them."""


class Store:
    """A journal's database. Opens nothing until it is asked.

    Args:
        url: from `locate`.
        sync: of SQLite: `normal` keeps what is committed when the process is killed, `full` when the power fails too.
        patience: in milliseconds, with each statement.
    """

    def __init__(self, url: URL, sync: str = "normal", patience: int = COMMAND_MS) -> None:
        self.name = masked(url)
        self.embedded = url.get_backend_name() == "sqlite"
        self.file = Path(str(url.database)) if self.embedded else None
        options = {} if self.embedded else _postgres_options(url, patience)
        self._engine = create_engine(url, connect_args=options, hide_parameters=True, pool_pre_ping=not self.embedded)
        if self.embedded:
            event.listen(self._engine, "connect", lambda raw, _: _set_up(raw, sync, patience))
            event.listen(self._engine, "begin", _begin)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads: it waits for no writer.

        Raises:
            AwayError: the database cannot be opened, or the file is not there; it is not made by being read.
        """
        if self.file is not None and not self.file.exists():
            raise AwayError(f"there is no journal at {self.file}", REMEDY)
        with self._connected() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block.

        Raises:
            AwayError: the database cannot be opened.
        """
        self._make_folder()
        with self._connected() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def driver(self) -> PoolProxiedConnection:
        """A connection of the database's own driver, for the one statement that must be quick."""
        self._make_folder()
        return self._engine.raw_connection()

    @property
    def operational(self) -> type[Exception]:
        """What the driver raises where the database is away, full or locked."""
        found: type[Exception] = self._engine.dialect.loaded_dbapi.OperationalError
        return found

    @property
    def error(self) -> type[Exception]:
        """What the driver raises at all."""
        found: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        return found

    @contextlib.contextmanager
    def alone(self, lock: int, wait: bool = True) -> Iterator[bool]:
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
            raise AwayError(f"the journal {self.name} cannot be opened: {said}", REMEDY) from None
        with connection:
            yield connection

    def _make_folder(self) -> None:
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # readings are nobody else's business
        except OSError as error:
            raise SetupError(f"{self.file.parent} cannot be made: {error.strerror}", REMEDY) from None


def _postgres_options(url: URL, patience: int) -> dict[str, Any]:
    """So that a database which is away is noticed in seconds; what the URL says goes first."""
    ours = {
        "connect_timeout": 3,
        "tcp_user_timeout": SERVICE_MS,
        "keepalives_idle": 10,
        "options": f"-c statement_timeout={patience} -c lock_timeout={patience}",
        "application_name": "batchyield",
    }
    return {name: value for name, value in ours.items() if name not in url.query}


def _set_up(raw: sqlite3.Connection, sync: str, patience: int) -> None:
    raw.isolation_level = None  # the driver's own idea of when a transaction begins leaves DDL outside of it
    for pragma in (
        f"busy_timeout={patience}",
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
