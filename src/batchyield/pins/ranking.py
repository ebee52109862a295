"""Experiments side by side: ranked by cross-validation, each against the commit that it started from."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from batchyield.pins import noise
from batchyield.pins.copies import place
from batchyield.pins.noise import Difference
from batchyield.pins.settings import Settings, apart, said
from batchyield.pins.shown import Baseline, Commit

PREDICTED = "data/plots/predicted.csv"
MEASURING = ("evaluation", "split", "validate")
"""Groups of params that change how a figure is measured rather than what is measured."""


class Scores(msgspec.Struct, frozen=True):
    """What is compared; `score` is half the mean square error, and lower is better."""

    cross_validation: float | None
    test: float | None
    coverage: float | None


class Ranked(msgspec.Struct, frozen=True):
    """An experiment in its place.

    Attributes:
        rank: from 1, by the score in cross-validation.
        name: for `dvc exp`.
        revision: of its commit.
        params: what differs from the baseline and not in all experiments alike.
        scores: what it reached.
        cross_validation: to the baseline's score.
        test: to the baseline's score.
    """

    rank: int
    name: str
    revision: str
    params: dict[str, Any]
    scores: Scores
    cross_validation: Difference | None
    test: Difference | None


class Ranking(msgspec.Struct, frozen=True):
    """The experiments on one commit.

    Attributes:
        baseline: the commit.
        scores: the baseline's own.
        shared: params that all experiments have otherwise than the baseline.
        rows: best first.
        confidence: of the intervals of the differences on test batches.
        doubts: why the differences may not be those of the models.
    """

    baseline: str
    scores: Scores
    shared: dict[str, Any]
    rows: tuple[Ranked, ...]
    confidence: float
    doubts: tuple[str, ...]


def rank(baseline: Baseline, names: Collection[str], root: Path = Path()) -> Ranking:
    """Ranks those of the baseline's experiments that are named and have figures."""
    base = _settings(baseline)
    commits = [commit for name, commit in baseline.named().items() if name in names]
    shared, differing = apart(base, [_settings(commit) for commit in commits])
    measured = [
        (scores.cross_validation, commit.name or commit.rev, commit, scores, params)
        for commit, params in zip(commits, differing, strict=True)
        if (scores := _scores(commit)).cross_validation is not None
    ]
    rows = tuple(
        Ranked(
            place, name, commit.rev, dict(params), scores, _folds(commit, baseline), _answers(commit, baseline, root)
        )
        for place, (_, name, commit, scores, params) in enumerate(sorted(measured, key=lambda m: m[:2]), 1)
    )
    confidence = float(base.get("evaluation.confidence", 0.9))
    doubts = tuple(_doubts(baseline, shared, rows))
    return Ranking(baseline.rev, _scores(baseline), dict(shared), rows, confidence, doubts)


def _settings(commit: Commit) -> Settings:
    return commit.data.settings() if commit.data else {}


def _scores(commit: Commit) -> Scores:
    if not commit.data:
        return Scores(None, None, None)
    figure = commit.data.figure
    return Scores(figure("cross_validation", "score"), figure("test", "score"), figure("test", "coverage"))


def _folds(commit: Commit, baseline: Commit) -> Difference | None:
    mine, base = _scores(commit).cross_validation, _scores(baseline).cross_validation
    if mine is None or base is None or not commit.data or not baseline.data:
        return None
    spreads = [side.data.figure("cross_validation", "score_spread") or 0.0 for side in (commit, baseline) if side.data]
    repeats = [int(_settings(side).get("evaluation.repeats", 1)) for side in (commit, baseline)]
    return noise.of_folds(mine, base, (spreads[0], spreads[1]), (repeats[0], repeats[1]))


def _answers(commit: Commit, baseline: Commit, root: Path) -> Difference | None:
    files = [_predicted(side, root) for side in (commit, baseline)]
    settings = _settings(baseline)
    if files[0] is None or files[1] is None:
        return None
    drawn = [settings[f"evaluation.{name}"] for name in ("bootstrap", "confidence", "seed")]
    return noise.of_answers(files[0], files[1], int(drawn[0]), float(drawn[1]), int(drawn[2]))


def _predicted(commit: Commit, root: Path) -> Path | None:
    output = commit.data.outs.get(PREDICTED) if commit.data else None
    if not output or not output.hash:
        return None
    file = place(root, output.hash)
    return file if file.exists() else None


def _doubts(baseline: Baseline, shared: Settings, rows: tuple[Ranked, ...]) -> list[str]:
    doubts = []
    others = {name: value for row in rows for name, value in row.params.items()} | dict(shared)
    changed = [name for name in others if name.split(".")[0] in MEASURING]
    if changed:
        doubts.append(f"{', '.join(changed)} differ, so not all figures are measured as the baseline's were")
    if _scores(baseline).cross_validation is None:
        doubts.append("the baseline has no figures to compare with: commit what `dvc repro` writes to data/metrics/")
    elif any(row.test is None for row in rows):
        doubts.append(f"the baseline's answers are not here, or not for the same batches: `dvc pull {PREDICTED}`")
    return doubts


def render(made: Ranking) -> list[str]:
    """The ranking as a table."""
    cells = [("rank", "experiment", "cv score", "to baseline", "test score", "to baseline", "coverage", "params")]
    cells.append(("", made.baseline[:12], *_said(made.scores, None, None), "(the baseline)"))
    for row in made.rows:
        scores = _said(row.scores, row.cross_validation, row.test)
        cells.append((str(row.rank), row.name, *scores, said(row.params) or "(as the baseline)"))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]) - 1)]
    table = [
        "  ".join(
            [cell.ljust(width) if column == 1 else cell.rjust(width) for column, (cell, width) in enumerate(sized)]
            + [line[-1]]
        )
        for line in cells
        for sized in [list(zip(line, widths, strict=False))]
    ]
    if made.shared:
        table.insert(0, f"all with {said(made.shared)}")
    return [*table, *_legend(made), *(f"note: {doubt}" for doubt in made.doubts)]


def _said(scores: Scores, folds: Difference | None, answers: Difference | None) -> tuple[str, str, str, str, str]:
    coverage = "-" if scores.coverage is None else f"{scores.coverage:.3f}"
    return _score(scores.cross_validation), _apart(folds), _score(scores.test), _apart(answers), coverage


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e4:.3f}"


def _apart(difference: Difference | None) -> str:
    if difference is None:
        return "-"
    mark = {True: " ~", False: "  ", None: " ?"}[difference.noise]
    return f"{difference.value * 1e4:+.3f}{mark}"


def _legend(made: Ranking) -> list[str]:
    better = [row for row in made.rows if row.cross_validation and row.cross_validation.value < 0]
    beyond = [row.name for row in better if row.cross_validation and row.cross_validation.noise is False]
    return [
        "scores in 1e-4, half the mean square error: lower is better; `-` not known",
        "~ within noise: what another cut into folds changes (cv, two standard errors), or which batches",
        f"  the test drew (paired bootstrap, {made.confidence:.0%})",
        f"better than the baseline beyond the noise of the cut: {', '.join(beyond) or 'none'}",
    ]
