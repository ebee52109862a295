"""A sweep as it runs: a line for each experiment that ends, and on a terminal one that says how it stands."""

import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from batchyield.pins.queue import State, Task

STAGE = re.compile(r"^Running stage '(.+)':$", re.MULTILINE)
QUIET_SECONDS = 30.0
"""How often the standing line comes where it cannot be written over."""


class Progress:
    """Tells `stream` what changed since it was last shown.

    Args:
        stream: where to; a terminal gets one line that is written over.
        labels: what is said of an experiment beside its name, where there is something.
        jobs: how many run at a time, for the estimate.
    """

    def __init__(self, stream: TextIO, labels: dict[str, str], jobs: int) -> None:
        self._stream, self._labels, self._jobs = stream, labels, jobs
        self._begun = self._last = time.monotonic()
        self._started: dict[str, float] = {}
        self._took: list[float] = []
        self._ended: set[str] = set()
        self._live = stream.isatty()

    def show(self, tasks: Iterable[Task]) -> None:
        """Says what has ended, and how it stands."""
        now, tasks = time.monotonic(), list(tasks)
        for task in tasks:
            if task.state is State.RUNNING:
                self._started.setdefault(task.id, now)
            elif not task.open and task.id not in self._ended:
                self._ended.add(task.id)
                self._end(task, len(tasks), now)
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\033[K{self._standing(tasks, now)[:width]}")
            self._stream.flush()
        elif now - self._last >= QUIET_SECONDS:
            self.say(self._standing(tasks, now))

    def say(self, text: str) -> None:
        """A line that stays."""
        self._last = time.monotonic()
        self._stream.write(f"{self._wiped()}{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Takes the standing line away."""
        self._stream.write(self._wiped())
        self._stream.flush()

    def _wiped(self) -> str:
        return "\r\033[K" if self._live else ""

    def _end(self, task: Task, total: int, now: float) -> None:
        took = ""
        if task.id in self._started:  # one that ended between two looks was not seen to run
            seconds = now - self._started[task.id]
            took = f" in {seconds:.0f} s"
            if task.state is State.DONE:
                self._took.append(seconds)
        label = self._labels.get(task.name, "")
        self.say(f"[{len(self._ended)}/{total}] {task.name} {task.state}{took}  {label}".rstrip())

    def _standing(self, tasks: list[Task], now: float) -> str:
        count = {state: sum(task.state is state for task in tasks) for state in State}
        running = [
            f"{task.name} ({_stage(task.log)}{now - self._started[task.id]:.0f} s)"
            for task in tasks
            if task.state is State.RUNNING
        ]
        parts = [
            f"{count[State.DONE]} of {len(tasks)} done",
            *([f"{count[State.FAILED]} failed"] if count[State.FAILED] else []),
            *([f"running {', '.join(running)}"] if running else []),
            *([f"{count[State.WAITING]} waiting"] if count[State.WAITING] else []),
            f"{now - self._begun:.0f} s",
        ]
        rest = self._rest(tasks, now)
        return ", ".join([*parts, *([f"about {rest:.0f} s to go"] if rest is not None else [])])

    def _rest(self, tasks: list[Task], now: float) -> float | None:
        if not self._took:
            return None
        mean = sum(self._took) / len(self._took)
        ahead = [
            max(mean - (now - self._started.get(task.id, now)), 0.0) if task.state is State.RUNNING else mean
            for task in tasks
            if task.open
        ]
        return sum(ahead) / self._jobs


def _stage(log: Path | None) -> str:
    found = STAGE.findall(log.read_text(errors="replace")) if log and log.exists() else []
    return f"{found[-1]}, " if found else ""
