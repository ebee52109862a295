"""The queue run to its end, or to a clean stop: no worker and no stage outlives this."""

import contextlib
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from batchyield.errors import SetupError
from batchyield.pins.progress import Progress
from batchyield.pins.queue import Queue, State, Task

LOOK_SECONDS = 0.5
START_SECONDS = 15.0
"""Within this a worker that was started is there."""
STARTS = 3
"""How often workers are started where they end with work left."""


def mine(queue: Queue, names: Collection[str]) -> list[Task]:
    """The tasks of these names."""
    return [task for task in queue.tasks() if task.name in names]


def run(queue: Queue, names: Collection[str], jobs: int, progress: Progress) -> bool:
    """Runs the queue until all experiments of these names have ended, and ends the workers.

    Ctrl-C lets those that run come to their end and leaves the rest in the queue; a second one ends them at once.

    Returns:
        Whether all of it ran, rather than being stopped.

    Raises:
        SetupError: the workers end again and again with work left.
    """
    with _interrupts() as told:
        try:
            whole = _watch(queue, names, jobs, progress, told)
        except SetupError:  # a terminal's Ctrl-C also ends the command that starts the workers
            if not told:
                raise
            whole = False
        if not whole:
            progress.say("stopping: what runs comes to its end first; Ctrl-C again ends it at once")
        _drain(queue, names, progress, told)
        return whole


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Each Ctrl-C of the block, noted: raised in the middle of what asks the queue, one can be lost."""
    told: list[int] = []

    def note(number: int, _: Any) -> None:
        told.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield told
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(queue: Queue, names: Collection[str], jobs: int, progress: Progress, told: list[int]) -> bool:
    """Whether all ran to its end, rather than being told to stop."""
    queue.start(jobs)
    starts, seen = 1, time.monotonic()
    while not told:
        tasks = mine(queue, names)
        progress.show(tasks)
        if not any(task.open for task in tasks):
            return True
        if queue.workers():
            seen = time.monotonic()
        elif time.monotonic() - seen > START_SECONDS:
            queue.put_back()
            stuck = [task.name for task in mine(queue, names) if task.state is State.RUNNING]
            if starts == STARTS or stuck:
                raise _lost(stuck or [task.name for task in tasks if task.open], bool(stuck))
            queue.start(jobs)
            starts, seen = starts + 1, time.monotonic()
        time.sleep(LOOK_SECONDS)
    return False


def _lost(names: list[str], running: bool) -> SetupError:
    log = Path(".dvc/tmp/exps/celery/dvc-exp-worker-1.out")
    forget = f"`dvc queue kill {' '.join(names)}` gives them up, then " if running else ""
    return SetupError(
        f"DVC's queue worker ended and left {', '.join(names)}; the last lines of {log} say why",
        f"{forget}`batchyield sweep --resume` goes on",
    )


def _drain(queue: Queue, names: Collection[str], progress: Progress, told: list[int]) -> None:
    at_once = False
    while queue.workers():
        queue.stop()
        if len(told) > 1:
            if not at_once:
                progress.say("ending what runs")
            at_once = True
            queue.interrupt()
        progress.show(mine(queue, names))
        time.sleep(LOOK_SECONDS)
    queue.put_back()
    progress.show(mine(queue, names))
    progress.close()
