"""What DVC knows of experiments: `dvc exp show --json`, the interface that its VS Code extension reads too."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from batchyield.pins.causes import flat
from batchyield.pins.dvc import dvc


class File(msgspec.Struct, frozen=True):
    """Params or metrics of one file; `data` is empty where the file cannot be read."""

    data: dict[str, Any] = {}


class Output(msgspec.Struct, frozen=True):
    """An output of the pipeline, by content."""

    hash: str | None = None


class Contents(msgspec.Struct, frozen=True):
    """What a commit holds."""

    params: dict[str, File] = {}
    metrics: dict[str, File] = {}
    outs: dict[str, Output] = {}

    def settings(self) -> dict[str, Any]:
        """Every param by its dotted name; a list is one value."""
        return {name: value for file in self.params.values() for name, value in flat(file.data).items()}

    def figure(self, metrics: str, name: str) -> float | None:
        """A figure of `data/metrics/`, if it was measured."""
        file = self.metrics.get(f"data/metrics/{metrics}.json")
        return file.data.get(name) if file else None


class Commit(msgspec.Struct, frozen=True):
    """A commit, of a branch or of an experiment."""

    rev: str
    name: str | None = None
    data: Contents | None = None


class Experiment(msgspec.Struct, frozen=True):
    """An experiment; its newest commit comes first."""

    revs: tuple[Commit, ...] | None = None
    name: str | None = None


class Baseline(Commit, frozen=True):
    """A commit with the experiments that start from it."""

    experiments: tuple[Experiment, ...] | None = None

    def named(self) -> dict[str, Commit]:
        """The experiments by name, queued and failed ones included."""
        newest = [experiment.revs[0] for experiment in self.experiments or () if experiment.revs]
        return {commit.name: commit for commit in newest if commit.name}


def shown(revisions: Iterable[str], root: Path = Path()) -> list[Baseline]:
    """The commits with all experiments on them."""
    wanted = list(revisions)
    asked = [word for revision in wanted for word in ("--rev", revision)]
    said = dvc("exp", "show", "--json", *asked, cwd=root, quiet=True)
    return [found for found in msgspec.json.decode(said, type=list[Baseline]) if found.rev in wanted]
