"""Parser of `dvc exp show --json`, the interface that DVC's VS Code extension reads too."""

import time
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import CommandError
from batchyield.versioning.dvc import dvc
from batchyield.versioning.lock_diff import flatten_results

LOOKS, LOOK_SECONDS = 5, 2.0
"""Times that `dvc exp show` is run, and the wait between them, while the folder of an experiment is being made."""


class FileContents(msgspec.Struct, frozen=True):
    """Params or metrics of one file; `data` is empty if the file cannot be read."""

    data: dict[str, Any] = {}


class Output(msgspec.Struct, frozen=True):
    """An output of the pipeline, by content."""

    hash: str | None = None


class Contents(msgspec.Struct, frozen=True):
    """Params, metrics and outputs of a commit."""

    params: dict[str, FileContents] = {}
    metrics: dict[str, FileContents] = {}
    outs: dict[str, Output] = {}


class Local(msgspec.Struct, frozen=True):
    """Process of an experiment of the queue: its log file and process id."""

    log: str | None = None
    pid: int | None = None


class Executor(msgspec.Struct, frozen=True):
    """State of an experiment of the queue: `queued`, `running`, `success` or `failed`."""

    state: str
    local: Local | None = None


class Commit(msgspec.Struct, frozen=True):
    """A commit of a branch or of an experiment."""

    rev: str
    name: str | None = None
    data: Contents | None = None

    def settings(self) -> dict[str, Any]:
        """Return dotted param -> value of those that results may depend on; a list is one value."""
        files = self.data.params.values() if self.data else ()
        return {name: value for file in files for name, value in flatten_results(file.data).items()}

    def metric(self, file: str, name: str) -> float | None:
        """Return a metric of `data/metrics/FILE.json`, or None if it was not measured."""
        found = self.data.metrics.get(f"data/metrics/{file}.json") if self.data else None
        return found.data.get(name) if found else None


class Experiment(msgspec.Struct, frozen=True):
    """An experiment: its commits, newest first, and its state in the queue; None if it never was in it."""

    revs: tuple[Commit, ...]
    name: str | None = None
    executor: Executor | None = None

    @property
    def state(self) -> str:
        """`queued`, `running`, `success` or `failed`."""
        return self.executor.state if self.executor else "success"

    @property
    def local(self) -> Local:
        """Log and process id, as far as known."""
        return (self.executor.local if self.executor else None) or Local()


class Baseline(Commit, frozen=True):
    """A commit with the experiments that start from it."""

    experiments: tuple[Experiment, ...] | None = None

    def named(self) -> dict[str, Experiment]:
        """Return the experiments by name, queued and failed ones included."""
        found = {(e.name or e.revs[0].name): e for e in self.experiments or () if e.revs}
        return {name: experiment for name, experiment in found.items() if name}


def read_experiments(root: Path = Path()) -> Baseline:
    """Return HEAD with its experiments."""
    return read_baselines(root)[0]


def read_baselines(root: Path = Path(), *, all_commits: bool = False) -> list[Baseline]:
    """Return HEAD with its experiments; if `all_commits`, after it every other commit that has experiments.

    `dvc exp show` fails while DVC is making the folder of an experiment; then it is run again.

    Raises:
        CommandError: DVC failed.
    """
    options = ("--all-commits",) if all_commits else ()
    for look in range(1, LOOKS + 1):
        try:
            text = dvc("exp", "show", "--json", *options, cwd=root, quiet=True)
            break
        except CommandError as error:
            if look == LOOKS or "/.dvc' does not exist" not in str(error):
                raise
        time.sleep(LOOK_SECONDS)
    _, head, *others = msgspec.json.decode(text, type=list[Baseline])  # the first is the workspace
    return [head, *(commit for commit in others if commit.experiments)]
