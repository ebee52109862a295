"""`batchyield experiments`: a grid of experiments, run and ranked."""

import argparse
import sys

from batchyield.cli.options import Parser, add_json_option, print_result


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield experiments`."""
    experiments = program.add_noun("experiments", "Experiments through DVC's queue, ranked.")

    about = "Run a grid of experiments through DVC's queue and rank them; finished ones are not run again."
    run = experiments.add("run", _run, about, "model=ridge,extra_trees intervals.level=0.8,0.9", s3=True)
    about = "as for `dvc exp run -S`; commas make the grid (every choice of model if there is none)"
    run.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=about)
    run.add_argument("--jobs", type=_positive, metavar="N", help="experiments at a time (number of cores)")
    run.add_argument("--name", help="prefix of the names (made from commit and overrides)")
    add_json_option(run, "print the ranking as JSON")


def _positive(text: str) -> int:
    if not text.isdigit() or text == "0":
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    from batchyield.experiments.sweep import format_sweep, run_sweep

    result = run_sweep(options.overrides, sys.stderr, name=options.name, jobs=options.jobs, s3_port=options.s3_port)
    print_result(result, options, format_sweep)
    return result.exit_code
