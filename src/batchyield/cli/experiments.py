"""`batchyield experiments`: a grid of experiments, run and ranked; all experiments; one that is kept."""

import argparse
import sys

from batchyield.cli.options import Parser, add_json_option, print_progress, print_result


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield experiments`."""
    experiments = program.add_noun("experiments", "Experiments: run a grid, show all of them ranked, keep one.")

    about = "Run a grid of experiments through DVC's queue and rank them; finished ones are not run again."
    run = experiments.add("run", _run, about, "model=ridge,extra_trees intervals.level=0.8,0.9", s3=True)
    about = "as for `dvc exp run -S`; commas make the grid (every choice of model if there is none)"
    run.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=about)
    run.add_argument("--jobs", type=_positive, metavar="N", help="experiments at a time (number of cores)")
    run.add_argument("--name", help="prefix of the names (made from commit and overrides)")
    add_json_option(run, "print the ranking as JSON")

    about = "List the experiments that start from HEAD, ranked, with their noise; it fits 80 columns."
    show = experiments.add("show", _show, about, "--all", json=True)
    show.add_argument("--all", action="store_true", help="also those that start from other commits")

    about = "Write an experiment's choices into conf/ and commit it on a branch, for a pull request."
    keep = experiments.add("keep", _keep, about, "sweep-3f2a1c-2 --branch extra-trees", json=True)
    keep.add_argument("name", help="of the experiment, as `batchyield experiments show` lists it")
    keep.add_argument("--branch", help="name of the branch (the experiment's)")


def _positive(text: str) -> int:
    if not text.isdigit() or text == "0":
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _show(options: argparse.Namespace) -> None:
    from batchyield.experiments.listing import format_listing, list_experiments

    print_result(list_experiments(all_commits=options.all), options, format_listing)


def _keep(options: argparse.Namespace) -> None:
    from batchyield.experiments.keep import format_kept, keep_experiment

    print_result(keep_experiment(options.name, options.branch, progress=print_progress), options, format_kept)


def _run(options: argparse.Namespace) -> int:
    from batchyield.experiments.sweep import format_sweep, run_sweep

    result = run_sweep(options.overrides, sys.stderr, name=options.name, jobs=options.jobs, s3_port=options.s3_port)
    print_result(result, options, format_sweep)
    return result.exit_code
