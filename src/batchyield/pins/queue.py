"""DVC's experiment queue: filled, run, looked at, and stopped so that nothing is left running.

Commands go through DVC's command line. What is asked every second is asked in process, since `dvc queue status` takes a
second of CPU each time.
"""

import base64
import contextlib
import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import psutil
from dvc.repo import Repo

from batchyield.pins.dvc import dvc


def numbered(name: str) -> tuple[str, int]:
    """An experiment's name as `fill` made it: the stem that a grid shares, and the number of the point."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if stem and number.isdigit() else (name, 0)


class State(StrEnum):
    """How far an experiment of the queue is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Task(msgspec.Struct, frozen=True):
    """An experiment in the queue.

    Attributes:
        id: of the queue entry; the experiment's own revision is another.
        name: as `dvc exp` and `dvc queue` know it.
        state: how far it is.
        baseline: the commit that it starts from.
        log: what it has said so far, once it runs.
    """

    id: str
    name: str
    state: State
    baseline: str
    log: Path | None

    @property
    def open(self) -> bool:
        """Whether it is still to be run, or runs."""
        return self.state in (State.WAITING, State.RUNNING)


class Queue:
    """The queue of the checkout at `root`."""

    def __init__(self, root: Path = Path()) -> None:
        self.root = root
        self._queue: Any = Repo(str(root)).experiments.celery_queue
        self._told: set[int] = set()

    def fill(self, name: str, overrides: Sequence[str]) -> None:
        """Queues one experiment for each point of the grid; `name` is their common stem."""
        settings = [word for override in overrides for word in ("-S", override)]
        dvc("exp", "run", "--queue", "--name", name, *settings, cwd=self.root, quiet=True)

    def tasks(self) -> list[Task]:
        """Everything in the queue, finished experiments included, by name."""
        # In this order, and the later look wins: one that moves on in between is seen twice rather than not at all.
        found = {entry.stash_rev: self._task(entry, State.WAITING) for entry in self._queue.iter_queued()}
        found |= {entry.stash_rev: self._task(entry, State.RUNNING) for entry in self._queue.iter_active()}
        for entry, result in self._queue.iter_done():
            done = bool(result and result.ref_info)
            found[entry.stash_rev] = self._task(entry, State.DONE if done else State.FAILED)
        return sorted(found.values(), key=lambda task: numbered(task.name))

    def _task(self, entry: Any, state: State) -> Task:
        process = self._queue.proc.get(entry.stash_rev)
        name = entry.name or entry.stash_rev[:7]
        return Task(entry.stash_rev, name, state, entry.baseline_rev, Path(process.stdout) if process else None)

    def start(self, jobs: int) -> None:
        """Starts workers in the background, `jobs` of them with those that already run."""
        dvc("queue", "start", "--jobs", str(jobs), cwd=self.root, quiet=True)

    def stop(self) -> None:
        """Tells each worker, once, to end when what it runs is finished."""
        # Not `dvc queue stop`: a message of it that nobody heard is kept, and ends the next worker of that name.
        for worker in self._workers():
            if worker.pid not in self._told:
                self._told.add(worker.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.terminate()

    def interrupt(self) -> None:
        """Ends the stages that run now, so that their experiments fail and are cleared away as any that fail."""
        # Not `dvc queue kill`: DVC ignores its interrupt while a stage runs, and --force leaves the stage running.
        for task in self.tasks():
            process = self._queue.proc.get(task.id)
            if task.state is State.RUNNING and process:
                with contextlib.suppress(psutil.NoSuchProcess):
                    for child in psutil.Process(process.pid).children(recursive=True):
                        child.terminate()

    def put_back(self) -> None:
        """Returns to the queue what a worker took and had not begun when it ended; no worker may run."""
        folders = self._queue.celery.conf.broker_transport_options
        taken = [task.id for task in self.tasks() if task.state is State.RUNNING and task.log is None]
        for file in Path(folders["processed_folder"]).glob("*.celery.msg") if taken else ():
            arguments, _, _ = json.loads(base64.b64decode(json.loads(file.read_bytes())["body"]))
            if arguments[0]["stash_rev"] in taken:
                file.rename(Path(folders["data_folder_in"]) / file.name)

    def workers(self) -> int:
        """How many workers run."""
        return sum(1 for _ in self._workers())

    def _workers(self) -> Iterator[psutil.Process]:
        for file in Path(self._queue.wdir).glob("dvc-exp-worker-*.pid"):
            with contextlib.suppress(OSError, ValueError, psutil.Error):
                process = psutil.Process(int(file.read_text()))
                # The number may be another program's by now.
                if process.status() != psutil.STATUS_ZOMBIE and "queue-worker" in process.cmdline():
                    yield process
