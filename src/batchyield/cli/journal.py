"""`batchyield journal`: what the journal of predictions holds, its schema, its retention, its export, its backup."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from batchyield.cli.options import Parser, print_result
from batchyield.errors import JournalError

if TYPE_CHECKING:
    from batchyield.journal.database import Database

TIME_HELP = "7d, 12h or 30m (ago), 2026-11-01, or a time of ISO 8601"


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield journal`."""
    journal = program.add_noun(
        "journal", "The journal of predictions: status, schema upgrade, pruning, export, backup."
    )

    about = "Report what the journal holds and the revision of its schema."
    status = journal.add("status", _status, about, "--json", json=True)

    upgrade = journal.add("upgrade", _upgrade, "Create the journal's tables or migrate them.", json=True)

    about = "Delete predictions and outcomes that are older than a time."
    prune = journal.add("prune", _prune, about, "--before 90d", json=True)
    prune.add_argument("--before", required=True, metavar="TIME", help=TIME_HELP)
    prune.add_argument("--dry-run", action="store_true", help="only report what would be deleted")

    about = "Write the journalled predictions to standard output, oldest first."
    export = journal.add("export", _export, about, "--since 1d --format csv")
    add_period_options(export, required=False)
    export.add_argument("--format", choices=["jsonl", "csv"], default="jsonl", help="(%(default)s)")

    about = "Write the whole journal, as it is now, into a new SQLite file; safe while the service runs."
    backup = journal.add("backup", _backup, about, "journal-2026-11-29.sqlite", json=True)
    backup.add_argument("file", type=Path, metavar="FILE", help="file to create; it is itself a journal")

    about = "Add what the journal lacks from a backup; nothing in the journal is replaced or removed."
    restore = journal.add("restore", _restore, about, "journal-2026-11-29.sqlite", json=True)
    restore.add_argument("file", type=Path, metavar="FILE", help="file that `batchyield journal backup` wrote")
    for parser in (status, upgrade, prune, export, backup, restore):
        add_journal_option(parser)


def add_journal_option(parser: argparse.ArgumentParser) -> None:
    """Add `--journal`, for commands that read the journal."""
    about = "file or URL ($BATCHYIELD_JOURNAL, the content of $BATCHYIELD_JOURNAL_URL_FILE, .journal/journal.sqlite)"
    parser.add_argument("--journal", metavar="URL", help=about)


def add_period_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add `--since` and `--until`, a period of the journal."""
    parser.add_argument("--since", required=required, metavar="TIME", help=TIME_HELP)
    parser.add_argument("--until", metavar="TIME", help="end of the period, excluded")


def read_period(options: argparse.Namespace) -> tuple[int | None, int | None]:
    """Return `--since` and `--until` as microseconds since 1970, or None."""
    from batchyield.journal.export import parse_time

    since, until = (parse_time(text) if text else None for text in (options.since, options.until))
    return since, until


@contextlib.contextmanager
def open_journal(options: argparse.Namespace, *, must_exist: bool = True, writes: bool = False) -> Iterator["Database"]:
    """Open the journal of `--journal`; with `must_exist`, the file and the current schema are required.

    Without `writes`, the permission to read the file is enough, and nothing in it changes.
    """
    from sqlalchemy.exc import DBAPIError

    from batchyield.journal import database, failures
    from batchyield.journal.migrate import check_schema, ensure_schema

    location = options.journal or os.environ.get(failures.LOCATION_VARIABLE, "")
    url_file = "" if options.journal else os.environ.get(database.URL_FILE_VARIABLE, "")
    url = database.locate_journal(location, url_file, Path())
    if url is None:
        raise JournalError("no journal is kept", failures.LOCATION_REMEDY)
    store = database.Database(url, read_only=not writes)
    try:
        if must_exist:
            if store.file is not None and not store.file.exists():
                raise JournalError(f"there is no journal at {store.name}", "give --journal; the service creates one")
            (ensure_schema if writes else check_schema)(store)
        yield store
    except DBAPIError as error:
        reason, remedy = failures.explain_failure(error)
        raise JournalError(f"the journal {store.name} cannot be used: {reason}", remedy) from None
    finally:
        store.close()


def _status(options: argparse.Namespace) -> None:
    from batchyield.journal.export import read_status, render_status

    with open_journal(options) as store:
        print_result(read_status(store), options, render_status)


def _upgrade(options: argparse.Namespace) -> None:
    from batchyield.journal.migrate import upgrade_schema

    with open_journal(options, must_exist=False, writes=True) as store:
        before, now = upgrade_schema(store)
        text = f"the journal {store.name} " + (f"was at {now} already" if before == now else f"is at {now} now")
        print_result({"journal": store.name, "before": before, "revision": now}, options, lambda _: text)


def _prune(options: argparse.Namespace) -> None:
    from batchyield.journal.export import parse_time
    from batchyield.journal.retention import count_aged, prune

    before = parse_time(options.before)
    with open_journal(options, writes=not options.dry_run) as store:
        aged = count_aged(store, before)
        removed = 0 if options.dry_run else prune(store, before)
    text = f"{aged.predictions} predictions, {aged.outcomes} outcomes, {aged.corrections} corrections"
    verb = "would remove" if options.dry_run else "removed"
    print_result({"removed": removed, "aged": aged}, options, lambda _: f"{verb} {text}")


def _export(options: argparse.Namespace) -> None:
    from batchyield.journal.export import format_csv_lines, format_json_lines
    from batchyield.journal.queries import read_predictions

    since, until = read_period(options)
    with open_journal(options) as store:
        lines = format_csv_lines if options.format == "csv" else format_json_lines
        sys.stdout.writelines(lines(read_predictions(store, since, until)))


def _backup(options: argparse.Namespace) -> None:
    from batchyield.journal.backup import back_up

    with open_journal(options) as store:
        holds = back_up(store, options.file)
    text = (
        f"{options.file}: {holds.predictions} predictions, {holds.outcomes} outcomes, {holds.corrections} corrections"
    )
    print_result({"file": str(options.file), "holds": holds}, options, lambda _: text)


def _restore(options: argparse.Namespace) -> None:
    from batchyield.journal.backup import restore

    with open_journal(options, must_exist=False, writes=True) as store:
        added = restore(store, options.file)
        text = f"added {added.predictions} predictions, {added.outcomes} outcomes, {added.corrections} corrections"
        print_result(added, options, lambda _: f"{text} to {store.name}")
