"""Creates and migrates the journal's schema; a journal of an unknown revision is left unchanged."""

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, select, text

from batchyield.errors import DatabaseUnavailableError, JournalError
from batchyield.journal.database import UPGRADE_LOCK, Database
from batchyield.journal.failures import GRANTS, READ_ONLY
from batchyield.journal.tables import metadata

_VERSIONS = Path(__file__).parent / "migrations/versions"
KNOWN_REVISIONS = tuple(sorted(file.stem[1:] for file in _VERSIONS.glob("v[0-9]*.py")))
"""Schema revisions, oldest first; each names its migration's file."""

_MISSING_PRIVILEGES = """
SELECT privilege || ' on ' || name
FROM unnest(CAST(:tables AS text[])) AS name, unnest(CAST('{SELECT,INSERT,UPDATE,DELETE}' AS text[])) AS privilege
WHERE NOT has_table_privilege(name, privilege)
UNION ALL
SELECT 'USAGE on ' || sequence
FROM unnest(CAST(:tables AS text[])) AS name
JOIN pg_attribute ON attrelid = CAST(name AS regclass) AND attnum > 0 AND NOT attisdropped,
LATERAL pg_get_serial_sequence(name, attname) AS sequence
WHERE sequence IS NOT NULL AND NOT has_sequence_privilege(sequence, 'USAGE')
"""

_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def read_revision(database: Database) -> str | None:
    """Return the revision of the schema, or None if the database has no tables yet."""
    with database.read_transaction() as connection:
        if not connection.dialect.has_table(connection, _version.name):
            return None
        return connection.execute(select(_version.c.version_num)).scalar()


def newest_revision() -> str:
    """Return the revision that this code works with."""
    return KNOWN_REVISIONS[-1]


def upgrade_schema(database: Database) -> tuple[str | None, str]:
    """Create or migrate the schema, one process at a time, and return the revisions before and after."""
    with database.exclusive_lock(UPGRADE_LOCK):
        before = read_revision(database) if database.file is None or database.file.exists() else None
        _check_revision_known(database, before)
        if before is None:
            with database.write_transaction() as connection:
                for tables in (metadata, _version.metadata):
                    tables.create_all(connection)
                connection.execute(insert(_version).values(version_num=newest_revision()))
        for revision in KNOWN_REVISIONS[KNOWN_REVISIONS.index(before) + 1 :] if before else ():
            with database.write_transaction() as connection:  # one each, so that other writers wait less
                run_migrations(connection, revision)
        return before, newest_revision()


def run_migrations(connection: Connection, revision: str = "head") -> None:
    """Run the migrations up to a revision that the database has not run yet."""
    from alembic import command  # 0.1 s and 17 MB, not needed where the journal is new or up to date
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "batchyield.journal:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def ensure_schema(database: Database) -> None:
    """Check that the journal can be written: upgrade a SQLite file, require an upgraded PostgreSQL database.

    Raises:
        JournalError: the database cannot be opened, or its schema is not at this code's revision.
    """
    if database.embedded:
        upgrade_schema(database)
        with database.write_transaction():
            return  # a file that may only be read fails here and not at the first prediction
    check_schema(database)
    with database.read_transaction() as connection:
        missing = ", ".join(connection.execute(text(_MISSING_PRIVILEGES), {"tables": list(metadata.tables)}).scalars())
        read_only = connection.execute(text("SHOW transaction_read_only")).scalar() == "on"
    if missing:
        raise JournalError(f"the role of the journal {database.name} lacks {missing}", GRANTS)
    if read_only:
        raise DatabaseUnavailableError(f"the journal {database.name} is read-only", READ_ONLY)


def check_schema(database: Database) -> None:
    """Check that the journal can be read: its schema is at this code's revision.

    Raises:
        JournalError: it is not, or the database cannot be opened.
    """
    revision = read_revision(database)
    _check_revision_known(database, revision)
    if revision != newest_revision():
        state = f"is at revision {revision}" if revision else "has no tables yet"
        raise JournalError(
            f"the journal {database.name} {state}, and this code works with {newest_revision()}",
            "run `batchyield journal upgrade` once, before the service's new version starts",
        )


def _check_revision_known(database: Database, revision: str | None) -> None:
    if revision is not None and revision not in KNOWN_REVISIONS:
        raise JournalError(
            f"the journal {database.name} is at revision {revision}, which this version of batchyield does not know; "
            "a newer version or one before the first release created it, and nothing in it was changed",
            "use the version of batchyield that created it, or set BATCHYIELD_JOURNAL to another journal",
        )
