"""The experiments that DVC has, as the table of a sweep: every commit's own, finished, queued, running and failed."""

import shutil
from pathlib import Path

import msgspec

from batchyield.experiments.exp_show import Baseline, read_baselines
from batchyield.experiments.ranking import WIDTH, Ranking, format_ranking, rank_experiments


class Listing(msgspec.Struct, frozen=True):
    """The experiments on one commit: those that finished, ranked, and the state of the others by name."""

    ranking: Ranking
    unfinished: dict[str, str]


def list_experiments(root: Path = Path(), *, all_commits: bool = False) -> list[Listing]:
    """Return the experiments that start from HEAD; if `all_commits`, also those of every other commit."""
    return [_listing(baseline, root) for baseline in read_baselines(root, all_commits=all_commits)]


def _listing(baseline: Baseline, root: Path) -> Listing:
    named = baseline.named()
    done = [name for name, experiment in named.items() if experiment.state == "success"]
    ranking = rank_experiments(baseline, done, root)
    ranked = {row.name for row in ranking.rows}
    others = {name: experiment.state for name, experiment in named.items() if name not in ranked}
    return Listing(ranking, {name: "without scores" if state == "success" else state for name, state in others.items()})


def format_listing(found: list[Listing], width: int | None = None) -> str:
    """Return the experiments as text that fits `width` columns; None: those of the terminal."""
    width = width or shutil.get_terminal_size((WIDTH, 24)).columns
    blocks = []
    for each in found:
        if not each.ranking.rows and not each.unfinished:
            continue
        states = [f"{name}: {state}" for name, state in each.unfinished.items()]
        blocks.append("\n".join([*format_ranking(each.ranking, width), *states]))
    return "\n\n".join(blocks) or "HEAD has no experiments; `batchyield experiments show --all` shows other commits'"
