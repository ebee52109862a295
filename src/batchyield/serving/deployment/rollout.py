"""Saying which model is wanted, and waiting until every worker has it; else putting back what was wanted before."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batchyield.errors import ArtifactError, SetupError
from batchyield.serving.artifact import FILES
from batchyield.serving.deployment.model_store import Deployment, Desired, Models
from batchyield.serving.deployment.worker_registry import Status, living

PINS = "pins.json"
"""Beside a fetched model: the md5 of each of its files, its commit and its version."""

LONGEST_HISTORY = 20
POLL_SECONDS = 0.05


class Rollout(msgspec.Struct, frozen=True):
    """What became of a wish.

    Attributes:
        wanted: as it was wished.
        workers: the living workers in the end.
        problem: why the wish was taken back; empty where it was fulfilled.
    """

    wanted: Desired
    workers: tuple[Status, ...]
    problem: str = ""


@contextlib.contextmanager
def alone(models: Models) -> Iterator[None]:
    """Keeps two commands from wishing at once.

    Raises:
        SetupError: another one is at it, or the folder cannot be written to.
    """
    try:
        models.root.mkdir(parents=True, exist_ok=True)
        lock = (models.root / ".lock").open("wb")
    except OSError as error:
        raise SetupError(
            f"{models.root} cannot be written to: {error.strerror}", "name the service's BATCHYIELD_MODELS by --models"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f"another deployment into {models.root} is under way", "try again once it has ended"
            ) from None
        yield


def brought(folder: Path) -> Deployment:
    """What lies in a folder that `pins.artifacts.bring` made.

    Raises:
        ArtifactError: its `pins.json` cannot be read.
    """
    file = folder / PINS
    try:
        said = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
        return Deployment(
            folder.name, {name: said[name] for name in FILES}, said["revision"], said.get("version", "unreleased")
        )
    except (OSError, msgspec.MsgspecError, KeyError) as error:
        raise ArtifactError(str(file), f"cannot be read: {error}", "remove the folder and bring it again") from error


def running(models: Models) -> Deployment | None:
    """What answers now: as the living workers say, else as it is wanted; None where nothing says."""
    for status in living(models.workers):
        return status.serving
    return models.desired().serving


def deploy(models: Models, deployment: Deployment, wait: float) -> Rollout:
    """Has every worker serve a model that is in the store; what served until now is kept for a rollback."""
    before = running(models)
    if before and before.of_lock:
        try:  # the workspace may move on, and a rollback is to find these very bytes
            before = models.keep(
                Path(before.directory), msgspec.structs.replace(before, directory=f"{before.md5}-workspace")
            )
        except ArtifactError:
            before = None
    made = _wish(models, serving=deployment, wait=wait)
    if not made.problem and before and before != deployment:
        models.remember((*models.history(), before)[-LONGEST_HISTORY:])
    return made


def rollback(models: Models, wait: float) -> Rollout:
    """Has every worker serve what served before.

    Raises:
        SetupError: nothing served before.
    """
    *earlier, previous = models.history() or (None,)
    if previous is None:
        raise SetupError(
            f"{models.root} remembers no model that served before", "name one: `batchyield rollback REVISION`"
        )
    made = _wish(models, serving=previous, wait=wait)
    if not made.problem:
        models.remember(tuple(one for one in earlier if one))
    return made


def shadow(models: Models, deployment: Deployment | None, wait: float) -> Rollout:
    """Has every worker run a model in the shadow, or none."""
    return _wish(models, shadow=deployment, wait=wait)


def _wish(models: Models, wait: float, **changes: Deployment | None) -> Rollout:
    try:
        before = models.desired()
    except ArtifactError:
        before = Desired(serving=models.good())  # what is there cannot be put back
    serial = max([before.serial, *(status.serial for status in living(models.workers))]) + 1
    wanted = msgspec.structs.replace(before, serial=serial, **changes)
    models.wish(wanted)
    problem = _wait(models, wanted, wait, *changes) if wait else ""
    if problem:
        restored = msgspec.structs.replace(before, serial=serial + 1)
        models.wish(restored)
        _wait(models, restored, wait, *changes)
    return Rollout(wanted, tuple(living(models.workers)), problem)


def _wait(models: Models, wanted: Desired, seconds: float, role: str) -> str:
    """Waits until every living worker has acted; says what is wrong with the model for `role`, or nothing."""
    deadline = time.monotonic() + seconds
    while True:
        workers = living(models.workers)
        late = [status.pid for status in workers if status.serial < wanted.serial]
        acted = [status for status in workers if status.serial >= wanted.serial]
        refused = {
            f"worker {status.pid}: {one.reason}" for status in acted for one in status.refused if one.role == role
        }
        if refused:
            return "\n".join(sorted(refused))
        if not late:
            return ""
        if time.monotonic() > deadline:
            return f"workers {', '.join(map(str, late))} have not acted within {seconds:g} s"
        time.sleep(POLL_SECONDS)
