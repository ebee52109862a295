"""The journal: what it holds, its schema, its age; and journalled inputs through another model."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchyield.cli.options import Commands, show, with_json
from batchyield.errors import SetupError

if TYPE_CHECKING:
    from batchyield.journal.database import Database

SINCE = "7d, 12h or 30m (ago), 2026-11-01, or a time of ISO 8601"


def add(commands: Commands) -> None:
    """Adds `journal` and `replay`."""
    journal = commands.add("journal", _journal, "Look at the journal of predictions, upgrade, prune or export it.")
    actions = journal.add_subparsers(required=True, metavar="ACTION")

    status = _action(actions, "status", _status, "What the journal holds, and the revision of its schema.")
    with_json(status)
    _action(actions, "upgrade", _upgrade, "Make the journal's tables, or bring them up to date.")
    prune = _action(actions, "prune", _prune, "Remove predictions and outcomes that are older than a time.")
    prune.add_argument("--before", required=True, metavar="TIME", help=SINCE)
    export = _action(actions, "export", _export, "Write what was answered, oldest first, to standard output.")
    export.add_argument("--since", metavar="TIME", help=SINCE)
    export.add_argument("--until", metavar="TIME", help="the first time that is left out")
    export.add_argument("--format", choices=["jsonl", "csv"], default="jsonl", help="(%(default)s)")

    replay = commands.add(
        "replay", _replay, "Run journalled inputs through a candidate model and say what it would have changed."
    )
    replay.add_argument("--since", required=True, metavar="TIME", help=SINCE)
    replay.add_argument("--until", metavar="TIME", help="the first time that is left out")
    replay.add_argument("--limit", type=int, metavar="N", help="the latest N predictions of that time alone")
    replay.add_argument("--model", required=True, metavar="REV|DIR", help="the candidate: a revision or a folder")
    replay.add_argument(
        "--baseline",
        default="journal",
        metavar="REV|DIR",
        help="`journal`: what was answered; or a model (%(default)s)",
    )
    replay.add_argument(
        "--fail-over",
        action="append",
        default=[],
        metavar="[FIGURE=]MOST",
        help="exit with 1 where the figure is greater, p95 where none is named: mean, mean_absolute, p95, largest, "
        "changed, outside, slice or live_rmse; may be given more than once",
    )
    with_journal(replay)
    with_json(replay)


def with_journal(added: argparse.ArgumentParser) -> None:
    """`--journal`, for what reads it."""
    about = (
        "a file or a URL ($BATCHYIELD_JOURNAL, or what $BATCHYIELD_JOURNAL_URL_FILE holds, or .journal/journal.sqlite)"
    )
    added.add_argument("--journal", metavar="URL", help=about)


def _action(actions: Any, name: str, call: Any, about: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = actions.add_parser(name, help=about, description=about)
    added.set_defaults(act=call)
    with_journal(added)
    return added


def _journal(options: argparse.Namespace) -> int:
    return int(options.act(options))


@contextlib.contextmanager
def opened(options: argparse.Namespace, made: bool = True) -> Iterator["Database"]:
    """The journal that is meant; `made`: its schema must be there and up to date."""
    from sqlalchemy.exc import DBAPIError

    from batchyield.journal.database import (
        LOCATION_REMEDY,
        LOCATION_VARIABLE,
        URL_FILE_VARIABLE,
        Database,
        locate_journal,
    )
    from batchyield.journal.migrate import ensure_schema

    given = options.journal or os.environ.get(LOCATION_VARIABLE, "")
    url = locate_journal(given, "" if options.journal else os.environ.get(URL_FILE_VARIABLE, ""), Path())
    if url is None:
        raise SetupError("no journal is kept", LOCATION_REMEDY)
    store = Database(url)
    try:
        if made and store.file is not None and not store.file.exists():
            raise SetupError(f"there is no journal at {store.name}", "name it with --journal; a service makes it")
        if made:
            ensure_schema(store)
        yield store
    except DBAPIError as error:
        raise SetupError(f"the journal {store.name} cannot be used: {error.orig}", LOCATION_REMEDY) from None
    finally:
        store.close()


def _status(options: argparse.Namespace) -> int:
    from batchyield.journal.export import read_status, render_status

    with opened(options) as store:
        show(read_status(store), options, render_status)
    return 0


def _upgrade(options: argparse.Namespace) -> int:
    from batchyield.journal.migrate import upgrade_schema

    with opened(options, made=False) as store:
        before, now = upgrade_schema(store)
        print(f"the journal {store.name} " + (f"was at {now} already" if before == now else f"is at {now} now"))
    return 0


def _prune(options: argparse.Namespace) -> int:
    from batchyield.journal.retention import prune
    from batchyield.journal.timestamps import parse_time

    with opened(options) as store:
        print(f"removed {prune(store, parse_time(options.before))} predictions")
    return 0


def _export(options: argparse.Namespace) -> int:
    from batchyield.journal.export import format_csv_lines, format_json_lines
    from batchyield.journal.queries import read_predictions
    from batchyield.journal.timestamps import parse_time

    since, until = (parse_time(given) if given else None for given in (options.since, options.until))
    with opened(options) as store:
        lines = format_csv_lines if options.format == "csv" else format_json_lines
        sys.stdout.writelines(lines(read_predictions(store, since, until)))
    return 0


def _replay(options: argparse.Namespace) -> int:
    import msgspec

    from batchyield.journal.queries import read_predictions
    from batchyield.journal.timestamps import parse_time
    from batchyield.review.journal_replay import bounds, open_candidate, render, replay

    limits = _limits(options.fail_over)
    since, until = parse_time(options.since), parse_time(options.until) if options.until else None
    candidate = open_candidate(model_folder(options.model))
    baseline = None if options.baseline == "journal" else open_candidate(model_folder(options.baseline))
    with opened(options) as store:
        made = replay(read_predictions(store, since, until, options.limit), candidate, baseline)
    verdicts = bounds(made, limits)
    if options.json:
        told = msgspec.to_builtins(made) | {
            "bounds": [{"figure": b.figure, "most": b.most, "found": b.found, "passed": b.passed} for b in verdicts]
        }
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        print("\n".join([render(made), *(["", *map(str, verdicts)] if verdicts else [])]))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _limits(given: list[str]) -> dict[str, float]:
    from batchyield.review.journal_replay import FIGURES

    limits = {}
    for one in given:
        figure, equals, most = one.rpartition("=")
        figure = figure if equals else "p95"
        try:
            limits[figure] = float(most)
        except ValueError:
            raise SetupError(f"--fail-over {one}: {most!r} is no number", "write for example p95=0.01") from None
        if figure not in FIGURES:
            raise SetupError(f"--fail-over {one}: there is no figure {figure}", f"there are {', '.join(FIGURES)}")
    return limits


def model_folder(named: str) -> Path:
    """The folder of a model that is named by it, or by a revision, whose model is brought."""
    if Path(named).is_dir():
        return Path(named)
    from batchyield.release.pinned_model import fetch_model

    return fetch_model(named)
