"""What is seen of a model in service, as a page."""

import argparse
import sys
from pathlib import Path

from batchyield.cli.journal import SINCE, model_folder, opened, with_journal
from batchyield.cli.options import Commands
from batchyield.errors import SetupError

MODEL = "data/model"


def add(commands: Commands) -> None:
    """Adds `drift-report`."""
    report = commands.add(
        "drift-report",
        _drift_report,
        "Write a page for a process engineer: what moved since the training, and whether the model still holds.",
    )
    report.add_argument("--since", required=True, metavar="TIME", help=SINCE)
    report.add_argument("--until", metavar="TIME", help="the first time that is left out")
    report.add_argument(
        "--model",
        default=MODEL,
        metavar="REV|DIR",
        help="whose answers: a revision or a folder (%(default)s, that of the checkout)",
    )
    with_journal(report)
    report.add_argument("--out", required=True, type=Path, metavar="FILE", help="the page, one HTML file")
    report.add_argument(
        "--fail-on-drift", action="store_true", help="exit with 1 where a reading, the yields or the error moved"
    )


def _drift_report(options: argparse.Namespace) -> int:
    from batchyield.files import write_atomic
    from batchyield.journal.timestamps import parse_time
    from batchyield.monitoring.report.collect import collect_report
    from batchyield.monitoring.report.narrative import BAD, summarize
    from batchyield.review.journal_replay import open_candidate

    since, until = parse_time(options.since), parse_time(options.until) if options.until else None
    artifact = open_candidate(model_folder(options.model))
    with opened(options) as store:
        found = collect_report(store, artifact, since, until)
    try:
        from batchyield.monitoring.report.html import render_page
    except ModuleNotFoundError as error:
        raise SetupError(
            f"{error.name} is not installed", "install the extra: `pip install batchyield[report]`"
        ) from None
    write_atomic(options.out, render_page(found).encode())
    said = summarize(found)
    print(f"{options.out}: {said.text}", file=sys.stderr)
    return 1 if options.fail_on_drift and said.tone == BAD else 0
