"""What the routes share: the opened model, and how its answers are made."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from api.journal import Journal
from api.memory import give_back
from api.metrics import Metrics
from api.problems import BUSY, NOT_READY, RequestError
from api.settings import Settings
from api.shadow import Shadow
from batchyield.artifact import FILES, REFERENCE, Artifact, open_artifact
from batchyield.batch import Batch, CellWarning
from batchyield.deployment import Deployment
from batchyield.drift import Reference, read_reference
from batchyield.explain import Explainer
from batchyield.features import featurize
from batchyield.journal.entry import Part, Pin, parts
from batchyield.replies import Model, ModelPin, Prediction, Predictions, Refusal
from batchyield.sheet import Sheet
from batchyield.workers import Status

BULK_THREADS = 2

GIVE_BACK_SECONDS = 0.5
"""After the work on a large body: its batches are freed only once its answer is journalled and sent."""


def pin_of(deployment: Deployment) -> ModelPin:
    """The pin of a deployed model, as callers get it."""
    return ModelPin(deployment.version, deployment.revision, deployment.md5)


@dataclass(frozen=True)
class Serving:
    """A model in service. One reference to it is taken for a request, so that no answer mixes two models.

    Attributes:
        deployment: where it came from.
        artifact: the opened model.
        pin: sent with every answer.
        reference: profile of what it was trained on.
        explainer: tells why the model answers as it does.
    """

    deployment: Deployment
    artifact: Artifact
    pin: ModelPin
    reference: Reference
    explainer: Explainer

    @cached_property
    def journal_pin(self) -> Pin:
        """The pin as the journal keeps it."""
        return Pin(self.pin.version, self.pin.revision, self.pin.md5)

    @cached_property
    def head(self) -> bytes:
        """How an answer in JSON begins."""
        return msgspec.json.encode(Predictions(self.pin, [])).removesuffix(b"]}")

    def pin_headers(self) -> list[tuple[bytes, bytes]]:
        """The pin for answers whose body has no room for it."""
        pin = self.pin
        return [
            (b"x-model-version", pin.version.encode()),
            (b"x-model-revision", pin.revision.encode()),
            (b"x-model-md5", pin.md5.encode()),
        ]


def open_deployment(deployment: Deployment, directory: Path) -> Serving:
    """A model ready to serve: its bytes compared with its pins, its golden rows answered.

    Raises:
        ArtifactError: it is not the pinned one, does not answer as it did, or its reference profile cannot be used.
    """
    artifact = open_artifact(directory, deployment.pins)
    reference = read_reference(artifact.reference, REFERENCE)
    explainer = Explainer(artifact.predictor, reference, REFERENCE)
    return Serving(deployment, artifact, pin_of(deployment), reference, explainer)


class Answered(NamedTuple):
    """Batches, what was said of each, by which model, and whether they came as `json` or as `csv`.

    `parts` is what the journal keeps of them.
    """

    serving: Serving
    batches: Sequence[Batch]
    predictions: Sequence[Prediction]
    form: str
    parts: Sequence[Part]

    def reply(self) -> bytes:
        """`Predictions` as JSON, as the caller gets it; what the journal keeps is not encoded again."""
        return b"%s%s]}" % (self.serving.head, b",".join(part.predictions[1:-1] for part in self.parts))


class Service:
    """The model behind the routes.

    Attributes:
        journal: holds each answer before it leaves.
        refused: wanted models that are not used.
        others: the other workers, as they said last.
        shadow: a model that sees the same rows.
        bulk: threads for large bodies; few, so that many such bodies queue instead of slowing each other.
    """

    def __init__(self, settings: Settings, serving: Serving | None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.journal = Journal(settings, self.metrics)
        self.refused: tuple[Refusal, ...] = ()
        self.others: Callable[[], list[Status]] = list
        self.shadow = Shadow(self.metrics)
        self.bulk = ThreadPoolExecutor(BULK_THREADS, thread_name_prefix="bulk")
        self._bulk_free = settings.bulk_slots
        self._serving: Serving | None = None
        if serving is not None:
            self.serve(serving)

    def serve(self, serving: Serving) -> None:
        """Answers with `serving` from now on; requests under way end with the model that they began with."""
        before, self._serving = self._serving, serving
        for one, value in ((before, 0), (serving, 1)):
            if one is not None:
                self.metrics.models.serves(
                    one.artifact.card.name, one.pin.version, one.pin.revision, one.pin.md5, value
                )
        give_back()  # what parsing the model took

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

    def answer(self, batches: Sequence[Batch], body: bytes) -> Answered:
        """Predicts what was decoded from a body of JSON."""
        serving, predictions = self.predict(batches, "json")
        return Answered(serving, batches, predictions, "json", parts(batches, predictions, body))

    def answer_sheet(self, sheet: Sheet) -> Answered:
        """Predicts the batches of a sheet."""
        serving, predictions = self.predict(sheet.batches, "csv", sheet.warnings)
        return Answered(serving, sheet.batches, predictions, "csv", parts(sheet.batches, predictions))

    def predict(
        self, batches: Sequence[Batch], form: str, sheet_warnings: Sequence[tuple[CellWarning, ...]] | None = None
    ) -> tuple[Serving, list[Prediction]]:
        """Predicts and counts; `form` is what the answer's caller sent, `json` or `csv`."""
        serving = self.serving
        features = featurize(batches)
        predictions = serving.artifact.predictor.predict(batches, sheet_warnings, features)
        self.metrics.predicted(predictions, features.blanks, form)
        return serving, predictions

    def model(self) -> Model:
        """What is known of the model."""
        artifact, pin = self.serving.artifact, self.serving.pin
        pins = {name: artifact.pins[name] for name in FILES}
        shadow = self.shadow.candidate
        return Model(
            *(artifact.card.name, pin.version, pin.revision, pin.md5, pins, artifact.card),
            shadow=None if shadow is None else pin_of(shadow.deployment),
            refused=self.refused,
        )
