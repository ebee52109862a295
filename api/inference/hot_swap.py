"""Hot swap of models: each worker polls the desired state and loads another model while it serves."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from time import monotonic

import msgspec

from api.inference.served_model import ServedModel, open_deployment
from api.inference.service import Service
from api.inference.shadow import ShadowCandidate
from api.settings import Settings
from batchyield.errors import ArtifactError, BatchyieldError, WriteError
from batchyield.serving.artifact import MODEL, read_pins
from batchyield.serving.deployment.model_store import Deployment, ModelStore
from batchyield.serving.deployment.worker_registry import WorkerRegistration, WorkerStatus
from batchyield.serving.responses import Refusal

logger = logging.getLogger("batchyield.models")

POLL_SECONDS = 0.25
PUBLISH_SECONDS = 1.0
"""How often a worker publishes the counts of its shadow, and tries again to write what it could not."""

SERVING, SHADOW, STATUS = "serving", "shadow", "status"


def open_pinned(settings: Settings) -> ServedModel:
    """Open the model that dvc.lock pins.

    Raises:
        ArtifactError: its bytes are not the pinned ones, or its golden rows are not predicted as recorded.
    """
    directory = settings.model_directory
    pins = read_pins(settings.lock_path, directory)
    deployment = Deployment(str(directory.absolute()), pins, settings.revision, settings.model_version)
    return open_deployment(deployment, directory)


def open_desired(settings: Settings) -> ServedModel:
    """Open the model to start with: the desired one, else the last known good one, else the pinned one.

    Raises:
        ArtifactError: none of them can be served.
    """
    store = ModelStore(settings.models_directory)
    reads: tuple[Callable[[], Deployment | None], ...] = (lambda: store.desired().serving, store.last_known_good)
    for read in reads:
        try:
            if (deployment := read()) is None:
                break
            model = open_deployment(deployment, store.path(deployment))
        except ArtifactError as error:
            logger.warning("a deployed model is refused at the start: %s", error)
        else:
            _warn_of_other_pin(settings, deployment)
            return model
    return open_pinned(settings)


def _warn_of_other_pin(settings: Settings, deployment: Deployment) -> None:
    """Log that a deployed model serves, if dvc.lock pins another one, as after an upgrade of the image."""
    with contextlib.suppress(ArtifactError):
        pinned = read_pins(settings.lock_path, settings.model_directory)[MODEL]
        if pinned != deployment.md5:
            logger.warning(
                "the deployed model %s serves, not %s, which this installation pins: a deployment outlives an upgrade; "
                "to serve the pinned model, `batchyield deploy start` its revision",
                deployment,
                pinned[:12],
            )


class ModelHotSwapper:
    """Polls the desired state in a thread of its own and swaps the model of a service.

    A desired model is opened, compared with its hashes and tried on its golden rows before one assignment puts it into
    service. Running requests keep the model that they began with; it is freed when the last of them ends.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._settings = service.settings
        self._store = ModelStore(service.settings.models_directory)
        self._desired_revision = 0
        self._refused: dict[str, Refusal] = {}
        self._published: WorkerStatus | None = None
        self._published_at = 0.0
        self._unwritten: set[str] = set()  # what could not be written, for example on a full disk
        self._registration: WorkerRegistration | None = None
        try:
            self._registration = WorkerRegistration(self._store.workers)
        except OSError as error:
            if self._settings.models:
                logger.warning("%s: not writable, so deployments have no effect: %s", self._store.root, error)
        service.other_workers = self._registration.other_workers if self._registration else list
        self._version = self._store.desired_version()
        self._apply_desired()
        candidate = service.shadow.candidate
        for status in self._registration.adopt_dead() if self._registration else ():
            if candidate and status.shadowed and status.shadowed.candidate == candidate.deployment.md5:
                candidate.add_counts(status.shadowed)  # which a dead worker had of the same shadow
        self._publish_status()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="swap", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop polling; the model stays in service."""
        self._stopping.set()
        self._thread.join()
        candidate = self._service.shadow.candidate
        self._service.shadow.close()
        self._publish_status(candidate)
        if self._registration:
            self._registration.release()

    def _poll(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            try:
                version = self._store.desired_version()
                if version != self._version:
                    self._version = version
                    self._apply_desired()
                if SERVING in self._unwritten and monotonic() - self._published_at >= PUBLISH_SECONDS:
                    self._keep_model()
                self._publish_status()
            except Exception:
                logger.exception("polling %s failed; the model stays in service", self._store.root)

    def _apply_desired(self) -> None:
        try:
            desired = self._store.desired()
        except ArtifactError as error:
            self._refuse(SERVING, None, error)
        else:
            self._swap(SERVING, desired.serving, self._serve)
            self._swap(SHADOW, desired.shadow, self._set_shadow)
            self._desired_revision = desired.revision
        self._service.refused = tuple(self._refused.values())

    def _swap(self, role: str, deployment: Deployment | None, swap: Callable[[Deployment | None], None]) -> None:
        try:
            swap(deployment)
        except Exception as error:
            if role == SHADOW:
                self._service.shadow.set_candidate(None)
            self._refuse(role, deployment, error)
            return
        self._refused.pop(role, None)
        self._service.metrics.models.refused.labels(role).set(0)
        if role == SERVING and self._registration:
            self._keep_model()

    def _keep_model(self) -> None:
        """Keep the model in service for a restart and for a rollback."""
        deployment = self._service.model.deployment
        with self._writing(SERVING, f"{self._store.root}: a restart or a rollback may not find this model"):
            self._store.mark_good(deployment)
            self._store.keep(deployment)

    @contextlib.contextmanager
    def _writing(self, what: str, failure: str) -> Iterator[None]:
        """Log an error of the block once, and remember that `what` is not written, until the block succeeds."""
        try:
            yield
        except (OSError, ArtifactError, WriteError) as error:
            if what not in self._unwritten:
                logger.warning("%s: %s", failure, error)
            self._unwritten.add(what)
        else:
            self._unwritten.discard(what)

    def _serve(self, deployment: Deployment | None) -> None:
        current = self._service.model.deployment
        if deployment == current or (deployment is None and current.of_lock):
            return
        if deployment is None:
            model = open_pinned(self._settings)
        else:
            model = open_deployment(deployment, self._store.path(deployment))
        self._service.set_model(model)
        self._service.metrics.models.changes.labels(SERVING, "taken").inc()
        logger.info("model %s serves in place of %s", model.deployment, current)

    def _set_shadow(self, deployment: Deployment | None) -> None:
        shadow = self._service.shadow
        if deployment is None:
            shadow.set_candidate(None)
        elif shadow.candidate is None or deployment != shadow.candidate.deployment:
            model = open_deployment(deployment, self._store.path(deployment))
            shadow.set_candidate(ShadowCandidate(deployment, model.artifact.predictor))
            self._service.metrics.models.changes.labels(SHADOW, "taken").inc()
            logger.info("model %s runs in the shadow", deployment)

    def _refuse(self, role: str, deployment: Deployment | None, error: Exception) -> None:
        reason = str(error) if isinstance(error, BatchyieldError) else f"{type(error).__name__}: {error}"
        md5, revision = (deployment.md5, deployment.revision) if deployment else ("", "")
        self._refused[role] = Refusal(role, md5, revision, reason)
        self._service.metrics.models.changes.labels(role, "refused").inc()
        self._service.metrics.models.refused.labels(role).set(1)
        kept = self._service.model.deployment if role == SERVING else "no model"
        logger.warning("%s stays as %s; the desired model is refused: %s", kept, role, reason)

    def _publish_status(self, closing: ShadowCandidate | None = None) -> None:
        """Publish the status of this worker: at once if a model changed, else once in a while."""
        if not self._registration:
            return
        candidate = closing or self._service.shadow.candidate
        status = WorkerStatus(
            os.getpid(),
            self._desired_revision,
            self._service.model.deployment,
            candidate.deployment if candidate else None,
            self._service.refused,
            candidate.counts() if candidate else None,
        )
        last = self._published
        only_counts = last is not None and msgspec.structs.replace(status, shadowed=last.shadowed) == last
        early = monotonic() - self._published_at < PUBLISH_SECONDS
        failing = STATUS in self._unwritten
        if (status == last and not failing) or ((only_counts or failing) and early and closing is None):
            return
        with self._writing(STATUS, str(self._store.workers)):
            self._registration.publish(status)
        self._published, self._published_at = status, monotonic()
