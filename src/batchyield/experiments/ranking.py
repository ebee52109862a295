"""Experiments ranked by cross-validation, each against the commit that it started from."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batchyield.experiments import score_noise
from batchyield.experiments.exp_show import Baseline, Commit
from batchyield.experiments.score_noise import ScoreDifference
from batchyield.versioning.storage.content_store import cache_path

PREDICTED = "data/plots/predicted.csv"
MEASURING = ("evaluation", "split", "validate")
"""Groups of params that change how a score is measured rather than what is measured."""

Settings = Mapping[str, Any]
"""Dotted param -> value."""


class Scores(msgspec.Struct, frozen=True):
    """Half the mean squared error in cross-validation and on test batches (lower is better), and the coverage."""

    cross_validation: float | None
    test: float | None
    coverage: float | None


class RankedExperiment(msgspec.Struct, frozen=True):
    """An experiment in its place.

    Attributes:
        rank: from 1, by the score in cross-validation.
        name: for `dvc exp`.
        revision: of its commit.
        params: what differs from the baseline, less what all experiments share.
        scores: its own.
        cross_validation: difference to the baseline.
        test: difference to the baseline.
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
        baseline: the commit.
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

    Args:
        baseline: a commit with its experiments.
        names: of experiments.
        root: the checkout, whose DVC cache holds the predictions.
    """
    base = baseline.settings()
    commits = {name: found.revs[0] for name, found in baseline.named().items() if name in names}
    shared, differing = split_settings(base, [commit.settings() for commit in commits.values()])
    measured = sorted(
        (score, name, params)
        for (name, commit), params in zip(commits.items(), differing, strict=True)
        if (score := _scores(commit).cross_validation) is not None
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
    costs = score_noise.cost_differences(mine, others) if mine and others else None
    settings = baseline.settings()
    if base is None:
        return None, None
    bootstrap, confidence, seed, repeats, folds = (
        settings[f"evaluation.{name}"] for name in ("bootstrap", "confidence", "seed", "repeats", "folds")
    )
    rows = round(len(costs or ()) * (1 / settings["split.test_fraction"] - 1))
    repeats = min(repeats, commit.settings()["evaluation.repeats"])
    return (
        score_noise.nadeau_bengio_interval(score - base, costs, rows, repeats, folds, confidence),
        score_noise.bootstrap_interval(costs, bootstrap, confidence, seed) if costs else None,
    )


def _predicted(commit: Commit, root: Path) -> Path | None:
    output = commit.data.outs.get(PREDICTED) if commit.data else None
    file = cache_path(root, output.hash) if output and output.hash else None
    return file if file and file.exists() else None


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
    shared = (
        {name: value for name, value in differing[0].items() if all(d.get(name) == value for d in differing)}
        if len(each) > 1
        else {}
    )
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


def format_ranking(made: Ranking) -> list[str]:
    """Return the ranking as a table, with a legend."""
    cells = [("rank", "experiment", "cv score", "to baseline", "test score", "to baseline", "coverage", "params")]
    cells.append(("", made.baseline[:12], *_cells(made.scores, None, None), "(the baseline)"))
    for row in made.rows:
        scores = _cells(row.scores, row.cross_validation, row.test)
        cells.append((str(row.rank), row.name, *scores, format_overrides(row.params) or "(as the baseline)"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"all with {format_overrides(made.shared)}"] if made.shared else []
    for line in cells:
        texts = [
            text.ljust(w) if i in (1, 7) else text.rjust(w)
            for i, (text, w) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(texts).rstrip())
    differences = [(row.name, row.cross_validation) for row in made.rows if row.cross_validation]
    better = [name for name, found in differences if found.value < 0 and found.noise is False]
    return [
        *lines,
        "scores in 1e-4, half the mean square error: lower is better; `-` not known",
        f"~ within noise, {made.confidence:.0%}: corrected resampled t-test (cv), paired bootstrap (test)",
        f"better than the baseline beyond noise: {', '.join(better) or 'none'}",
        *(f"note: {doubt}" for doubt in made.doubts),
    ]


def _cells(
    scores: Scores, folds: ScoreDifference | None, answers: ScoreDifference | None
) -> tuple[str, str, str, str, str]:
    coverage = "-" if scores.coverage is None else f"{scores.coverage:.3f}"
    return _score(scores.cross_validation), _difference(folds), _score(scores.test), _difference(answers), coverage


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e4:.3f}"


def _difference(found: ScoreDifference | None) -> str:
    mark = {True: " ~", False: "  ", None: " ?"}
    return "-" if found is None else f"{found.value * 1e4:+.3f}{mark[found.noise]}"
