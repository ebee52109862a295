"""`batchyield drift`: the drift report of a model in service."""

import argparse
import sys

from batchyield.cli.journal import add_journal_option, add_period_options, open_journal, read_period
from batchyield.cli.model import model_folder
from batchyield.cli.options import Parser, output_file


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield drift`."""
    drift = program.add_noun("drift", "Drift of the inputs, the predictions and the error since the training.")

    about = "Write an HTML page for a process engineer: what moved since the training, and does the model still hold?"
    report = drift.add("report", _report, about, "--since 30d --out report.html")
    add_period_options(report)
    report.add_argument("--model", default="data/model", metavar="REV|DIR", help="revision or folder (%(default)s)")
    add_journal_option(report)
    report.add_argument("--out", required=True, type=output_file, metavar="FILE", help="one HTML file; - for stdout")
    report.add_argument("--language", choices=("en", "zh"), default="en", help="of the page (%(default)s)")
    report.add_argument("--fail-on-drift", action="store_true", help="exit with 1 if anything drifted")


def _report(options: argparse.Namespace) -> int:
    from batchyield.files import write_atomic
    from batchyield.monitoring.report.collect import collect_report
    from batchyield.monitoring.report.html import render_page
    from batchyield.monitoring.report.narrative import BAD, summarize
    from batchyield.monitoring.report.words import Words
    from batchyield.review.journal_replay import open_candidate

    since, until = read_period(options)
    artifact = open_candidate(model_folder(options.model))
    with open_journal(options) as store:
        findings = collect_report(store, artifact, since, until)
    page = render_page(findings, options.language)
    if str(options.out) == "-":
        sys.stdout.write(page)
    else:
        write_atomic(options.out, page.encode())
    summary = summarize(findings, Words(options.language))
    print(f"{options.out}: {summary.text}", file=sys.stderr)
    return 1 if options.fail_on_drift and summary.tone == BAD else 0
