"""Saying which model is wanted, and waiting until every worker has it; else putting back what was wanted before."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batchyield.errors import ArtifactError, SetupError
from batchyield.serving.artifact import FILES
from batchyield.serving.deployment.model_store import Deployment, DesiredState, ModelStore
from batchyield.serving.deployment.worker_registry import WorkerStatus, live_workers

PINS_FILE = "pins.json"
"""Beside a fetched model: the md5 of each of its files, its commit and its version."""

MAX_HISTORY = 20
POLL_SECONDS = 0.05


class Rollout(msgspec.Struct, frozen=True):
    """What became of a wish.

    Attributes:
        wanted: as it was wished.
        workers: the living workers in the end.
        problem: why the wish was taken back; empty where it was fulfilled.
    """

    desired: DesiredState
    workers: tuple[WorkerStatus, ...]
    problem: str = ""


@contextlib.contextmanager
def exclusive_lock(models: ModelStore) -> Iterator[None]:
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


def read_deployment(folder: Path) -> Deployment:
    """What lies in a folder that `pins.artifacts.bring` made.

    Raises:
        ArtifactError: its `pins.json` cannot be read.
    """
    file = folder / PINS_FILE
    try:
        said = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
        return Deployment(
            folder.name, {name: said[name] for name in FILES}, said["revision"], said.get("version", "unreleased")
        )
    except (OSError, msgspec.MsgspecError, KeyError) as error:
        raise ArtifactError(str(file), f"cannot be read: {error}", "remove the folder and bring it again") from error


def current_deployment(models: ModelStore) -> Deployment | None:
    """What answers now: as the living workers say, else as it is wanted; None where nothing says."""
    for status in live_workers(models.workers):
        return status.serving
    return models.desired().serving


def deploy(models: ModelStore, deployment: Deployment, wait: float) -> Rollout:
    """Has every worker serve a model that is in the store; what served until now is kept for a rollback."""
    before = current_deployment(models)
    if before and before.of_lock:
        try:  # the workspace may move on, and a rollback is to find these very bytes
            before = models.add(
                Path(before.directory), msgspec.structs.replace(before, directory=f"{before.md5}-workspace")
            )
        except ArtifactError:
            before = None
    made = _wish(models, serving=deployment, wait=wait)
    if not made.problem and before and before != deployment:
        models.set_history((*models.history(), before)[-MAX_HISTORY:])
    return made


def rollback(models: ModelStore, wait: float) -> Rollout:
    """Has every worker serve what served before.

    Raises:
        SetupError: nothing served before.
    """
    *earlier, previous = models.history() or (None,)
    if previous is None:
        raise SetupError(
            f"{models.root} remembers no model that served before", "name one: `batchyield deploy rollback REVISION`"
        )
    made = _wish(models, serving=previous, wait=wait)
    if not made.problem:
        models.set_history(tuple(one for one in earlier if one))
    return made


def set_shadow(models: ModelStore, deployment: Deployment | None, wait: float) -> Rollout:
    """Has every worker run a model in the shadow, or none."""
    return _wish(models, shadow=deployment, wait=wait)


def _wish(models: ModelStore, wait: float, **changes: Deployment | None) -> Rollout:
    try:
        before = models.desired()
    except ArtifactError:
        before = DesiredState(serving=models.last_known_good())  # what is there cannot be put back
    revision = max([before.revision, *(status.desired_revision for status in live_workers(models.workers))]) + 1
    wanted = msgspec.structs.replace(before, revision=revision, **changes)
    models.set_desired(wanted)
    problem = _wait(models, wanted, wait, *changes) if wait else ""
    if problem:
        restored = msgspec.structs.replace(before, revision=revision + 1)
        models.set_desired(restored)
        _wait(models, restored, wait, *changes)
    return Rollout(wanted, tuple(live_workers(models.workers)), problem)


def _wait(models: ModelStore, wanted: DesiredState, seconds: float, role: str) -> str:
    """Waits until every living worker has acted; says what is wrong with the model for `role`, or nothing."""
    deadline = time.monotonic() + seconds
    while True:
        workers = live_workers(models.workers)
        late = [status.pid for status in workers if status.desired_revision < wanted.revision]
        acted = [status for status in workers if status.desired_revision >= wanted.revision]
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
