"""Which model answers while the service runs: each worker watches what is wanted, and takes what it finds good."""

import logging
import os
import threading
from collections.abc import Iterator
from time import monotonic

import msgspec

from api.inference.served_model import ServedModel, open_deployment
from api.inference.service import Service
from api.inference.shadow import ShadowCandidate
from api.settings import Settings
from batchyield.errors import ArtifactError, BatchyieldError
from batchyield.serving.artifact import read_pins
from batchyield.serving.deployment.model_store import Deployment, DesiredState, ModelStore
from batchyield.serving.deployment.worker_registry import WorkerRegistration, WorkerStatus
from batchyield.serving.responses import Refusal

logger = logging.getLogger("batchyield.models")

POLL_SECONDS = 0.25
REPORT_SECONDS = 1.0
"""How often what a shadow has seen is told to the other workers."""

SERVING, SHADOW = "serving", "shadow"


def open_pinned(settings: Settings) -> ServedModel:
    """The model that the lock pins, checked against its pins.

    Raises:
        ArtifactError: it is not the pinned one, or does not answer as it did.
    """
    directory = settings.model_directory
    pins = read_pins(settings.lock_path, directory)
    deployment = Deployment(str(directory.absolute()), pins, settings.revision, settings.model_version)
    return open_deployment(deployment, directory)


def open_desired(settings: Settings) -> ServedModel:
    """The model to start with: the wanted one; else the last that was good; else the one that the lock pins.

    Raises:
        ArtifactError: none of them can be served.
    """
    models = ModelStore(settings.models_directory)
    for deployment in _candidates(models):
        try:
            return open_deployment(deployment, models.path(deployment))
        except ArtifactError as error:
            logger.warning("%s is refused at the start: %s", deployment, error)
    return open_pinned(settings)


def _candidates(models: ModelStore) -> Iterator[Deployment]:
    try:
        wanted = models.desired().serving
        if wanted is None:  # the lock's, whatever served before
            return
        yield wanted
    except ArtifactError as error:
        logger.warning("%s", error)
    try:
        if (good := models.last_known_good()) is not None:
            yield good
    except ArtifactError as error:
        logger.warning("%s", error)


class ModelHotSwapper:
    """Watches what is wanted, in a thread of its own, off the path of requests.

    A model that is wanted is opened, compared with its pins and tried on its golden rows; only then one assignment
    makes it answer. Requests under way keep the model that they began with, which goes when the last of them is done.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._settings = service.settings
        self._models = ModelStore(service.settings.models_directory)
        self._desired_revision = 0
        self._refused: dict[str, Refusal] = {}
        self._told: WorkerStatus | None = None
        self._told_at = 0.0
        self._seat = self._sit()
        service.others = self._seat.other_workers if self._seat else list
        self._seen = self._models.desired_version()
        self._heed()
        self._inherit()
        self._say()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="swap", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops watching; the model goes on answering."""
        self._stop.set()
        self._thread.join()
        candidate = self._service.shadow.candidate
        self._service.shadow.close()
        self._say(candidate)
        if self._seat:
            self._seat.release()

    def _sit(self) -> WorkerRegistration | None:
        try:
            return WorkerRegistration(self._models.workers)
        except OSError as error:
            if self._settings.models:
                logger.warning("%s: cannot be written to, so deployments are not seen: %s", self._models.root, error)
            return None

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                signature = self._models.desired_version()
                if signature != self._seen:
                    self._seen = signature
                    self._heed()
                self._say()
            except Exception:
                logger.exception("watching %s failed; the model that answers goes on", self._models.root)

    def _heed(self) -> None:
        """Does what is wanted now, or says why not."""
        try:
            desired = self._models.desired()
        except ArtifactError as error:
            self._refuse(SERVING, None, error)
        else:
            self._take_over(desired)
            self._take_shadow(desired)
            self._desired_revision = desired.revision
        self._service.refused = tuple(self._refused.values())

    def _take_over(self, desired: DesiredState) -> None:
        wanted, now = desired.serving, self._service.serving.deployment
        try:
            if wanted != now and not (wanted is None and now.of_lock):
                if wanted is None:
                    serving = open_pinned(self._settings)
                else:
                    serving = open_deployment(wanted, self._models.path(wanted))
                self._service.serve(serving)
                self._service.metrics.models.changed_model(SERVING, "taken")
                logger.warning("model %s serves in place of %s", serving.deployment, now)
        except Exception as error:
            self._refuse(SERVING, wanted, error)
        else:
            self._accept(SERVING)
            self._remember()

    def _take_shadow(self, desired: DesiredState) -> None:
        wanted, shadow = desired.shadow, self._service.shadow
        now = None if shadow.candidate is None else shadow.candidate.deployment
        try:
            if wanted is None:
                shadow.take(None)
            elif wanted != now:
                opened = open_deployment(wanted, self._models.path(wanted))
                shadow.take(ShadowCandidate(wanted, opened.artifact.predictor))
                self._service.metrics.models.changed_model(SHADOW, "taken")
                logger.warning("model %s runs in the shadow", wanted)
        except Exception as error:
            shadow.take(None)
            self._refuse(SHADOW, wanted, error)
        else:
            self._accept(SHADOW)

    def _remember(self) -> None:
        if self._seat:
            try:
                self._models.mark_good(self._service.serving.deployment)
            except OSError as error:
                logger.warning("%s: a worker that starts anew may not find it: %s", self._models.root, error)

    def _refuse(self, role: str, wanted: Deployment | None, error: Exception) -> None:
        reason = str(error) if isinstance(error, BatchyieldError) else f"{type(error).__name__}: {error}"
        md5, revision = (wanted.md5, wanted.revision) if wanted else ("", "")
        self._refused[role] = Refusal(role, md5, revision, reason)
        self._service.metrics.models.changed_model(role, "refused")
        self._service.metrics.models.refused_model(role, True)
        kept = self._service.serving.deployment if role == SERVING else "no model"
        logger.warning("%s goes on as %s; what was wanted is refused: %s", kept, role, reason)

    def _accept(self, role: str) -> None:
        self._refused.pop(role, None)
        self._service.metrics.models.refused_model(role, False)

    def _inherit(self) -> None:
        candidate = self._service.shadow.candidate
        for status in self._seat.adopt_dead() if self._seat else ():
            if candidate and status.shadowed and status.shadowed.candidate == candidate.deployment.md5:
                candidate.inherit(status.shadowed)

    def _say(self, candidate: ShadowCandidate | None = None) -> None:
        """Tells the others, at once where a model changed, else once in a while."""
        if not self._seat:
            return
        last = candidate is not None
        candidate = candidate or self._service.shadow.candidate
        status = WorkerStatus(
            os.getpid(),
            self._desired_revision,
            self._service.serving.deployment,
            candidate.deployment if candidate else None,
            self._service.refused,
            candidate.seen() if candidate else None,
        )
        told = self._told
        same = told is not None and msgspec.structs.replace(status, shadowed=told.shadowed) == told
        if status == told or (same and not last and monotonic() - self._told_at < REPORT_SECONDS):
            return
        try:
            self._seat.publish(status)
        except OSError as error:
            logger.warning("%s: %s", self._models.workers, error)
        self._told, self._told_at = status, monotonic()
