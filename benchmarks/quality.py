"""Score of every model on the real plant's files, compared with public results, as a Markdown table.

    python benchmarks/quality.py --data FOLDER [--only line_trees ridge]

FOLDER holds the three files of the Tianchi competition's first round. Exit code 1: the default choice misses a target.
"""

import argparse
import csv
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from batchyield.errors import BatchyieldError, ConfigError
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.hyperparameter_search import cross_predict
from batchyield.modelling.metrics import Estimate, bootstrap
from batchyield.modelling.onnx_export import to_onnx
from batchyield.modelling.params import Params, parse_params
from batchyield.modelling.train import Predictions, train
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features import featurize
from batchyield.serving.predictor import Predictor
from batchyield.versioning.hydra_params import compose

ROOT = Path(__file__).parents[1]
TRAIN, TEST, ANSWERS = (
    "jinnan_round1_train_20181227.csv",
    "jinnan_round1_testA_20181227.csv",
    "jinnan_round1_ansA_20190125.csv",
)
CORE = (0.85, 1.0)
"""Yields that are neither accidents nor slips of the key."""

WORST_TEST, WORST_CV = 1.12e-4, 1.22e-4
COVERAGE = (0.87, 0.93)


class Anchor(NamedTuple):
    """A figure from elsewhere, score in 1e-4, and where it comes from."""

    what: str
    cv: str
    core: str
    test: str
    source: str


OWN_RUN = "fitted on the same files, 5x5 CV, scikit-learn 1.9.1, 2026-11-22"
PUBLISHED = "as published by its author for the competition's boards, not run again"
ANCHORS = (
    Anchor("constant mean", "4.77", "4.10", "4.41", OWN_RUN),
    Anchor("Ridge, readings and intervals", "1.58", "1.20", "1.46", OWN_RUN),
    Anchor("HistGradientBoosting", "1.40", "0.92", "1.16", OWN_RUN),
    Anchor("ExtraTrees", "1.40", "0.89", "1.09", OWN_RUN),
    Anchor("robust line, then ExtraTrees", "1.21", "0.93", "1.10", OWN_RUN),
    Anchor("public scripts, nearly all with the sample id", "", "", "0.86 to 1.33", "run again on these files"),
    Anchor("rank 47 of 2,682", "", "", "1.19 and 1.53", f"{PUBLISHED}: the two final boards, other rows than these"),
    Anchor("others, with the sample id", "", "", "0.76 to 1.00", PUBLISHED),
)


class Plant(NamedTuple):
    """Features and yields of the training and the answered test batches."""

    values: Matrix
    yields: Array
    test_values: Matrix
    test_yields: Array


class Quality(NamedTuple):
    """What was measured of one choice; `coverage` and `width` are those of the test batches' intervals."""

    cv: float
    spread: float
    core: float
    test: Estimate
    coverage: float
    width: float
    seconds: float
    size: int


def read(folder: Path) -> Plant:
    """Return the batches of the competition's files.

    Raises:
        ConfigError: a file is missing, or a test batch has no yield.
    """
    for name in (TRAIN, TEST, ANSWERS):
        if not (folder / name).is_file():
            raise ConfigError(
                f"{folder / name} is not a file", "give the folder of the competition's files: --data FOLDER"
            )
    sheet = read_sheet((folder / TRAIN).read_bytes(), with_yield=True)
    test = read_sheet((folder / TEST).read_bytes())
    with (folder / ANSWERS).open(encoding="utf-8-sig", newline="") as file:
        answers = {name: float(cell) for name, cell in csv.reader(file)}
    if missing := [str(batch.id) for batch in test.batches if batch.id not in answers]:
        raise ConfigError(
            f"{ANSWERS} has no yield for {', '.join(missing[:5])}", "take the answers that belong to the test file"
        )
    return Plant(
        featurize(sheet.batches).values,
        np.array(sheet.yields),
        featurize(test.batches).values,
        np.array([answers[str(batch.id)] for batch in test.batches]),
    )


def measure(plant: Plant, params: Params) -> Quality:
    """Cross-validate on the training batches, train on all of them, and score the artifact on the test batches."""
    squares = (cross_predict(plant.values, plant.yields, params) - plant.yields) ** 2 / 2
    rounds = squares.mean(axis=1)
    core = (plant.yields >= CORE[0]) & (plant.yields <= CORE[1])
    begun = perf_counter()
    trained = train(plant.values, plant.yields, params)
    seconds = perf_counter() - begun
    onnx = to_onnx(trained)
    answers = Predictions(*(np.array(side) for side in Predictor(onnx).predict_matrix(plant.test_values)))
    settings = params.evaluation
    found = bootstrap(plant.test_yields, answers, settings.bootstrap, settings.confidence, settings.seed)
    return Quality(
        float(rounds.mean()),
        float(rounds.std()),
        float(squares[:, core].mean()),
        found["score"],
        found["coverage"].value,
        found["width"].value,
        seconds,
        len(onnx),
    )


def line(choice: str, found: Quality, default: bool) -> str:
    """One row of the table."""
    cells = (
        f"**{choice}**" if default else choice,
        f"{found.cv * 1e4:.3f} ± {found.spread * 1e4:.3f}",
        f"{found.core * 1e4:.3f}",
        f"{found.test.value * 1e4:.3f} ({found.test.low * 1e4:.2f} to {found.test.high * 1e4:.2f})",
        f"{found.coverage:.3f}",
        f"{found.width:.4f}",
        f"{found.seconds:.1f}",
        f"{found.size / 1e3:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def verdict(found: Quality) -> list[tuple[bool, str]]:
    """Each target: whether it is met, and in words."""
    low, high = COVERAGE
    return [
        (
            found.test.value <= WORST_TEST,
            f"test {found.test.value * 1e4:.3f}e-4, target at most {WORST_TEST * 1e4:.2f}e-4",
        ),
        (found.cv <= WORST_CV, f"CV {found.cv * 1e4:.3f}e-4, target at most {WORST_CV * 1e4:.2f}e-4"),
        (low <= found.coverage <= high, f"coverage {found.coverage:.3f}, target {low} to {high}"),
    ]


def composed(choice: str | None = None) -> Params:
    """Return the parameters of `conf/` with a choice of model, by default the selected one."""
    return parse_params(
        compose(ROOT, [f"model={choice}"] if choice else []), f"conf/ with model={choice or 'its default'}"
    )


def report(folder: Path, only: list[str]) -> int:
    """Prints the tables and the verdict; returns the exit code."""
    plant, usual = read(folder), composed()
    settings = usual.evaluation
    print("Score = half the mean square error, in 1e-4; lower is better.\n")
    cut, sure = f"{settings.repeats} x {settings.folds} folds", f"{settings.confidence:.0%} bootstrap"
    print(f"| model | CV, {cut} | core | test ({sure}) | coverage | width | fit s | ONNX kB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    judged: list[tuple[bool, str]] = []
    for choice in only:
        params = composed(choice)
        found = measure(plant, params)
        print(line(choice, found, params.model == usual.model), flush=True)
        if params.model == usual.model:
            judged = verdict(found)
    print("\n| known | CV | core | test | source |\n|---|---|---|---|---|")
    for anchor in ANCHORS:
        print(f"| {' | '.join(anchor)} |")
    print()
    for met, message in judged:
        print(f"{'PASS' if met else 'FAIL'} {message}")
    if not judged:
        print("no verdict: the default choice was not measured")
    return 0 if all(met for met, _ in judged) else 1


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    choices = sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml"))
    parser = argparse.ArgumentParser(description="Quality of every choice of model on the real plant's files.")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        default=os.environ.get("BATCHYIELD_REAL_DATA"),
        help=f"holds {TRAIN}, {TEST} and {ANSWERS} (the environment's BATCHYIELD_REAL_DATA)",
    )
    parser.add_argument("--only", nargs="+", choices=choices, default=choices, metavar="MODEL", help=", ".join(choices))
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("name the folder of the competition's files: --data FOLDER")
    try:
        return report(Path(options.data), options.only)
    except BatchyieldError as error:
        print(f"quality: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
