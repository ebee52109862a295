"""The search for better settings of a model: successive halving, judged by cross-validation on the training batches.

Every candidate of a round meets the same batches in the same folds, so differences are not luck of the cut; each round
keeps the better ones and gives them more batches. scikit-learn's `HalvingRandomSearchCV` cannot reach the parameters of
`YieldModel`'s members and ranks on a single cut; the loop here is shorter than what would make it fit.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from sklearn.model_selection import KFold

from batchyield.choice import destination, write_choice
from batchyield.errors import ParamsError, SetupError
from batchyield.estimators import Array, Matrix
from batchyield.evaluation import METRIC_DECIMALS, SMALLEST_PART
from batchyield.families import ModelParams
from batchyield.intervals import out_of_fold
from batchyield.model import build
from batchyield.params import Params, load
from batchyield.space import Number, Space, candidates, load_space
from batchyield.table import read_features, read_table


class Candidate(msgspec.Struct, frozen=True):
    """A model that was tried, with the figures of the last round it reached.

    Attributes:
        number: in the order of the draw; 0 is the model as the space gives it, which no round drops.
        values: place and value of what was drawn.
        model: the whole of its parameters.
        rows: training batches of that round.
        score: cross-validated half mean square error, mean of the repeats.
        spread: standard deviation of `score` between the repeats.
        gain: how much lower the score is than that of candidate 0 in the same folds, mean of the repeats.
        gain_spread: standard deviation of `gain` between the repeats.
    """

    number: int
    values: tuple[tuple[str, Number], ...]
    model: ModelParams
    rows: int
    score: float
    spread: float
    gain: float
    gain_spread: float


def cross_predict(X: Matrix, y: Array, params: Params) -> Array:  # noqa: N803 - as scikit-learn
    """Out-of-fold answers [repeats, n], in the folds of `evaluation.cross_validate` and without fitting intervals."""
    model, settings = build(params.model, params.features, params.target), params.evaluation
    cuts = [KFold(settings.folds, shuffle=True, random_state=settings.seed + r) for r in range(settings.repeats)]
    return np.array([out_of_fold(model, X, y, [test for _, test in cut.split(X)]) for cut in cuts])


def scores(X: Matrix, y: Array, params: Params) -> Array:  # noqa: N803
    """Cross-validated `score` [repeats] of the model that the parameters describe."""
    return np.asarray(((cross_predict(X, y, params) - y) ** 2).mean(axis=1) / 2)


def search(
    X: Matrix,  # noqa: N803
    y: Array,
    params: Params,
    space: Space,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Candidate, ...]:
    """Try the candidates of a space and rank them, best first: by the last round reached, then by score.

    Args:
        X: feature matrix [n, len(FEATURES)] of the training batches.
        y: their yields [n].
        params: what is not searched: features, target, and the folds, repeats and seed of the cross-validation.
        space: what is tried.
        progress: gets one line for each round and each candidate in it.

    Raises:
        ParamsError: the first round would have too few batches to judge by.
    """
    order = np.random.default_rng(space.seed).permutation(len(y))
    sizes = [len(y) // space.factor ** (space.rounds - 1 - r) for r in range(space.rounds)]
    if sizes[0] < SMALLEST_PART:
        raise ParamsError(
            "search space",
            f"$.rounds: {space.rounds} rounds by {space.factor} begin with {sizes[0]} of {len(y)} batches; "
            f"at least {SMALLEST_PART} are needed",
            "take fewer rounds, a smaller factor or more batches",
        )
    drawn = candidates(space)
    left, ranked = list(range(len(drawn))), list[Candidate]()
    for number, size in enumerate(sizes, 1):
        progress(f"round {number} of {space.rounds}: {len(left)} candidates on {size} batches")
        part = np.sort(order[:size])
        judged = _judged(X[part], y[part], params, [(n, *drawn[n]) for n in left], progress)
        ranked = judged + [old for old in ranked if old.number not in left]
        keep = max(1, -(-len(left) // space.factor))
        left = sorted({0} | {found.number for found in judged[:keep]})
    return tuple(ranked)


def _judged(
    X: Matrix,  # noqa: N803
    y: Array,
    params: Params,
    tried: list[tuple[int, tuple[tuple[str, Number], ...], ModelParams]],
    progress: Callable[[str], None],
) -> list[Candidate]:
    """The candidates of one round, best first; the first of `tried` is candidate 0."""
    found, start = list[Candidate](), np.zeros(0)
    for number, values, model in tried:
        own = scores(X, y, msgspec.structs.replace(params, model=model))
        start = own if number == 0 else start
        gain = start - own
        figures = (round(float(f), METRIC_DECIMALS) for f in (own.mean(), own.std(), gain.mean(), gain.std()))
        found.append(Candidate(number, values, model, len(y), *figures))
        settings = ", ".join(f"{place} {value:g}" for place, value in values)
        progress(f"  {len(found)} of {len(tried)}: {own.mean() * 1e4:.3f}e-4 with {settings or 'no change'}")
    return sorted(found, key=lambda candidate: (candidate.score, candidate.number))


def table(ranked: Sequence[Candidate]) -> list[str]:
    """The candidates as lines of text, best first; score and gain in 1e-4, each with its spread."""
    places = list(dict.fromkeys(place for candidate in ranked for place, _ in candidate.values))
    rows = [["rank", "candidate", "batches", "score", "±", "gain", "±", *places]]
    for rank, candidate in enumerate(ranked, 1):
        figures = (candidate.score, candidate.spread, candidate.gain, candidate.gain_spread)
        drawn = dict(candidate.values)
        settings = [f"{drawn[place]:g}" if place in drawn else "as it is" for place in places]
        name = str(candidate.number) if candidate.number else "start"
        rows.append([str(rank), name, str(candidate.rows), *(f"{f * 1e4:.3f}" for f in figures), *settings])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def run(space_path: Path, write: str | None = None, force: bool = False) -> int:
    """`batchyield tune`: search on the training batches of the workspace, print the ranking, keep the winner if asked.

    Args:
        space_path: YAML file of the search space, for example `search/line_trees.yaml`.
        write: name of the choice in `conf/model/` that the winner becomes; None to write nothing.
        force: whether an existing choice of that name may be replaced.

    Raises:
        ParamsError: the space, or `params.yaml`, is wrong; or there are too few batches.
        SetupError: the choice exists already or has no possible name, or the features are not built.
    """
    # What would be refused at the end is refused before anybody waits for it.
    path = None if write is None else destination(write, force)
    space, params = load_space(space_path), load()
    X, y = _training()  # noqa: N806 - as scikit-learn
    ranked = search(X, y, params, space, lambda line: print(line, file=sys.stderr, flush=True))
    print("\n".join(table(ranked)))
    if path is not None:
        print(write_choice(path, ranked[0].model, _origin(ranked, space, f"{_shown(space_path)} --write {path.stem}")))
    return 0


def _origin(ranked: Sequence[Candidate], space: Space, arguments: str) -> str:
    """The comment on a winner: how to find it again, and by how much it won."""
    winner, start = ranked[0], next(candidate for candidate in ranked if candidate.number == 0)
    return (
        f"Written by `batchyield tune {arguments}`: the best of {len(ranked)} candidates, seed {space.seed}.\n"
        f"Cross-validated score {winner.score * 1e4:.3f}e-4 on {winner.rows} training batches; "
        f"{start.score * 1e4:.3f}e-4 where the search began."
    )


def _shown(path: Path) -> str:
    """The path as a committed file may show it: never where somebody's checkout lies."""
    return path.name if path.is_absolute() else path.as_posix()


def _training() -> tuple[Matrix, Array]:
    features, batches = Path("data/features/train.parquet"), Path("data/split/train.parquet")
    for path in (features, batches):
        if not path.is_file():
            raise SetupError(f"there is no {path}", "run `make repro`, or `dvc repro featurize`")
    return read_features(features), read_table(batches)["yield"].to_numpy(dtype=float)
