"""Hyperparameter search with Optuna: TPE sampler, median pruner, cross-validation on the training batches.

Every trial is scored in the same folds as the baseline, so their difference is paired. Trials are stored in SQLite as
they end. The sampler of each trial is seeded with the number of trials before it: a search that was interrupted and
resumed tries the same models as one that was not. The search space is a YAML file in `conf/search/`, which is not part
of the composed `params.yaml`.
"""

import functools
import hashlib
import math
import operator
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import yaml
from msgspec import Meta
from scipy import stats
from sklearn.model_selection import KFold

from batchyield.errors import ConfigError, ConflictError, MissingToolError, ParamsError
from batchyield.files import write_atomic
from batchyield.modelling.card_metrics import METRIC_DECIMALS
from batchyield.modelling.conformal import Rows, predict_out_of_fold
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.params import ModelParams, Params, Seed, Struct, read_params
from batchyield.modelling.parquet import read_features, read_table
from batchyield.modelling.yield_model import build_model
from batchyield.parallel.engine import open_engine
from batchyield.parallel.tasks import Engine, in_process
from batchyield.plant.table import TARGET

STUDIES = Path(".cache/search")
CONFIDENCE = 0.9
"""Of the interval of a gain."""
UNPRUNED = 4
"""Complete trials before the pruner may end one."""
REMEDY = "correct the search space"

Number = int | float
Numbers = Annotated[tuple[Number, ...], Meta(min_length=1)]


class SearchSpace(Struct, frozen=True):
    """What the search may try, and how often.

    Attributes:
        model: the baseline; every trial replaces some of its parameters. In the file also the name of a choice in
            `conf/model/`, so that it is not repeated there.
        values: dotted parameter of `model`, such as `extra_trees.max_features` -> values to choose from.
        trials: models to try beside the baseline, pruned ones included.
        seed: of the sampler.
    """

    model: ModelParams
    values: Annotated[dict[str, Numbers], Meta(min_length=1)]
    trials: Annotated[int, Meta(ge=1)]
    seed: Seed


class Candidate(msgspec.Struct, frozen=True):
    """A model with its cross-validated score.

    Attributes:
        number: of the trial, from 1; 0 for the baseline.
        values: dotted parameter -> value, as drawn; empty for the baseline.
        repeats: finished repeats of the cross-validation; fewer than `evaluation.repeats` if pruned.
        score: half the mean squared error, mean of those repeats.
        gain: the baseline's score minus this one, in the same folds.
        half_width: of the gain's 90 % confidence interval (corrected resampled t-test); None for the baseline.
    """

    number: int
    values: dict[str, Number]
    model: ModelParams
    repeats: int
    score: float
    gain: float
    half_width: float | None


def load_space(path: str | Path) -> SearchSpace:
    """Return the search space of a YAML file, with every value checked against its parameter.

    Raises:
        ParamsError: the file cannot be read, or a value is missing, unknown or out of range.
    """
    source = str(path)
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        if isinstance(raw, dict) and isinstance(raw.get("model"), str):
            choice = Path(path).parent.parent / "model" / f"{raw['model']}.yaml"
            raw["model"] = yaml.safe_load(choice.read_text(encoding="utf-8"))
        space = msgspec.convert(raw, SearchSpace)
    except (OSError, UnicodeDecodeError) as error:
        remedy = "name a search space, such as conf/search/line_trees.yaml"
        raise ParamsError(source, f"cannot be read: {error}", remedy) from error
    except yaml.YAMLError as error:
        raise ParamsError(source, f"invalid YAML: {error}", REMEDY) from error
    except msgspec.ValidationError as error:
        raise ParamsError(source, _problem(error), REMEDY) from error
    known = _numbers(msgspec.to_builtins(space.model))
    for name, values in space.values.items():
        field = f"$.values.{name}"
        if name not in known:
            raise ParamsError(source, f"{field}: unknown parameter; the model has {', '.join(known)}", REMEDY)
        if len(set(values)) < len(values):
            raise ParamsError(source, f"{field}: duplicate value in {list(values)}", REMEDY)
        for i, value in enumerate(values):
            try:
                replace(space.model, {name: value})
            except msgspec.ValidationError as error:
                problem = _problem(error).partition(": ")[2]
                raise ParamsError(source, f"{field}[{i}]: {problem}: {value}", REMEDY) from error
    return space


def replace(model: ModelParams, values: Mapping[str, Number]) -> ModelParams:
    """Return the model with other values of some dotted parameters; msgspec checks types and ranges."""
    raw = msgspec.to_builtins(model)
    for name, value in values.items():
        *above, last = name.split(".")
        functools.reduce(operator.getitem, above, raw)[last] = value
    return msgspec.convert(raw, ModelParams)  # type: ignore[no-any-return]


def _numbers(raw: Mapping[str, Any], above: str = "") -> list[str]:
    """Return the dotted names of all numeric parameters."""
    found = []
    for name, value in raw.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{above}{name}.")
        elif isinstance(value, Number):
            found.append(f"{above}{name}")
    return found


def _problem(error: msgspec.ValidationError) -> str:
    """Return msgspec's message as `field: problem`."""
    problem, _, field = str(error).replace("`", "").partition(" - at ")
    return f"{field or '$'}: {problem[0].lower()}{problem[1:]}"


def folds(X: Matrix, params: Params, repeat: int) -> list[Any]:  # noqa: N803 - as scikit-learn
    """Return the test rows of each fold of one repeat, as `evaluation.cross_validate` cuts them."""
    cut = KFold(params.evaluation.folds, shuffle=True, random_state=params.evaluation.seed + repeat)
    return [test for _, test in cut.split(X)]


def cross_predict(X: Matrix, y: Array, params: Params) -> Array:  # noqa: N803
    """Return out-of-fold predictions [repeats, n], without fitting intervals."""
    model = build_model(params.model, params.features, params.target, params.sample)
    return np.array([predict_out_of_fold(model, X, y, folds(X, params, r)) for r in range(params.evaluation.repeats)])


def nadeau_bengio_half_width(variance: float, repeats: int, n_folds: int, confidence: float = CONFIDENCE) -> float:
    """Return the half width of the confidence interval of a cross-validated difference of two models.

    Args:
        variance: of the difference between the folds.
        repeats: of the cross-validation, of `n_folds` folds each.
        confidence: of the interval.

    Source: Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52, 2003. Folds share training
    batches, so 1 / (repeats n_folds) alone would claim far too much; 1 / (n_folds - 1) is their correction.
    """
    number = repeats * n_folds
    error = math.sqrt((1 / number + 1 / (n_folds - 1)) * variance)
    return float(stats.t.ppf((1 + confidence) / 2, number - 1)) * error


def search(
    X: Matrix,  # noqa: N803
    y: Array,
    params: Params,
    space: SearchSpace,
    storage: Path,
    progress: Callable[[str], None] = lambda _: None,
    engine: Engine = in_process,
) -> list[Candidate]:
    """Run the search, or what is left of it, and return the candidates.

    Args:
        X: feature matrix [n, len(FEATURES)] of the training batches.
        y: their yields [n].
        params: everything but the model; `evaluation` sets the cross-validation.
        storage: SQLite file of the Optuna study; an existing one is resumed.
        progress: receives one line per trial.
        engine: runs the folds of a repeat as tasks; a trial waits for the one before, from which its sampler learns.

    Returns:
        Complete trials and the baseline, lowest score first, then pruned trials; no two with the same values.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED)
    study = optuna.create_study(
        storage=f"sqlite:///{storage}", study_name="search", pruner=pruner, load_if_exists=True, direction="minimize"
    )

    cuts = [folds(X, params, repeat) for repeat in range(params.evaluation.repeats)]

    def fold_scores(model: ModelParams, tests: Sequence[Rows]) -> list[float]:
        return list(engine(_fold_score, (X, y, params, model), tests))

    if "baseline" not in study.user_attrs:
        scores = fold_scores(space.model, [test for cut in cuts for test in cut])
        study.set_user_attr("baseline", np.reshape(scores, (len(cuts), -1)).tolist())
    baseline = np.array(study.user_attrs["baseline"])
    found = [Candidate(0, {}, space.model, len(baseline), round(float(baseline.mean()), METRIC_DECIMALS), 0.0, None)]
    progress(f"baseline: {TARGET.shown_score(found[0].score)}")

    State, tried = optuna.trial.TrialState, math.prod(map(len, space.values.values()))  # noqa: N806
    scored = (State.COMPLETE, State.PRUNED)
    done = {tuple(t.params.items()): t.user_attrs["folds"] for t in study.trials if t.state in scored}
    while len(done) < min(space.trials, tried):
        ended = [trial for trial in study.trials if trial.state.is_finished()]
        repeated = bool(ended) and ended[-1].state == State.FAIL
        samplers, seed = optuna.samplers, space.seed + len(ended)
        study.sampler = (
            samplers.RandomSampler(seed) if repeated else samplers.TPESampler(seed=seed, constant_liar=False)
        )
        trial, repeats = study.ask(), list[list[float]]()
        values = {name: trial.suggest_categorical(name, options) for name, options in sorted(space.values.items())}
        if tuple(values.items()) in done:  # TPE proposes the best again and again: draw another at random instead
            study.tell(trial, state=State.FAIL)
            continue
        for repeat, cut in enumerate(cuts):
            repeats.append(fold_scores(replace(space.model, values), cut))
            trial.report(float(np.mean(repeats)), repeat)
            if trial.should_prune():
                break
        score, pruned = float(np.mean(repeats)), len(repeats) < len(cuts)
        trial.set_user_attr("folds", repeats)
        study.tell(trial, None if pruned else score, State.PRUNED if pruned else State.COMPLETE)
        done[tuple(values.items())] = repeats
        settings = ", ".join(f"{name}={value:g}" for name, value in values.items())
        progress(f"trial {len(done)} of {space.trials}: {TARGET.shown_score(score)}{' pruned' * pruned}  {settings}")

    for number, (items, fold_values) in enumerate(done.items(), 1):
        own = np.array(fold_values)
        gains = baseline[: len(own)] - own
        width = nadeau_bengio_half_width(float(gains.var(ddof=1)), len(own), own.shape[1])
        figures = (round(float(figure), METRIC_DECIMALS) for figure in (own.mean(), gains.mean(), width))
        found.append(Candidate(number, dict(items), replace(space.model, dict(items)), len(own), *figures))
    return sorted(found, key=lambda c: (-c.repeats, c.score, c.number))


def _fold_score(shared: tuple[Matrix, Array, Params, ModelParams], test: Rows) -> float:
    """Return the score of a model on the batches of a fold, fitted on the others."""
    X, y, params, model = shared  # noqa: N806
    estimator = build_model(model, params.features, params.target, params.sample)
    cost = (predict_out_of_fold(estimator, X, y, [test])[test] - y[test]) ** 2 / 2
    return float(cost.mean())


def table(ranked: Sequence[Candidate]) -> list[str]:
    """Return the candidates as lines of text; scores in `TARGET.score_unit`, `~` where the gain is within noise."""
    names = list(dict.fromkeys(name for candidate in ranked for name in sorted(candidate.values)))

    def scaled(score: float) -> str:
        return f"{score * TARGET.score_factor:.3f}"

    rows = [["rank", "trial", "repeats", "score", "gain", "±", "", *names]]
    for rank, found in enumerate(ranked, 1):
        trial, width = ("baseline", "-") if found.half_width is None else (str(found.number), scaled(found.half_width))
        noise = "~" if found.half_width is not None and abs(found.gain) <= found.half_width else ""
        settings = [f"{found.values[name]:g}" if name in found.values else "as it is" for name in names]
        rows.append(
            [str(rank), trial, str(found.repeats), scaled(found.score), scaled(found.gain), width, noise, *settings]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _conclusion(winner: Candidate) -> str:
    if winner.half_width is None:
        return "nothing beats the baseline"
    if winner.gain <= winner.half_width:
        return f"trial {winner.number} is first, but its gain is within noise"
    return f"trial {winner.number} is better than the baseline beyond noise"


def run(space_path: Path, write: str | None = None, force: bool = False) -> int:
    """Run `batchyield model search`: search on the workspace's training batches, print the ranking, write the winner.

    Args:
        space_path: search space, for example `conf/search/line_trees.yaml`.
        write: name of the choice in `conf/model/` that the winner becomes; None to write nothing.
        force: replace an existing choice of that name.

    Raises:
        ParamsError: the search space or `params.yaml` is wrong.
        ConfigError: the name of the choice is invalid, or the features are not built.
        ConflictError: the choice exists.
        MissingToolError: Optuna is not installed.
    """
    path = None if write is None else destination(write, force)  # refuse before the search, not after it
    space, params = load_space(space_path), read_params()
    features, batches = Path("data/features/train.parquet"), Path("data/split/train.parquet")
    for needed in (features, batches):
        if not needed.is_file():
            raise ConfigError(f"{needed} does not exist", "run `make repro`, or `dvc repro featurize`")
    X, y = read_features(features), read_table(batches)["yield"].to_numpy(dtype=float)  # noqa: N806
    # A study belongs to one space, data and cross-validation: anything else starts a study of its own.
    inputs = (space, params.features, params.target, params.evaluation)
    digest = hashlib.sha256(msgspec.json.encode(inputs) + X.tobytes() + y.tobytes()).hexdigest()
    storage = STUDIES / f"{space_path.stem}-{digest[:12]}.db"
    STUDIES.mkdir(parents=True, exist_ok=True)
    try:
        with open_engine(params.engine) as engine:
            progress = functools.partial(print, file=sys.stderr, flush=True)
            ranked = search(X, y, params, space, storage, progress, engine)
    except ModuleNotFoundError as error:
        raise MissingToolError(
            f"{error.name} is not installed", "install the extra: pip install 'batchyield[search]'"
        ) from error
    winner, baseline = ranked[0], next(candidate for candidate in ranked if candidate.number == 0)
    legend = ("~ within noise (corrected resampled t-test, 90 %)", f"study: {storage}")
    print("\n".join([*table(ranked), *legend, _conclusion(winner)]))
    if path is not None and winner is baseline:
        print(f"{path} is not written: it would be the baseline under another name")
    elif path is not None:
        shown = space_path.name if space_path.is_absolute() else space_path.as_posix()
        comment = (
            f"Written by `batchyield model search {shown} --write {path.stem}`: the best of {space.trials} trials, "
            f"seed {space.seed}.\nCross-validated score {TARGET.shown_score(winner.score)} on {len(y)} training "
            f"batches; baseline {TARGET.shown_score(baseline.score)}."
        )
        print(write_choice(path, winner.model, comment))
    return 0


def destination(name: str, force: bool = False, folder: Path = Path("conf/model")) -> Path:
    """Return the path of a new choice of model.

    Raises:
        ConfigError: the name is invalid, or the folder is missing.
        ConflictError: the choice exists and `force` is false.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"invalid name {name!r} of a choice", "use small letters, digits and _, such as `tuned`")
    if not folder.is_dir():
        raise ConfigError(f"{folder} does not exist", "run it in a checkout of batchyield")
    path = folder / f"{name}.yaml"
    if path.exists() and not force:
        raise ConflictError(f"{path} exists already", "take another name, or replace it with --force")
    return path


def write_choice(path: Path, model: ModelParams, comment: str) -> str:
    """Write a model as a choice below a comment, and return the message for the user.

    Nothing is written if another choice in the same folder is this model already.
    """
    for other in sorted(path.parent.glob("*.yaml")):
        try:
            same = other != path and msgspec.convert(yaml.safe_load(other.read_text("utf-8")), ModelParams) == model
        except (yaml.YAMLError, msgspec.ValidationError) as error:
            raise ParamsError(str(other), f"invalid choice of a model: {error}") from error
        if same:
            return f"{other} is this model already, nothing was written; choose it by model={other.stem}"
    given = {key: value for key, value in msgspec.to_builtins(model).items() if value is not None}
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    write_atomic(path, (head + yaml.safe_dump(given, sort_keys=False)).encode())
    return f"wrote {path}; choose it by model={path.stem}"
