"""Experiments ranked by cross-validation, each against the commit that it started from.

The intervals of the differences: Nadeau-Bengio for cross-validation, paired bootstrap for test batches.
"""

import csv
import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from batchyield.experiments.exp_show import Baseline, Commit
from batchyield.modelling.card_metrics import METRIC_DECIMALS
from batchyield.modelling.hyperparameter_search import nadeau_bengio_half_width
from batchyield.plant.table import TARGET
from batchyield.versioning.storage.content_store import cache_path

PREDICTED = "data/plots/predicted.csv"
MEASURING = ("evaluation", "split", "validate")
"""Groups of params that change how a score is measured rather than what is measured."""

WIDTH = 80
"""Columns of a terminal whose size is not known."""
NAME_WIDTH = 14
"""Columns for the name of an experiment; a longer one moves its params."""
MIN_PARAMS_WIDTH = 20
"""With fewer columns left, the params get lines of their own."""

Settings = Mapping[str, Any]
"""Dotted param -> value."""


class Scores(msgspec.Struct, frozen=True):
    """Half the mean squared error in cross-validation and on test batches, in `TARGET.score_unit`, and the coverage."""

    cross_validation: float | None
    test: float | None
    coverage: float | None


class ScoreDifference(msgspec.Struct, frozen=True):
    """A score minus the baseline's (below zero is better), and its confidence interval; None if that is not known."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def noise(self) -> bool | None:
        """Whether chance alone may explain it; None if that is not known."""
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high


class RankedExperiment(msgspec.Struct, frozen=True):
    """An experiment in its place.

    Attributes:
        rank: from 1, by the score in cross-validation.
        params: what differs from the baseline, less what all experiments share.
        scores: its own.
        cross_validation: difference to the baseline, as `test`.
    """

    rank: int
    name: str
    revision: str
    params: dict[str, Any]
    scores: Scores
    cross_validation: ScoreDifference | None
    test: ScoreDifference | None


class Ranking(msgspec.Struct, frozen=True):
    """The experiments on one commit.

    Attributes:
        scores: the baseline's own.
        shared: params that differ from the baseline in all experiments alike.
        rows: best first.
        confidence: of the intervals of the differences.
        doubts: why a difference may not be one of the models.
    """

    baseline: str
    scores: Scores
    shared: dict[str, Any]
    rows: tuple[RankedExperiment, ...]
    confidence: float
    doubts: tuple[str, ...]


def rank_experiments(baseline: Baseline, names: Collection[str], root: Path = Path()) -> Ranking:
    """Return the ranking of those of the baseline's experiments that are named and have scores.

    The predictions are read from the DVC cache of the checkout `root`.
    """
    base = baseline.settings()
    commits = {name: found.revs[0] for name, found in baseline.named().items() if name in names}
    shared, differing = split_settings(base, [commit.settings() for commit in commits.values()])
    measured = sorted(
        (score, name, params)
        for (name, commit), params in zip(commits.items(), differing, strict=True)
        if (score := _scores(commit).cross_validation) is not None and math.isfinite(score)
    )
    rows = []
    for number, (score, name, params) in enumerate(measured, 1):
        commit = commits[name]
        folds, answers = _differences(score, commit, baseline, root)
        rows.append(RankedExperiment(number, name, commit.rev, dict(params), _scores(commit), folds, answers))
    confidence = float(base.get("evaluation.confidence", 0.9))
    doubts = tuple(_doubts(baseline, shared, rows))
    return Ranking(baseline.rev, _scores(baseline), dict(shared), tuple(rows), confidence, doubts)


def _scores(commit: Commit) -> Scores:
    metric = commit.metric
    return Scores(metric("cross_validation", "score"), metric("test", "score"), metric("test", "coverage"))


def _differences(
    score: float, commit: Commit, baseline: Baseline, root: Path
) -> tuple[ScoreDifference | None, ScoreDifference | None]:
    """Return the differences to the baseline in cross-validation and on test batches, as far as known."""
    base = _scores(baseline).cross_validation
    mine, others = _predicted(commit, root), _predicted(baseline, root)
    costs = cost_differences(mine, others) if mine and others else None
    settings = baseline.settings()
    if base is None:
        return None, None
    bootstrap, confidence, seed, repeats, folds = (
        settings[f"evaluation.{name}"] for name in ("bootstrap", "confidence", "seed", "repeats", "folds")
    )
    rows = round(len(costs or ()) * (1 / settings["split.test_fraction"] - 1))
    repeats = min(repeats, commit.settings()["evaluation.repeats"])
    return (
        nadeau_bengio_interval(score - base, costs, rows, repeats, folds, confidence),
        bootstrap_interval(costs, bootstrap, confidence, seed) if costs else None,
    )


def _predicted(commit: Commit, root: Path) -> Path | None:
    output = commit.data.outs.get(PREDICTED) if commit.data else None
    file = cache_path(root, output.hash) if output and output.hash else None
    return file if file and file.exists() else None


def nadeau_bengio_interval(
    value: float, differences: Sequence[float] | None, rows: int, repeats: int, n_folds: int, confidence: float
) -> ScoreDifference:
    """Return the difference of two cross-validated scores with its Nadeau-Bengio interval (corrected resampled t-test).

    The metrics hold no score of a single fold. The variance between folds is that of a mean over `rows / n_folds`
    batches, so it is taken from the differences batch by batch on the test set.

    Args:
        value: the difference of the scores.
        differences: of the cost of each test batch; None if the predictions are not known.
        rows: training batches.
    """
    if differences is None or len(differences) < 2:
        return ScoreDifference(round(value, METRIC_DECIMALS))
    variance = float(np.var(differences, ddof=1)) / (rows / n_folds)
    width = nadeau_bengio_half_width(variance, repeats, n_folds, confidence)
    return ScoreDifference(*(round(float(end), METRIC_DECIMALS) for end in (value, value - width, value + width)))


def bootstrap_interval(differences: Sequence[float], resamples: int, confidence: float, seed: int) -> ScoreDifference:
    """Return the mean of the cost differences of test batches with its paired bootstrap interval."""
    apart = np.array(differences)
    drawn = np.random.default_rng(seed).integers(len(apart), size=(resamples, len(apart)))
    low, high = np.quantile(apart[drawn].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return ScoreDifference(*(round(float(value), METRIC_DECIMALS) for value in (apart.mean(), low, high)))


def cost_differences(mine: Path, base: Path) -> list[float] | None:
    """Return the difference of half the squared error of each test batch of two `predicted.csv`, in the score's unit.

    The result is None if the batches are not the same or a prediction is not a number.
    """
    costs, others = _costs(mine), _costs(base)
    if not costs or costs.keys() != others.keys():
        return None
    return [cost - others[name] for name, cost in costs.items()]


def _costs(predicted: Path) -> dict[str, float]:
    with predicted.open(encoding="utf-8", newline="") as file:
        rows = [(row["id"], row["actual"], row["yields"]) for row in csv.DictReader(file)]
    errors = {name: float(actual or "nan") - float(yields or "nan") for name, actual, yields in rows}
    costs = {name: error**2 / 2 * TARGET.score_factor for name, error in errors.items()}
    return costs if all(map(math.isfinite, costs.values())) else {}


def _doubts(baseline: Baseline, shared: Settings, rows: Sequence[RankedExperiment]) -> list[str]:
    doubts = []
    others = {name for row in rows for name in row.params} | set(shared)
    if changed := sorted(name for name in others if name.split(".")[0] in MEASURING):
        doubts.append(f"{', '.join(changed)} differ, so not all scores are measured as the baseline's were")
    if _scores(baseline).cross_validation is None:
        doubts.append("the baseline has no scores to compare with: commit what `dvc repro` writes to data/metrics/")
    elif any(row.test is None for row in rows):
        doubts.append(f"the baseline's predictions are missing, or of other batches: `dvc pull {PREDICTED}`")
    return doubts


def split_settings(base: Settings, each: Sequence[Settings]) -> tuple[Settings, list[Settings]]:
    """Return what differs from the baseline: in all experiments alike, and in each of them.

    If another kind is chosen (`model.kind`), its own params are listed only if experiments of that kind differ in them.
    """
    differing = [
        {name: value for name, value in s.items() if base.get(name) != value and _listed(name, s, base, each)}
        for s in each
    ]
    shared = {}
    if len(each) > 1:
        shared = {name: value for name, value in differing[0].items() if all(d.get(name) == value for d in differing)}
    return shared, [{name: d[name] for name in d if name not in shared} for d in differing]


def _listed(name: str, settings: Settings, base: Settings, each: Sequence[Settings]) -> bool:
    parts = name.split(".")
    for depth in range(1, len(parts)):
        kind = f"{'.'.join(parts[:depth])}.kind"
        if name != kind and settings.get(kind) != base.get(kind):
            alike = [other.get(name) for other in each if other.get(kind) == settings.get(kind)]
            return any(value != alike[0] for value in alike)
    return True


def format_overrides(settings: Settings) -> str:
    """Return settings as the overrides that choose them."""
    texts = {k: v if isinstance(v, str) else msgspec.json.encode(v).decode() for k, v in settings.items()}
    return " ".join(f"{name.removesuffix('.kind')}={text}" for name, text in texts.items())


def format_ranking(made: Ranking, width: int = WIDTH) -> list[str]:
    """Return the ranking as a table for a terminal of `width` columns, with a legend; the main score comes first."""
    texts = {row.name: format_overrides(row.params) or "(as the baseline)" for row in made.rows}
    rows = [
        ("cv score", "to base", "test", "to base", "cover", "experiment", "params"),
        (*_cells(made.scores, None, None), made.baseline[:7], "(the baseline)"),
        *((*_cells(r.scores, r.cross_validation, r.test), r.name, texts[r.name]) for r in made.rows),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"all with {format_overrides(made.shared)}"] if made.shared else []
    for row in rows:
        first = [f"{text:>{size}}" for text, size in zip(row[:5], widths, strict=False)]
        lines += _wrapped([*first, f"{row[5]:<{min(widths[5], NAME_WIDTH)}}"], row[6], width)
    better = better_than_baseline(made)
    return [
        *lines,
        f"scores{TARGET.in_score_unit}, half the mean square error: lower is better; `-` not known",
        *textwrap.wrap(
            f"~ within noise, {made.confidence:.0%}: corrected resampled t-test (cv), paired bootstrap (test)", width
        ),
        *textwrap.wrap(f"better than the baseline beyond noise: {', '.join(better) or 'none'}", width),
        *(line for doubt in made.doubts for line in textwrap.wrap(f"note: {doubt}", width)),
    ]


def better_than_baseline(made: Ranking) -> list[str]:
    """Return the names of the experiments that are better in cross-validation beyond noise, best first."""
    found = [(row.name, row.cross_validation) for row in made.rows if row.cross_validation]
    return [name for name, difference in found if difference.value < 0 and difference.noise is False]


def _wrapped(cells: list[str], params: str, width: int) -> list[str]:
    """Return a row whose params go on in lines of their own if they are too long for it."""
    start = "  ".join(cells) + "  "
    if len(start) + len(params) <= width:
        return [f"{start}{params}".rstrip()]
    if width - len(start) >= MIN_PARAMS_WIDTH:
        return textwrap.wrap(
            params, width, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
        )
    indent = " " * 10
    return [start.rstrip(), *textwrap.wrap(params, width, initial_indent=indent, subsequent_indent=indent)]


def _cells(scores: Scores, folds: ScoreDifference | None, answers: ScoreDifference | None) -> tuple[str, ...]:
    coverage = "-" if scores.coverage is None else f"{scores.coverage:.1%}"
    return _score(scores.cross_validation), _difference(folds), _score(scores.test), _difference(answers), coverage


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _difference(found: ScoreDifference | None) -> str:
    mark = {True: " ~", False: "  ", None: " ?"}
    return "-" if found is None else f"{found.value:+.3f}{mark[found.noise]}"
