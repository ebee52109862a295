"""The queue run to its end, or to a clean stop: no worker and no stage outlives this."""

import time
from collections.abc import Collection
from pathlib import Path

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
    try:
        _watch(queue, names, jobs, progress)
    except KeyboardInterrupt:
        progress.say("stopping: what runs comes to its end first; Ctrl-C again ends it at once")
        try:
            _drain(queue, names, progress)
        except KeyboardInterrupt:
            progress.say("ending what runs")
            _drain(queue, names, progress, at_once=True)
        return False
    _drain(queue, names, progress)
    return True


def _watch(queue: Queue, names: Collection[str], jobs: int, progress: Progress) -> None:
    queue.start(jobs)
    starts, seen = 1, time.monotonic()
    while True:
        tasks = mine(queue, names)
        progress.show(tasks)
        if not any(task.open for task in tasks):
            return
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


def _lost(names: list[str], running: bool) -> SetupError:
    log = Path(".dvc/tmp/exps/celery/dvc-exp-worker-1.out")
    forget = f"`dvc queue kill {' '.join(names)}` gives them up, then " if running else ""
    return SetupError(
        f"DVC's queue worker ended and left {', '.join(names)}; the last lines of {log} say why",
        f"{forget}`batchyield sweep --resume` goes on",
    )


def _drain(queue: Queue, names: Collection[str], progress: Progress, *, at_once: bool = False) -> None:
    while queue.workers():
        queue.stop()
        if at_once:
            queue.interrupt()
        progress.show(mine(queue, names))
        time.sleep(LOOK_SECONDS)
    queue.put_back()
    progress.show(mine(queue, names))
    progress.close()
