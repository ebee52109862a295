"""What the routes share: the opened model, and how its answers are made."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from api.journal import Journal
from api.memory import give_back
from api.metrics import Metrics
from api.problems import BUSY, NOT_READY, RequestError
from api.settings import Settings
from batchyield.artifact import FILES, REFERENCE, Artifact, open_artifact, read_pins
from batchyield.batch import Batch, CellWarning
from batchyield.explain import Explainer
from batchyield.journal.entry import Pin
from batchyield.replies import Model, ModelPin, Prediction, Predictions

BULK_THREADS = 2

GIVE_BACK_SECONDS = 0.5
"""After the work on a large body: its batches are freed only once its answer is journalled and sent."""


def open_pinned(settings: Settings) -> Artifact:
    """The artifact that the settings name, checked against its pins.

    Raises:
        ArtifactError: it is not the pinned one, or does not answer as it did.
    """
    directory = settings.model_directory
    return open_artifact(directory, read_pins(settings.lock_path, directory))


@dataclass(frozen=True)
class Serving:
    """A model in service. One reference to it is taken for a request, so that no answer mixes two models.

    Attributes:
        artifact: the opened model.
        pin: sent with every answer.
        explainer: tells why the model answers as it does.
    """

    artifact: Artifact
    pin: ModelPin
    explainer: Explainer

    @cached_property
    def journal_pin(self) -> Pin:
        """The pin as the journal keeps it."""
        return Pin(self.pin.version, self.pin.revision, self.pin.md5)

    def pin_headers(self) -> list[tuple[bytes, bytes]]:
        """The pin for answers whose body has no room for it."""
        pin = self.pin
        return [
            (b"x-model-version", pin.version.encode()),
            (b"x-model-revision", pin.revision.encode()),
            (b"x-model-md5", pin.md5.encode()),
        ]


class Answered(NamedTuple):
    """Batches, what was said of each, by which model, and whether they came as `json` or as `csv`."""

    serving: Serving
    batches: Sequence[Batch]
    predictions: list[Prediction]
    form: str

    def reply(self) -> Predictions:
        """As the caller gets them."""
        return Predictions(self.serving.pin, self.predictions)


class Service:
    """The model behind the routes.

    Attributes:
        journal: holds each answer before it leaves.
        bulk: threads for large bodies; few, so that many such bodies queue instead of slowing each other.
    """

    def __init__(self, settings: Settings, artifact: Artifact | None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.journal = Journal(settings, self.metrics)
        self.bulk = ThreadPoolExecutor(BULK_THREADS, thread_name_prefix="bulk")
        self._bulk_free = settings.bulk_slots
        self._serving: Serving | None = None
        if artifact is not None:
            self.serve(artifact)

    def serve(self, artifact: Artifact) -> None:
        """Answers with `artifact` from now on.

        Raises:
            ArtifactError: its reference profile cannot be used.
        """
        explainer = Explainer(artifact.predictor, artifact.reference, REFERENCE)
        pin = ModelPin(self.settings.model_version, self.settings.revision, artifact.md5)
        self._serving = Serving(artifact, pin, explainer)
        give_back()  # what parsing the model took
        self.metrics.serves(artifact.card.name, pin.version, pin.revision, pin.md5)

    @property
    def ready(self) -> bool:
        return self._serving is not None

    @property
    def serving(self) -> Serving:
        """The model in service.

        Raises:
            RequestError: it is not opened yet.
        """
        if self._serving is None:
            raise RequestError(NOT_READY, "the model is not loaded yet", headers={"retry-after": "1"})
        return self._serving

    @contextmanager
    def bulk_slot(self) -> Iterator[None]:
        """A place for one large body, from its first byte to its answer.

        Raises:
            RequestError: all places are taken.
        """
        if self._bulk_free == 0:
            raise RequestError(BUSY, "as many large bodies are here as the service takes", headers={"retry-after": "2"})
        self._bulk_free -= 1
        try:
            yield
        finally:
            self._bulk_free += 1
            if self._bulk_free == self.settings.bulk_slots:
                asyncio.get_running_loop().call_later(GIVE_BACK_SECONDS, self._give_back)

    def _give_back(self) -> None:
        if self._bulk_free == self.settings.bulk_slots:
            with suppress(RuntimeError):  # the threads are gone: the service ends, and all its memory with it
                self.bulk.submit(give_back)

    def predict(
        self, batches: Sequence[Batch], form: str, sheet_warnings: Sequence[tuple[CellWarning, ...]] | None = None
    ) -> Answered:
        """Predicts and counts; `form` is what the answer's caller sent, `json` or `csv`."""
        serving = self.serving
        predictions = serving.artifact.predictor.predict(batches, sheet_warnings)
        self.metrics.predicted(predictions, form)
        return Answered(serving, batches, predictions, form)

    def model(self) -> Model:
        """What is known of the model."""
        artifact, pin = self.serving.artifact, self.serving.pin
        pins = {name: artifact.pins[name] for name in FILES}
        return Model(artifact.card.name, pin.version, pin.revision, pin.md5, pins, artifact.card)
