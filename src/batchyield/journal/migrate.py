"""Making and migrating the journal's schema; one of an unknown revision is refused unchanged."""

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, select

from batchyield.errors import SetupError
from batchyield.journal.database import UPGRADE_LOCK, Database
from batchyield.journal.tables import metadata

SCRIPTS = "batchyield.journal:migrations"

KNOWN_REVISIONS = tuple(
    sorted(file.stem[1:] for file in (Path(__file__).parent / "migrations/versions").glob("v[0-9]*.py"))
)
"""The revisions, oldest first, by which the migrations' files are named."""

_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def read_revision(store: Database) -> str | None:
    """The revision of the schema; None where there is none yet.

    Raises:
        SetupError: the database cannot be opened.
    """
    with store.read_transaction() as connection:
        if not connection.dialect.has_table(connection, _version.name):
            return None
        return connection.execute(select(_version.c.version_num)).scalar()


def newest_revision() -> str:
    """The revision that this code works with."""
    return KNOWN_REVISIONS[-1]


def upgrade_schema(store: Database) -> tuple[str | None, str]:
    """Brings the schema up to date, one process at a time; the revisions before and after.

    Raises:
        SetupError: the database cannot be opened, or its revision is unknown.
    """
    with store.exclusive_lock(UPGRADE_LOCK):
        before = read_revision(store) if store.file is None or store.file.exists() else None
        _refuse_unknown(store, before)
        if before is None:
            with store.write_transaction() as connection:
                create_tables(connection)
        for step in KNOWN_REVISIONS[KNOWN_REVISIONS.index(before) + 1 :] if before else ():
            with (
                store.write_transaction() as connection
            ):  # each by itself, so that whoever else is writing need not wait for all
                run_migrations(connection, step)
        return before, newest_revision()


def create_tables(connection: Connection) -> None:
    """Makes the tables as the schema has them now."""
    for one in (metadata, _version.metadata):
        one.create_all(connection)
    connection.execute(insert(_version).values(version_num=newest_revision()))


def run_migrations(connection: Connection, to: str = "head") -> None:
    """Runs the migrations that the tables have not seen, up to a revision."""
    from alembic import command  # 0.1 s and 17 MB, which a service whose journal is new or up to date can do without
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def ensure_schema(store: Database) -> None:
    """Makes sure that the journal can be written: a file is brought up to date, a PostgreSQL must be.

    Raises:
        SetupError: it cannot be opened, or its schema is not the one that this code works with.
    """
    if store.embedded:
        upgrade_schema(store)
        return
    found = read_revision(store)
    _refuse_unknown(store, found)
    if found != newest_revision():
        stands = f"is at revision {found}" if found else "has no tables yet"
        raise SetupError(
            f"the journal {store.name} {stands}, and this code works with {newest_revision()}",
            "run `batchyield journal upgrade` once, before the service's new version starts",
        )


def _refuse_unknown(store: Database, found: str | None) -> None:
    if found is not None and found not in KNOWN_REVISIONS:
        raise SetupError(
            f"the journal {store.name} is at revision {found}, which this version of batchyield does not know, since "
            "a newer one or one before the first release made it; nothing in it was changed",
            "use the version of batchyield that made it, or name another journal in BATCHYIELD_JOURNAL",
        )
