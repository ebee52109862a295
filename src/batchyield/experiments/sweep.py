"""A grid of experiments through DVC's queue, from overrides to a ranked table, by DVC's documented commands only."""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TextIO

import msgspec
import psutil
import yaml

from batchyield.errors import CommandError, ConfigError, ConflictError
from batchyield.experiments.exp_show import Experiment, read_experiments
from batchyield.experiments.ranking import Ranking, better_than_baseline, format_ranking, rank_experiments
from batchyield.versioning import hydra_params
from batchyield.versioning.dvc import dvc
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import flatten_results
from batchyield.versioning.storage import raw_data, remotes
from batchyield.versioning.storage.s3_objects import ObjectState as Kept

LOOK_SECONDS = 5.0
LOG_LINES = 6
"""Last lines of a log that are shown for a failed experiment."""
WORKER_LOG = ".dvc/tmp/exps/celery/dvc-exp-worker-1.out"
MAX_STARTS = 5
"""How often workers are started: one that is about to end keeps `dvc queue start` from starting another."""


class Failure(msgspec.Struct, frozen=True):
    """A failed experiment with the last lines of its log."""

    name: str
    log: tuple[str, ...]


class Sweep(msgspec.Struct, frozen=True):
    """Result of a sweep.

    Attributes:
        ranking: of the finished experiments; None if none finished.
        left: names of those that an interrupt ended or kept from starting.
    """

    ranking: Ranking | None
    failed: tuple[Failure, ...]
    left: tuple[str, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0: all finished, 1: some failed, 130: interrupted."""
        return 130 if self.left else 1 if self.failed else 0


def run_sweep(
    overrides: Sequence[str],
    stream: TextIO,
    *,
    root: Path = Path(),
    name: str | None = None,
    jobs: int | None = None,
    s3_port: int | None = None,
) -> Sweep:
    """Run the grid of the overrides through DVC's queue and rank the experiments; finished ones are not run again.

    Args:
        overrides: as for `dvc exp run -S`, commas make the grid; empty: every choice of model.
        stream: receives progress.
        root: the checkout.
        name: stem of the experiments' names; None: derived from the commit, its changes and the overrides.
        jobs: experiments at a time; None: one per core.
        s3_port: of the embedded server, if the raw data must be fetched first.

    Raises:
        ParamsError: a point of the grid is not a valid configuration; nothing is queued.
        ConfigError: DVC's queue cannot run in this folder.
        ConflictError: the queue holds other experiments, or a name is taken.
        CommandError: DVC failed, or its worker ended.
    """
    begun = time.monotonic()
    overrides = tuple(overrides) or (f"model={','.join(sorted(f.stem for f in (root / 'conf/model').glob('*.yaml')))}",)
    points = hydra_params.expand_grid(root, overrides)
    if not str(root.resolve()).isascii():
        raise ConfigError(
            f"DVC's queue cannot run in {root.resolve()}: it writes the path into a configuration file as ASCII",
            "move the checkout to a folder whose path is ASCII; `dvc exp run` without --queue and --temp works here",
        )
    # The same name for the same grid on the same code.
    state = git("rev-parse", "HEAD", cwd=root) + git("diff", "HEAD", "--", ".", ":!params.yaml", cwd=root)
    stem = name or f"sweep-{hashlib.sha256((state + ' '.join(overrides)).encode()).hexdigest()[:6]}"
    grid = {f"{stem}-{i}" if len(points) > 1 else stem: point for i, point in enumerate(points, 1)}
    with remotes.started(root, s3_port):  # DVC asks the source of the raw data for each experiment it queues
        for note in [*_raw_data(root), *_uncommitted(root)]:
            print(f"note: {note}", file=stream, flush=True)
        try:
            _queue(root, grid, stem, overrides, stream)
            _run(root, grid, min(jobs or os.cpu_count() or 1, len(grid)), stream)
        except KeyboardInterrupt:
            print("interrupted: ending what runs; finished experiments are kept", file=stream, flush=True)
            _stop(root, grid)
    return _result(root, grid, begun)


def _queue(root: Path, grid: dict[str, list[str]], stem: str, overrides: Sequence[str], stream: TextIO) -> None:
    """Queue the points that are neither finished nor queued; failed ones are queued again."""
    status = _status(root)
    if others := [name for name, state in status.items() if state in ("Queued", "Running") and name not in grid]:
        raise ConflictError(
            f"DVC's queue holds other experiments: {', '.join(others)}",
            "`dvc queue start` runs them, `dvc queue remove --queued` drops those that wait",
        )
    known = _experiments(root, grid)
    for name, found in known.items():
        if found.revs[0].settings() != flatten_results(yaml.safe_load(hydra_params.compose(root, grid[name]))):
            raise ConflictError(
                f"another experiment is named {name}",
                f"choose another --name, or remove it: `dvc exp remove {name}`, `dvc queue remove {name}`",
            )
    if failed := [name for name in known if status.get(name) == "Failed"]:
        dvc("queue", "remove", *failed, cwd=root, quiet=True)
    missing = [name for name in grid if name not in known or name in failed]
    skipped = f", {len(grid) - len(missing)} of them finished or queued already" if len(missing) < len(grid) else ""
    print(f"{_count(len(grid))} named {stem}{skipped}", file=stream, flush=True)
    wanted: dict[str, Sequence[str]] = {name: grid[name] for name in missing}
    if len(missing) == len(grid):  # one call of DVC queues the whole grid
        wanted = {stem: overrides}
    for name, settings in wanted.items():
        options = [word for setting in settings for word in ("-S", setting)]
        dvc("exp", "run", "--queue", "--name", name, *options, cwd=root, quiet=True)


def _status(root: Path) -> dict[str, str]:
    """Return the state of each experiment in the queue by name."""
    text = dvc("queue", "status", cwd=root, quiet=True)
    return dict(re.findall(r"^\w{7} +(\S+) .* (Queued|Running|Failed|Success) *$", text, re.MULTILINE))


def _workers(root: Path) -> list[psutil.Process]:
    """Return the workers of the checkout's queue; on a busy machine `dvc queue status` does not count all of them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "queue-worker" in process.cmdline() and Path(process.cwd()) == root.resolve():
                found.append(process)
    return found


def _run(root: Path, grid: dict[str, list[str]], jobs: int, stream: TextIO) -> None:
    """Run the queue until no experiment of the grid is open, with a line of progress for each change."""
    shared = set.intersection(*map(set, grid.values())) if len(grid) > 1 else set()
    status = _status(root)
    ended = {name for name in grid if status.get(name, "Success") in ("Success", "Failed")}
    begun, starts, running = time.monotonic(), 0, list[str]()
    while len(ended) < len(grid):
        if starts == 0 or not _workers(root):
            if starts == MAX_STARTS:
                problem = f"DVC's queue worker ended with experiments left; its log is {WORKER_LOG}"
                remedy = "`dvc queue kill NAME` gives up one that `dvc queue status` calls Running"
                raise CommandError(problem, f"run the same command again; {remedy}")
            starts += 1
            dvc("queue", "start", "--jobs", str(jobs), cwd=root, quiet=True)
        time.sleep(LOOK_SECONDS)
        status = _status(root)
        for name in grid:
            if name not in ended and (state := status.get(name)) in ("Success", "Failed"):
                ended.add(name)
                label = " ".join(override for override in grid[name] if override not in shared)
                print(f"[{len(ended)}/{len(grid)}] {name} {state.lower()}  {label}".rstrip(), file=stream, flush=True)
        if len(ended) < len(grid) and running != (running := [name for name in grid if status.get(name) == "Running"]):
            waiting = sum(status.get(name) == "Queued" for name in grid)
            seconds = f"{time.monotonic() - begun:.0f} s"
            print(f"{', '.join(running) or 'none'} running, {waiting} waiting, {seconds}", file=stream, flush=True)
    _await_workers(root)


def _await_workers(root: Path) -> None:
    """Wait for the workers, which end by themselves some 10 s after the last experiment."""
    # Not `dvc queue stop`: a worker that has just ended does not hear it, and then the next one obeys.
    psutil.wait_procs(_workers(root))


def _stop(root: Path, names: Collection[str]) -> None:
    """Drop waiting experiments, end running ones, and wait for the workers."""
    if "Queued" in _status(root).values():
        dvc("queue", "remove", "--queued", cwd=root, quiet=True)
    stopped = set()
    while running := [(name, e) for name, e in _experiments(root, names).items() if e.state == "running"]:
        for name, experiment in running:
            stopped.add(name)
            # `dvc queue kill` has no effect on a running stage, and with --force the stage outlives it.
            with contextlib.suppress(psutil.Error):
                pid = experiment.local.pid  # unknown until its process has started
                for child in psutil.Process(pid).children(recursive=True) if pid else ():
                    child.terminate()
        time.sleep(LOOK_SECONDS / 5)
    if failed := [name for name, state in _status(root).items() if name in stopped and state == "Failed"]:
        dvc("queue", "remove", *failed, cwd=root, quiet=True)
    _await_workers(root)


def _experiments(root: Path, names: Collection[str]) -> dict[str, Experiment]:
    return {name: found for name, found in read_experiments(root).named().items() if name in names}


def _result(root: Path, grid: dict[str, list[str]], begun: float) -> Sweep:
    baseline = read_experiments(root)
    found = {name: baseline.named().get(name) for name in grid}
    done = [name for name, experiment in found.items() if experiment and experiment.state == "success"]
    failed = [Failure(name, _log(e.local.log)) for name, e in found.items() if e and e.state == "failed"]
    left = tuple(name for name, e in found.items() if not e or e.state in ("queued", "running"))
    ranking = rank_experiments(baseline, done, root) if done else None
    return Sweep(ranking, tuple(failed), left, round(time.monotonic() - begun, 1))


def _log(path: str | None) -> tuple[str, ...]:
    text = Path(path).read_text("utf-8", errors="replace") if path and Path(path).exists() else ""
    lines = dict.fromkeys(line.rstrip() for line in text.splitlines() if line.strip())
    return tuple(lines)[-LOG_LINES:] or ("no log: it failed before its first stage",)


def _raw_data(root: Path) -> list[str]:
    """Fetch the raw data into the cache, which is all that an experiment's own workspace sees; return notes."""
    raw_data.fetch(root)
    pin = raw_data.read_pin(root)
    if pin.is_folder:
        return []
    source = raw_data.check_source(root, pin)
    if source.state is Kept.INTACT:
        return []
    return [
        f"the source now has {source.found or 'nothing'}, pinned is {source.pinned}. Experiments run on the pinned "
        f"data, but DVC writes the source's etag into their pin: "
        f"`git checkout HEAD -- {raw_data.PIN}` after `dvc exp apply`"
    ]


def _uncommitted(root: Path) -> list[str]:
    changed = git("diff", "--name-only", "HEAD", cwd=root).splitlines()
    notes = []
    if str(hydra_params.PARAMS) in changed:
        notes.append(f"{hydra_params.PARAMS} is composed again from conf/: earlier `-S` options in it are dropped")
    if rest := [name for name in changed if name != str(hydra_params.PARAMS)]:
        notes.append(f"uncommitted changes go into every experiment: {', '.join(rest)}")
    folders = ("src", "conf", "requirements")
    if lost := git("ls-files", "--others", "--exclude-standard", "--", *folders, cwd=root).splitlines():
        notes.append(f"files that git does not track go into none (`git add` them): {', '.join(lost)}")
    return notes


def _count(experiments: int) -> str:
    return "1 experiment" if experiments == 1 else f"{experiments} experiments"


def format_sweep(made: Sweep) -> str:
    """Return the sweep as text: the ranked table, failures with their logs, and the commands to go on with."""
    lines = ["", *format_ranking(made.ranking)] if made.ranking else []
    if made.failed:
        lines += ["", f"{_count(len(made.failed))} failed:"]
        for failure in made.failed:
            lines += [f"  {failure.name}    # more: dvc queue logs {failure.name}"]
            lines += [f"    {line}" for line in failure.log]
    if made.left:
        lines += ["", f"{_count(len(made.left))} not finished: {', '.join(made.left)}; run the same command to go on"]
    if made.ranking and made.ranking.rows:
        better = better_than_baseline(made.ranking)
        best = better[0] if better else made.ranking.rows[0].name
        width = len(f"batchyield experiments keep {best}")
        lines += ["", "next:" if better else "nothing is better than the baseline beyond noise; to look at the first:"]
        lines += [f"  {f'dvc plots diff {best}':<{width}}  # its plots beside the workspace's"]
        lines += [f"  {f'dvc exp apply {best}':<{width}}  # params, lock, outputs into the workspace"]
        if better:
            lines += [f"  batchyield experiments keep {best}  # a branch for a pull request"]
    return "\n".join([*lines, "", f"{made.seconds:.0f} s"])
