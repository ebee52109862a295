"""A grid of experiments through DVC's queue, from overrides to a ranked table."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec
from dvc.repo.experiments.utils import gen_random_name

from batchyield.errors import SetupError
from batchyield.pins import params, raw, remotes, runner
from batchyield.pins.dvc import dvc
from batchyield.pins.failure import why
from batchyield.pins.objects import State as Kept
from batchyield.pins.progress import Progress
from batchyield.pins.queue import Queue, State, numbered
from batchyield.pins.ranking import Ranking, rank
from batchyield.pins.ranking import render as table
from batchyield.pins.shown import shown
from batchyield.pins.workspace import git


class Failure(msgspec.Struct, frozen=True):
    """An experiment that failed, and what it said first that helps."""

    name: str
    said: str


class Sweep(msgspec.Struct, frozen=True):
    """What became of a sweep.

    Attributes:
        rankings: one for each commit that its experiments start from; nearly always one.
        failed: with a reason each.
        waiting: names of those that a stop left in the queue.
        stopped: whether it was stopped.
        seconds: of the whole.
    """

    rankings: tuple[Ranking, ...]
    failed: tuple[Failure, ...]
    waiting: tuple[str, ...]
    stopped: bool
    seconds: float

    @property
    def exit_code(self) -> int:
        """What a command ends with."""
        return 130 if self.stopped else 1 if self.failed else 0


class Plan(msgspec.Struct, frozen=True):
    """A grid before it is queued: what is set in each experiment, by its name."""

    stem: str
    overrides: tuple[str, ...]
    labels: dict[str, str]


def sweep(
    overrides: Sequence[str],
    stream: TextIO,
    *,
    root: Path = Path(),
    name: str | None = None,
    jobs: int | None = None,
    s3_port: int | None = None,
) -> Sweep:
    """Queues the grid of the overrides, runs the queue and ranks what comes out.

    Args:
        overrides: as for `dvc exp run -S`, commas making the grid; every choice of model where there are none.
        stream: where progress is told.
        root: the checkout.
        name: stem of the experiments' names; one of DVC's random names where it is None.
        jobs: experiments at a time; as many as there are cores where it is None.
        s3_port: of the embedded server, where the raw data must be fetched first.

    Raises:
        ParamsError: a point of the grid is no valid configuration; nothing is queued then.
        SetupError: the queue holds other experiments, the name is taken, or a tool fails.
    """
    queue = Queue(root)
    _refuse_others(queue)
    plan = _plan(queue, tuple(overrides) or _every_model(root), name)
    jobs = _jobs(jobs, len(plan.labels))
    progress = Progress(stream, plan.labels, jobs)
    begun = time.monotonic()
    with remotes.served(root, s3_port):  # DVC asks the source of the raw data whenever it queues
        for note in [*_raw_data(root), *_travelling(root)]:
            progress.say(f"note: {note}")
        progress.say(f"queueing {_count(len(plan.labels))} named {plan.stem}, {jobs} at a time")
        try:
            queue.fill(plan.stem, plan.overrides)
        except KeyboardInterrupt:
            return _made(queue, set(plan.labels), True, begun)
        whole = runner.run(queue, plan.labels, jobs, progress)
    return _made(queue, set(plan.labels), not whole, begun)


def resume(stream: TextIO, *, root: Path = Path(), jobs: int | None = None, s3_port: int | None = None) -> Sweep:
    """Runs what waits in the queue, and ranks it together with what the same sweeps have finished before.

    Raises:
        SetupError: nothing waits.
    """
    queue, begun = Queue(root), time.monotonic()
    tasks = queue.tasks()
    stems = {numbered(task.name)[0] for task in tasks if task.open}
    if not stems:
        raise SetupError("nothing waits in the queue", "`batchyield sweep OVERRIDE...` queues a grid")
    names = {task.name for task in tasks if numbered(task.name)[0] in stems}
    left = sum(task.open for task in tasks)
    jobs = _jobs(jobs, left)
    progress = Progress(stream, {}, jobs)
    progress.say(f"going on with {_count(left)} of {', '.join(sorted(stems))}, {jobs} at a time")
    with remotes.served(root, s3_port):
        whole = runner.run(queue, names, jobs, progress)
    return _made(queue, names, not whole, begun)


def _made(queue: Queue, names: set[str], stopped: bool, begun: float) -> Sweep:
    tasks = runner.mine(queue, names)
    done = {task.name for task in tasks if task.state is State.DONE}
    baselines = {task.baseline for task in tasks if task.state is State.DONE}
    return Sweep(
        tuple(rank(found, done, queue.root) for found in shown(baselines, queue.root)) if done else (),
        tuple(Failure(task.name, why(task.log)) for task in tasks if task.state is State.FAILED),
        tuple(task.name for task in tasks if task.open),
        stopped,
        round(time.monotonic() - begun, 1),
    )


def _refuse_others(queue: Queue) -> None:
    others = [task.name for task in queue.tasks() if task.open]
    if others:
        raise SetupError(
            f"{_count(len(others))} from before in DVC's queue would be mixed in: {', '.join(others)}",
            "`batchyield sweep --resume` runs and ranks them, `dvc queue remove --queued` drops those that wait",
        )


def _every_model(root: Path) -> tuple[str, ...]:
    choices = sorted(file.stem for file in (root / "conf/model").glob("*.yaml"))
    return (f"model={','.join(choices)}",)


def _plan(queue: Queue, overrides: tuple[str, ...], name: str | None) -> Plan:
    points = params.grid(queue.root, overrides)
    stem = name or gen_random_name()
    names = [f"{stem}-{number}" for number in range(1, len(points) + 1)] if len(points) > 1 else [stem]
    listed = dvc("exp", "list", "--all-commits", "--name-only", cwd=queue.root, quiet=True).split()
    taken = sorted({*listed, *(task.name for task in queue.tasks())} & set(names))
    if taken:
        raise SetupError(
            f"there are experiments named {', '.join(taken)} already",
            "choose another --name, or drop them: `dvc exp remove NAME`, `dvc queue remove NAME`",
        )
    everywhere = set.intersection(*(set(point) for point in points)) if len(points) > 1 else set()
    labels = [" ".join(override for override in point if override not in everywhere) for point in points]
    return Plan(stem, overrides, dict(zip(names, labels, strict=True)))


def _jobs(wanted: int | None, experiments: int) -> int:
    return max(1, min(wanted or os.cpu_count() or 1, experiments))


def _raw_data(root: Path) -> list[str]:
    # An experiment's own workspace checks them out of the cache, and no remote is asked there.
    raw.fetch(root)
    source = raw.source(root, raw.read_pin(root))
    if source.state is Kept.INTACT:
        return []
    return [
        f"the source now has {source.found or 'nothing'}, pinned is {source.pinned}. Experiments run on the pinned "
        f"data, but DVC writes the source's etag into their pin: `git checkout HEAD -- {raw.PIN}` after `dvc exp apply`"
    ]


def _travelling(root: Path) -> list[str]:
    changed = git("diff", "--name-only", "HEAD", cwd=root).split("\n")[:-1]
    notes = []
    if str(params.PARAMS) in changed:
        notes.append(f"{params.PARAMS} is composed anew from conf/: what earlier `-S` options set there is dropped")
    if rest := [name for name in changed if name != str(params.PARAMS)]:
        notes.append(f"uncommitted changes go into every experiment: {', '.join(rest)}")
    lost = git("ls-files", "--others", "--exclude-standard", "--", "src", "conf", "requirements", cwd=root).split("\n")
    if lost[:-1]:
        notes.append(f"files that git does not track go into none (`git add` them): {', '.join(lost[:-1])}")
    return notes


def _count(experiments: int) -> str:
    return "1 experiment" if experiments == 1 else f"{experiments} experiments"


def render(made: Sweep) -> str:
    """The sweep for people: the ranked table, what failed and why, and the commands that go on from here."""
    lines: list[str] = []
    for ranking in made.rankings:
        lines += ["", *table(ranking)]
    if made.failed:
        lines += ["", f"{_count(len(made.failed))} failed:"]
        for failure in made.failed:
            lines += [f"  {failure.name}: {failure.said}", f"    dvc queue logs {failure.name}"]
    if made.waiting:
        lines += ["", f"{_count(len(made.waiting))} left in the queue: {', '.join(made.waiting)}"]
        lines += ["  batchyield sweep --resume    # go on", "  dvc queue remove --queued    # or drop them"]
    rows = [row for ranking in made.rankings for row in ranking.rows]
    if rows:
        best = rows[0].name
        width = len(f"dvc exp branch {best} BRANCH")
        lines += ["", "next:"]
        lines += [f"  {f'dvc exp apply {best}':<{width}}  # its params, lock and outputs into the workspace"]
        lines += [f"  dvc exp branch {best} BRANCH  # a branch of it, for a pull request"]
        lines += [f"  {f'dvc plots diff {best}':<{width}}  # its plots beside the workspace's"]
    return "\n".join([*lines, "", f"{made.seconds:.0f} s"])
