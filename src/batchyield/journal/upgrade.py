"""The journal's schema: made, brought up to date, or refused where it is from another time."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from batchyield.errors import SetupError
from batchyield.journal.store import UPGRADE, Store

SCRIPTS = "batchyield.journal:migrations"


def revision(store: Store) -> str | None:
    """The revision of the schema; None where there is none yet.

    Raises:
        SetupError: the database cannot be opened.
    """
    with store.reading() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest() -> str:
    """The revision that this code works with."""
    return str(_scripts().get_current_head())


def upgrade(store: Store) -> tuple[str | None, str]:
    """Brings the schema up to date, one process at a time; the revisions before and after.

    Raises:
        SetupError: the database cannot be opened, or a newer version of batchyield made its schema.
    """
    with store.alone(UPGRADE):
        before = revision(store) if store.file is None or store.file.exists() else None
        _refuse_newer(store, before)
        if before != newest():
            with store.writing() as connection:
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        return before, newest()


def prepare(store: Store) -> None:
    """Makes sure that the journal can be written: a file is brought up to date, a PostgreSQL must be.

    Raises:
        SetupError: it cannot be opened, or its schema is not the one that this code works with.
    """
    if store.embedded:
        upgrade(store)
        return
    found = revision(store)
    _refuse_newer(store, found)
    if found != newest():
        stands = f"is at revision {found}" if found else "has no tables yet"
        raise SetupError(
            f"the journal {store.name} {stands}, and this code works with {newest()}",
            "run `batchyield journal upgrade` once, before the service's new version starts",
        )


def _refuse_newer(store: Store, found: str | None) -> None:
    if found is None:
        return
    try:
        _scripts().get_revision(found)
    except CommandError:
        raise SetupError(
            f"the journal {store.name} is at revision {found}, which this code does not know: a newer one made it",
            "use the version of batchyield that made it or a later one, or name another journal",
        ) from None


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
