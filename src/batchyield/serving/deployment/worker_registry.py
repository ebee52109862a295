"""Registry of live workers: one status file per worker, valid while the worker holds its lock file.

A process id alone is not proof of life, because the kernel reuses ids. Each worker therefore holds an exclusive
`flock`, which the kernel releases however the process ends.
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
    """Counters of a shadow in one worker.

    Attributes:
        candidate: md5 of the shadow model.
        by_baseline: md5 of the serving model -> differences of the shadow's predictions.
        dropped, failed: batches for which the queue was full, and that the shadow could not predict.
        failure: the last error; empty if there was none.
    """

    candidate: str
    by_baseline: dict[str, RunningDiff] = {}
    dropped: int = 0
    failed: int = 0
    failure: str = ""

    def __add__(self, other: "ShadowStats") -> "ShadowStats":
        baselines = self.by_baseline.keys() | other.by_baseline.keys()
        zero = RunningDiff()
        return ShadowStats(
            self.candidate,
            {md5: self.by_baseline.get(md5, zero) + other.by_baseline.get(md5, zero) for md5 in sorted(baselines)},
            self.dropped + other.dropped,
            self.failed + other.failed,
            self.failure or other.failure,
        )


class WorkerStatus(msgspec.Struct, frozen=True):
    """Status of a worker: its models, those it rejected, and the revision of the desired state that it last applied."""

    pid: int
    desired_revision: int
    serving: Deployment
    shadow: Deployment | None = None
    refused: tuple[Refusal, ...] = ()
    shadowed: ShadowStats | None = None


class WorkerRegistration:
    """Registers the current process as a worker in the directory of all workers of a host; ends with the process.

    Raises:
        OSError: the directory cannot be written to.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        while True:
            self.name = f"{os.getpid()}-{secrets.token_hex(4)}"
            self._lock = (directory / f"{self.name}.lock").open("wb")
            with contextlib.suppress(BlockingIOError):  # another worker is checking whether this one is dead
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            self._lock.close()

    def publish(self, status: WorkerStatus) -> None:
        """Write this worker's status file."""
        write_atomic(self._directory / f"{self.name}.json", canonical_json(status))

    def release(self) -> None:
        """End the registration; the last status stays for `adopt_dead` of another worker."""
        self._lock.close()

    def adopt_dead(self) -> list[WorkerStatus]:
        """Return and delete the last status of dead workers; each is returned to one caller only."""
        statuses = []
        for lock in sorted(self._directory.glob("*.lock")):
            if lock.stem == self.name or not (held := _lock_if_dead(lock)):
                continue
            with held:
                status = _read_status(lock)
                lock.with_suffix(".json").unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
            statuses += [status] if status else []
        return statuses

    def other_workers(self) -> list[WorkerStatus]:
        """Return the status of the other live workers."""
        return [status for name, status in _iterate_live(self._directory) if name != self.name]


def live_workers(directory: Path) -> list[WorkerStatus]:
    """Return the status of all live workers that have published one, by process id."""
    return sorted((status for _, status in _iterate_live(directory)), key=lambda status: status.pid)


def _iterate_live(directory: Path) -> Iterator[tuple[str, WorkerStatus]]:
    for lock in sorted(directory.glob("*.lock")):
        if held := _lock_if_dead(lock):
            held.close()
        elif status := _read_status(lock):
            yield lock.stem, status


def _lock_if_dead(lock: Path) -> BinaryIO | None:
    """Return a dead worker's lock file, locked until it is closed; None if the worker lives."""
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


def _read_status(lock: Path) -> WorkerStatus | None:
    try:
        return msgspec.json.decode(lock.with_suffix(".json").read_bytes(), type=WorkerStatus)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
