"""`batchyield review`: may a change be merged?"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from batchyield.cli.options import Parser, add_base_options, output_file, print_progress, print_result

if TYPE_CHECKING:
    from batchyield.review.report.page import Page

PARAMS, METRICS = Path("params.yaml"), Path("data/metrics")


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield review`."""
    review = program.add_noun("review", "Review of a change: the gate, the report, the outputs both sides need.")

    about = "Check the metrics against the bounds in the params, and their change against a base."
    gate = review.add("gate", _gate, about, "--base main", json=True)
    gate.add_argument("--params", type=Path, default=PARAMS, help="file with the bounds (%(default)s)")
    gate.add_argument("--metrics", type=Path, default=METRICS, help="folder of metrics (%(default)s)")
    add_base_options(gate)

    about = "Write a Markdown page that compares a change with its base, the gate's result first."
    report = review.add("report", _report, about, "--base main --out report.md")
    add_base_options(report, required=True)
    report.add_argument("--out", type=output_file, help="file to write (standard output)")
    for name, command in (
        ("verification", "batchyield pin verify --json"),
        ("replay", "batchyield model replay --json"),
        ("bench", "benchmarks/serving.py --json"),
    ):
        report.add_argument(f"--{name}", type=Path, metavar="JSON", help=f"output of `{command}`")

    about = "Fetch all outputs that HEAD and its base pin from the storage, or rebuild them."
    fetch = review.add("fetch", _fetch, about, "--base main", s3=True)
    fetch.add_argument("--base", metavar="REV", help="fetch what a comparison with this revision needs, too")

    about = "After a merge: rebuild and stage dvc.lock, params.yaml and data/metrics/, which git cannot merge."
    review.add("resolve", _resolve, about, s3=True)


def _gate(options: argparse.Namespace) -> int:
    from batchyield.review.gate import GateResult, check_bounds, has_override_label
    from batchyield.review.review import review_change
    from batchyield.versioning.provenance.stale_lock import find_stale

    overridden = has_override_label(options.labels)
    own = options.params == PARAMS and options.metrics == METRICS
    if own and (stale := find_stale()):
        result = GateResult([], [], overridden, stale)
    elif options.base:
        result = review_change(options.base, options.labels, params=options.params, metrics=options.metrics).gate_result
    else:
        from batchyield.modelling.params import read_params

        result = GateResult(check_bounds(read_params(options.params).gate, options.metrics), [], overridden)
    print_result(result.as_json() if options.json else result, options, str)
    return 0 if result.passed else 1


def _report(options: argparse.Namespace) -> None:
    from batchyield.files import write_atomic
    from batchyield.review.report.page import Attachments, failed_page, write_page

    def written(page: "Page") -> None:
        if options.out is None:
            print(page.text, end="")
        else:
            write_atomic(options.out, page.text.encode())
            print(f"wrote {options.out}: {page.verdict}")

    try:
        attachments = Attachments(options.verification, options.replay, options.bench)
        page = write_page(options.base, options.labels, attachments)
    except Exception as error:  # a fault of ours: the pull request gets a report all the same
        written(failed_page(error))
        raise
    written(page)


def _resolve(options: argparse.Namespace) -> None:
    from batchyield.review.merge import resolve_conflicts

    conflicts = resolve_conflicts(s3_port=options.s3_port, progress=print_progress)
    solved = f"solved {', '.join(conflicts)}" if conflicts else "no file conflicted"
    print(f"{solved}; dvc.lock, params.yaml and data/metrics/ are rebuilt and staged: `git commit` ends the merge")


def _fetch(options: argparse.Namespace) -> None:
    from batchyield.review.fetch_outputs import fetch_outputs

    fetch_outputs(options.base, s3_port=options.s3_port, progress=lambda line: print(line, flush=True))
