"""What an error of the journal's database means for its operator, and the step that solves it."""

from typing import Any

from sqlalchemy.exc import OperationalError

JOURNAL_OFF = "off"
LOCATION_VARIABLE = "BATCHYIELD_JOURNAL"
LOCATION_REMEDY = f"set {LOCATION_VARIABLE} to a file, to postgresql://USER@HOST/DATABASE, or to `{JOURNAL_OFF}`"

GRANTS = (
    "let the role own the journal's tables, or grant it SELECT, INSERT, UPDATE, DELETE ON ALL TABLES and USAGE ON ALL "
    "SEQUENCES IN SCHEMA public"
)
READ_ONLY = "name the primary server, or all servers and `target_session_attrs=read-write`, in the URL"
_POOLER = "behind a pooler in transaction mode, add `pool_mode=transaction` to the URL's parameters"

_BY_SQLSTATE = {
    "08P01": "a pooler refuses a parameter; leave `options` out of the URL",
    "25006": READ_ONLY,
    "26000": _POOLER,
    "28000": "correct the user in the URL, or the server's pg_hba.conf",
    "28P01": "correct the password in the URL or in PGPASSFILE",
    "3D000": "create the database, then run `batchyield journal upgrade`",
    "42501": GRANTS,
    "42P01": "correct the role's search_path, or run `batchyield journal upgrade`",
    "42P05": _POOLER,
    "53100": "make room on the database server; the service then goes on by itself",
    "53300": "raise the server's max_connections, or put a pooler such as PgBouncer before it",
    "57P03": "wait until the server has started; the service then goes on by itself",
}
"""Remedies by the SQLSTATE of PostgreSQL's error."""

_BY_POOLER_MESSAGE = (
    ("query_wait_timeout", "look whether the pooler reaches the database server; else raise its default_pool_size"),
    ("no more connections allowed", "raise the pooler's max_client_conn"),
)
"""Remedies by a part of PgBouncer's message; all its errors have SQLSTATE 08P01."""

_MAKE_ROOM = (
    "make room on its disk, and the service goes on by itself; or copy the journal to a larger disk "
    f"(`batchyield journal backup FILE`), set {LOCATION_VARIABLE} to the copy and restart"
)
_PERMISSIONS = "give the service's user write permission on the file and its folder"
_LOCAL_DISK = f"keep the file on a local disk, not on a network drive, or set {LOCATION_VARIABLE} to PostgreSQL"

_BY_MESSAGE = (
    ("database or disk is full", _MAKE_ROOM),
    ("readonly database", _PERMISSIONS),
    ("unable to open database file", _PERMISSIONS),
    ("disk I/O error", f"look at the disk and its free space; {_LOCAL_DISK}"),
    ("locking protocol", _LOCAL_DISK),
    ("No locks available", _LOCAL_DISK),
    ("Permission denied", _PERMISSIONS),
    ("Read-only file system", _PERMISSIONS),
    ("database is locked", "end the program that holds the file; the service then goes on by itself"),
    ("malformed", "move the file away and restore a backup (`batchyield journal restore FILE`)"),
    ("not a database", LOCATION_REMEDY),
    ("could not translate host name", "correct the host in the URL"),
    ("password authentication failed", _BY_SQLSTATE["28P01"]),
    ("unsupported startup parameter", _BY_SQLSTATE["08P01"]),
    ("does not exist", "create the role and the database that the URL names, then run `batchyield journal upgrade`"),
    ("Is the server running", "start the database server, or correct the URL"),
    ("timeout expired", "start the database server, or correct the URL"),
    ("Connection refused", "start the database server, or correct the URL"),
)
"""Remedies by a part of the message: SQLite's, and PostgreSQL's while connecting, which have no SQLSTATE."""


def explain_failure(error: BaseException) -> tuple[str, str]:
    """Return the reason of a database error, or of an error of this package, in one line, and its remedy."""
    original: Any = getattr(error, "orig", None) or error
    reason = " ".join(str(original).split())
    if remedy := next((remedy for part, remedy in _BY_POOLER_MESSAGE if part in reason), None):
        return reason, remedy
    if remedy := _BY_SQLSTATE.get(getattr(original, "sqlstate", None) or ""):
        return reason, remedy
    return reason, next((remedy for part, remedy in _BY_MESSAGE if part in reason), LOCATION_REMEDY)


def is_operational(error: BaseException) -> bool:
    """Return whether the state of the database or its settings is the cause, and not a statement of this package."""
    original = getattr(error, "orig", None) or error
    return isinstance(error, OperationalError) or getattr(original, "sqlstate", None) in _BY_SQLSTATE
