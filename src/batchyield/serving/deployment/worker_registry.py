"""What each worker says of itself, in a file that is believed only while the worker lives.

A worker holds a lock beside its file for as long as it lives, and the kernel lets go of it however the worker ends: a
process id alone would be taken for a worker again once another program has it.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from batchyield.files import write_atomic
from batchyield.serving.artifact import canonical_json
from batchyield.serving.deployment.model_store import Deployment
from batchyield.serving.deployment.prediction_diff import RunningDiff
from batchyield.serving.responses import Refusal


class ShadowStats(msgspec.Struct, frozen=True):
    """What a shadow has seen in one worker.

    Attributes:
        candidate: md5 of the shadow.
        by_baseline: md5 of the model that answered -> how the shadow's answers differ.
        dropped: batches that found no room in the queue.
        failed: batches that the shadow could not answer.
        failure: why, the last time; empty where it never happened.
    """

    candidate: str
    by_baseline: dict[str, RunningDiff] = {}
    dropped: int = 0
    failed: int = 0
    failure: str = ""

    def __add__(self, other: "ShadowStats") -> "ShadowStats":
        baselines = self.by_baseline.keys() | other.by_baseline.keys()
        none = RunningDiff()
        return ShadowStats(
            self.candidate,
            {md5: self.by_baseline.get(md5, none) + other.by_baseline.get(md5, none) for md5 in sorted(baselines)},
            self.dropped + other.dropped,
            self.failed + other.failed,
            self.failure or other.failure,
        )


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker.

    Attributes:
        pid: of its process.
        desired_revision: of the wish that it last acted upon.
        serving: what answers.
        shadow: what sees the same rows.
        refused: what it was to use and does not.
        shadowed: what the shadow has seen.
    """

    pid: int
    desired_revision: int
    serving: Deployment
    shadow: Deployment | None = None
    refused: tuple[Refusal, ...] = ()
    shadowed: ShadowStats | None = None


class WorkerRegistration:
    """A living worker's place among the others."""

    def __init__(self, folder: Path) -> None:
        """Takes a place.

        Raises:
            OSError: the folder cannot be written to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        while True:
            self.name = f"{os.getpid()}-{secrets.token_hex(4)}"
            self._lock = (folder / f"{self.name}.lock").open("wb")
            with contextlib.suppress(BlockingIOError):  # another worker looked whether this one is dead
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            self._lock.close()

    def publish(self, status: WorkerStatus) -> None:
        """Tells the others."""
        write_atomic(self._folder / f"{self.name}.json", canonical_json(status))

    def release(self) -> None:
        """Gives the place up; what was said last stays for a successor to inherit."""
        self._lock.close()

    def adopt_dead(self) -> list[WorkerStatus]:
        """What workers said that are dead now, each told to one successor alone."""
        left = []
        for lock in sorted(self._folder.glob("*.lock")):
            if lock.stem == self.name or not (ended := _ended(lock)):
                continue
            with ended:
                said = _said(lock)
                lock.with_suffix(".json").unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
            left += [said] if said else []
        return left

    def other_workers(self) -> list[WorkerStatus]:
        """The other living workers."""
        return [status for name, status in _living(self._folder) if name != self.name]


def live_workers(folder: Path) -> list[WorkerStatus]:
    """All workers that live and have said something, by process id."""
    return sorted((status for _, status in _living(folder)), key=lambda status: status.pid)


def _living(folder: Path) -> Iterator[tuple[str, WorkerStatus]]:
    for lock in sorted(folder.glob("*.lock")):
        if ended := _ended(lock):
            ended.close()
        elif said := _said(lock):
            yield lock.stem, said


def _ended(lock: Path) -> BinaryIO | None:
    """The lock of a worker that is dead, held by us until it is closed; None where the worker lives."""
    try:
        file = lock.open("rb+")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _said(lock: Path) -> WorkerStatus | None:
    try:
        return msgspec.json.decode(lock.with_suffix(".json").read_bytes(), type=WorkerStatus)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
