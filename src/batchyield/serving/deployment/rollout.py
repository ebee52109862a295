"""Rollout of a deployment: write the desired state, wait for every worker, restore the old state on failure."""

import contextlib
import fcntl
import time
from collections.abc import Iterator

import msgspec

from batchyield.errors import ArtifactError, ConfigError, ConflictError, WriteError
from batchyield.serving.audit_trail import record_change
from batchyield.serving.deployment.model_store import Deployment, DesiredState, ModelStore
from batchyield.serving.deployment.worker_registry import WorkerStatus, live_workers

MAX_HISTORY = 20
POLL_SECONDS = 0.05
AUDIT_FILE = "audit.jsonl"
"""In the directory of the store: who changed what serves, and when."""


class Rollout(msgspec.Struct, frozen=True):
    """The state that was rolled out, the live workers at the end, and why the previous state was restored, if so.

    `skipped` are previous deployments that a rollback passed over, because their files are no longer intact.
    """

    desired: DesiredState
    workers: tuple[WorkerStatus, ...]
    problem: str = ""
    skipped: tuple[Deployment, ...] = ()


@contextlib.contextmanager
def deployment_lock(models: ModelStore) -> Iterator[None]:
    """Hold the lock that keeps two commands from deploying at once; raise ConflictError if another holds it."""
    try:
        models.root.mkdir(parents=True, exist_ok=True)
        lock = (models.root / ".lock").open("wb")
    except OSError as error:
        remedy = "pass the service's BATCHYIELD_MODELS as --models"
        raise WriteError(f"{models.root} cannot be written to: {error.strerror}", remedy) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = f"another deployment into {models.root} is running"
            raise ConflictError(problem, "try again when it has finished") from None
        yield


def current_deployment(models: ModelStore) -> Deployment | None:
    """Return what the first live worker serves, or what is desired; None: the model of dvc.lock."""
    for status in live_workers(models.workers):
        return status.serving
    return models.desired().serving


def deploy(models: ModelStore, deployment: Deployment, wait: float, before: Deployment | None = None) -> Rollout:
    """Make every worker serve a model of the store (from `ModelStore.add`).

    Args:
        wait: seconds until the rollout fails; 0: do not wait.
        before: the deployment that a rollback returns to, as `ModelStore.keep` returns it.
    """
    rollout = _roll_out(models, "deploy", {}, serving=deployment, wait=wait)
    if not rollout.problem and before and before != deployment:
        models.set_history((*models.history(), before)[-MAX_HISTORY:])
    return rollout


def rollback(models: ModelStore, wait: float, **facts: str) -> Rollout:
    """Make every worker serve the latest previous deployment whose files are intact.

    Args:
        wait: as for `deploy`.
        facts: for the audit trail, beside those of every rollout.

    Raises:
        ConfigError: there is none.
    """
    history = models.history()
    at = max((i for i, deployment in enumerate(history) if models.holds(deployment)), default=None)
    if at is None:
        problem = f"the files of the {len(history)} previous models in {models.root} are damaged"
        raise ConfigError(
            problem if history else f"{models.root} has no record of a previous model",
            "name one: `batchyield deploy rollback REVISION`",
        )
    rollout = _roll_out(models, "rollback", facts, serving=history[at], wait=wait)
    if not rollout.problem:
        models.set_history(history[:at])
    return msgspec.structs.replace(rollout, skipped=history[at + 1 :])


def set_shadow(models: ModelStore, deployment: Deployment | None, wait: float) -> Rollout:
    """Make every worker run a model as the shadow, or no model; `wait` as for `deploy`."""
    return _roll_out(models, "shadow", {}, shadow=deployment, wait=wait)


def _roll_out(
    models: ModelStore, action: str, facts: dict[str, str], wait: float, **changes: Deployment | None
) -> Rollout:
    try:
        before = models.desired()
    except ArtifactError:
        before = DesiredState(serving=models.last_known_good())  # desired.json is unreadable
    revision = max([before.revision, *(status.desired_revision for status in live_workers(models.workers))]) + 1
    desired = msgspec.structs.replace(before, revision=revision, **changes)
    ((role, deployment),) = changes.items()
    now, then = (str(deployment or "none") for deployment in (deployment, getattr(before, role)))
    record_change(models.root / AUDIT_FILE, action, model=now, before=then, **facts)
    models.set_desired(desired)
    problem = _wait(models, desired, wait, *changes) if wait else ""
    if problem:
        record_change(models.root / AUDIT_FILE, f"{action} refused", model=then, before=now, reason=problem, **facts)
        restored = msgspec.structs.replace(before, revision=revision + 1)
        models.set_desired(restored)
        _wait(models, restored, wait, *changes)
    return Rollout(desired, tuple(live_workers(models.workers)), problem)


def _wait(models: ModelStore, desired: DesiredState, seconds: float, role: str) -> str:
    """Wait until every live worker has applied the state; return why the model for `role` was rejected, or ''."""
    deadline = time.monotonic() + seconds
    while True:
        workers = live_workers(models.workers)
        late = [status.pid for status in workers if status.desired_revision < desired.revision]
        refusals = {
            f"worker {status.pid}: {refusal.reason}"
            for status in workers
            for refusal in status.refused
            if status.desired_revision >= desired.revision and refusal.role == role
        }
        if refusals:
            return "\n".join(sorted(refusals))
        if not late:
            return ""
        if time.monotonic() > deadline:
            return f"workers {', '.join(map(str, late))} have not responded within {seconds:g} s"
        time.sleep(POLL_SECONDS)
