"""Experiments: many choices tried, ranked, and the commands that go on from there."""

import argparse
import sys

from batchyield.cli.options import Commands, show, with_json, with_s3


def add(commands: Commands) -> None:
    """Adds `sweep`."""
    sweep = commands.add(
        "sweep", _sweep, "Run a grid of experiments through DVC's queue and rank them; finished ones are not run again."
    )
    sweep.add_argument(
        "overrides",
        nargs="*",
        metavar="OVERRIDE",
        help="as for `dvc exp run -S`, commas make the grid: model=ridge,extra_trees intervals.level=0.8,0.9 "
        "(every choice of model where none is given)",
    )
    sweep.add_argument("--jobs", type=_positive, metavar="N", help="experiments at a time (as many as there are cores)")
    sweep.add_argument("--name", help="stem of the experiments' names (one made from the commit and the overrides)")
    with_json(sweep, "the ranking as JSON on standard output")
    with_s3(sweep)


def _positive(text: str) -> int:
    if not text.isdigit() or text == "0":
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _sweep(options: argparse.Namespace) -> int:
    from batchyield.experiments.sweep import render, sweep

    made = sweep(options.overrides, sys.stderr, name=options.name, jobs=options.jobs, s3_port=options.s3_port)
    show(made, options, render)
    return made.exit_code
