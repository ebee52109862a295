"""The model: is it good enough, and can it be better?"""

import argparse
from pathlib import Path

from batchyield.cli.options import Commands, show, with_base, with_json


def add(commands: Commands) -> None:
    """Adds `gate` and `tune`."""
    gate = commands.add(
        "gate", _gate, "Judge the measured figures by the bounds in the params, and their change against a base."
    )
    gate.add_argument("--params", type=Path, default=Path("params.yaml"), help="where the bounds stand (%(default)s)")
    gate.add_argument("--metrics", type=Path, default=Path("data/metrics"), help="the figures (%(default)s)")
    with_base(gate)
    with_json(gate)

    tune = commands.add(
        "tune",
        _tune,
        "Search for better hyperparameters with Optuna on the training batches; an interrupted search resumes.",
    )
    tune.add_argument("space", type=Path, nargs="?", default=Path("conf/search/line_trees.yaml"), help="(%(default)s)")
    tune.add_argument("--write", metavar="NAME", help="write the winner as conf/model/NAME.yaml")
    tune.add_argument("--force", action="store_true", help="overwrite a choice of that name")


def _gate(options: argparse.Namespace) -> int:
    from batchyield.review.gate import Judgement, labelled

    if options.base:
        from batchyield.review.review import review

        made = review(options.base, options.labels, params=options.params, metrics=options.metrics).judgement
    else:
        from batchyield.modelling.params import read_params
        from batchyield.review.gate import judge

        made = Judgement(judge(read_params(options.params).gate, options.metrics), [], labelled(options.labels))
    show(made.as_json() if options.json else made, options, str)
    return 0 if made.passed else 1


def _tune(options: argparse.Namespace) -> int:
    from batchyield.modelling.reproducibility import pin

    pin()  # before NumPy loads
    from batchyield.modelling import hyperparameter_search as tune

    return tune.run(options.space, options.write, options.force)
