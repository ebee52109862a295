"""`batchyield review`: may a change be merged?"""

import argparse
from pathlib import Path

from batchyield.cli.options import Parser, add_base_options, print_result


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield review`."""
    review = program.add_noun("review", "Review of a change: the gate, the report, the outputs both sides need.")

    about = "Check the metrics against the bounds in the params, and their change against a base."
    gate = review.add("gate", _gate, about, "--base main", json=True)
    gate.add_argument("--params", type=Path, default=Path("params.yaml"), help="file with the bounds (%(default)s)")
    gate.add_argument("--metrics", type=Path, default=Path("data/metrics"), help="folder of metrics (%(default)s)")
    add_base_options(gate)

    about = "Write a Markdown page that compares a change with its base, the gate's result first."
    report = review.add("report", _report, about, "--base main --out report.md")
    add_base_options(report, required=True)
    report.add_argument("--out", type=Path, help="file to write (standard output)")
    for name, command in (
        ("verification", "batchyield pin verify --json"),
        ("replay", "batchyield model replay --json"),
        ("bench", "benchmarks/serving.py --json"),
    ):
        report.add_argument(f"--{name}", type=Path, metavar="JSON", help=f"output of `{command}`")

    about = "Fetch all outputs that HEAD and its base pin from the storage, or rebuild them."
    fetch = review.add("fetch", _fetch, about, "--base main", s3=True)
    fetch.add_argument("--base", metavar="REV", help="fetch what a comparison with this revision needs, too")


def _gate(options: argparse.Namespace) -> int:
    from batchyield.review.gate import GateResult, has_override_label

    if options.base:
        from batchyield.review.review import review_change

        result = review_change(options.base, options.labels, params=options.params, metrics=options.metrics).gate_result
    else:
        from batchyield.modelling.params import read_params
        from batchyield.review.gate import check_bounds

        bounds = check_bounds(read_params(options.params).gate, options.metrics)
        result = GateResult(bounds, [], has_override_label(options.labels))
    print_result(result.as_json() if options.json else result, options, str)
    return 0 if result.passed else 1


def _report(options: argparse.Namespace) -> None:
    from batchyield.files import write_atomic
    from batchyield.review.report.page import Attachments, render_report
    from batchyield.review.review import review_change

    result = review_change(options.base, options.labels)
    page = render_report(result, Attachments(options.verification, options.replay, options.bench), options.base)
    if options.out is None:
        print(page, end="")
    else:
        write_atomic(options.out, page.encode())
        print(f"wrote {options.out}: the gate {'passes' if result.gate_result.passed else 'stops this change'}")


def _fetch(options: argparse.Namespace) -> None:
    from batchyield.review.fetch_outputs import fetch_outputs

    fetch_outputs(options.base, s3_port=options.s3_port, progress=lambda line: print(line, flush=True))
