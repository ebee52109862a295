"""What the routes share: the opened model, and how its answers are made."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from api.metrics import Metrics
from api.problems import BUSY, NOT_READY, RequestError
from api.settings import Settings
from api.shadow import Shadow
from batchyield.artifact import FILES, REFERENCE, Artifact, Card, open_artifact
from batchyield.batch import Batch, CellWarning
from batchyield.deployment import Deployment
from batchyield.explain import Explainer
from batchyield.predictor import Prediction
from batchyield.workers import Refusal, Status

BULK_THREADS = 2


class ModelPin(msgspec.Struct, frozen=True):
    """Which model answered."""

    version: Annotated[str, Meta(description="released version of the model")]
    revision: Annotated[str, Meta(description="commit of the code and the lock")]
    md5: Annotated[str, Meta(description="hash of the model's bytes, as dvc.lock pins it")]


def pin_of(deployment: Deployment) -> ModelPin:
    """The pin of a deployed model, as callers get it."""
    return ModelPin(deployment.version, deployment.revision, deployment.md5)


class Predictions(msgspec.Struct, frozen=True):
    """One prediction for each input, in order."""

    model: ModelPin
    predictions: list[Prediction]

    @staticmethod
    def of(answered: "Answered") -> "Predictions":
        """As the caller gets them."""
        return Predictions(answered.serving.pin, answered.predictions)


class Model(msgspec.Struct, frozen=True):
    """The model that answers, and the pin of each of its files."""

    name: Annotated[str, Meta(description="name of the model")]
    version: Annotated[str, Meta(description="released version of the model")]
    revision: Annotated[str, Meta(description="commit of the code and the lock")]
    md5: Annotated[str, Meta(description="hash of the model's bytes, as dvc.lock pins it")]
    artifacts: Annotated[dict[str, str], Meta(description="md5 of each file of the artifact, by its name")]
    card: Card
    shadow: Annotated[ModelPin | None, Meta(description="model that sees the same rows off the request path")] = None
    refused: Annotated[
        tuple[Refusal, ...], Meta(description="models that were to serve or to shadow and do not, and why")
    ] = ()


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """That all is well."""

    status: Annotated[str, Meta(description="`alive` or `ready`")]
    md5: Annotated[str | None, Meta(description="hash of the model that is ready")] = None


@dataclass(frozen=True)
class Serving:
    """A model in service. One reference to it is taken for a request, so that no answer mixes two models.

    Attributes:
        deployment: where it came from.
        artifact: the opened model.
        pin: sent with every answer.
        explainer: tells why the model answers as it does.
    """

    deployment: Deployment
    artifact: Artifact
    pin: ModelPin
    explainer: Explainer

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
    return Serving(
        deployment, artifact, pin_of(deployment), Explainer(artifact.predictor, artifact.reference, REFERENCE)
    )


class Answered(NamedTuple):
    """Batches, what was said of each, and by which model."""

    serving: Serving
    batches: Sequence[Batch]
    predictions: list[Prediction]


class Service:
    """The model behind the routes.

    Attributes:
        refused: wanted models that are not used.
        others: the other workers, as they said last.
        shadow: a model that sees the same rows.
        bulk: threads for large bodies; few, so that many such bodies queue instead of slowing each other.
    """

    def __init__(self, settings: Settings, serving: Serving | None) -> None:
        self.settings = settings
        self.metrics = Metrics()
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
                self.metrics.serves(one.artifact.card.name, one.pin.version, one.pin.revision, one.pin.md5, value)

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

    def predict(
        self, batches: Sequence[Batch], form: str, sheet_warnings: Sequence[tuple[CellWarning, ...]] | None = None
    ) -> Answered:
        """Predicts and counts; `form` is what the answer's caller sent, `json` or `csv`."""
        serving = self.serving
        predictions = serving.artifact.predictor.predict(batches, sheet_warnings)
        self.metrics.predicted(predictions, form)
        return Answered(serving, batches, predictions)

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
