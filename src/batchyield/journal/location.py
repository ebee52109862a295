"""Where the journal is: a file, a URL, or nowhere."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from batchyield.errors import SetupError

OFF = "off"
DEFAULT = Path(".journal/journal.sqlite")
SECRETS = ("password", "sslpassword")
VARIABLE = "BATCHYIELD_JOURNAL"
FILE_VARIABLE = "BATCHYIELD_JOURNAL_URL_FILE"
REMEDY = f"set {VARIABLE} to a file, to postgresql://USER@HOST/DATABASE, or to `{OFF}`"


def locate(given: str, url_file: str, root: Path) -> URL | None:
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
            raise SetupError(f"{url_file} cannot be read: {error}", f"correct {FILE_VARIABLE}") from None
        if not given:
            raise SetupError(f"{url_file} is empty", "write the journal's URL into it")
    if given == OFF:
        return None
    if "://" not in given:
        return _sqlite(Path(given) if given else root / DEFAULT)
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise SetupError("the journal's URL cannot be read as one", REMEDY) from None  # not shown: it may hold a secret
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return _sqlite(Path(url.database))
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
        case other:
            raise SetupError(f"the journal cannot be kept in {other}, or no file is named", REMEDY)


def masked(url: URL) -> str:
    """The URL for people and logs, with nothing secret in it."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    shown = url.difference_update_query(SECRETS).set(drivername="postgresql")
    return shown.render_as_string(hide_password=True)


def _sqlite(file: Path) -> URL:
    return URL.create("sqlite", database=str(file.absolute()))
