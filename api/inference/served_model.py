"""The model in service with its pin, and the predictions it makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchyield.journal.records import AnsweringModel, RequestPart
from batchyield.plant.batch import Batch
from batchyield.serving.artifact import REFERENCE, Artifact, open_artifact
from batchyield.serving.deployment.model_store import Deployment
from batchyield.serving.prediction import Prediction
from batchyield.serving.reference_profile import Reference, read_reference
from batchyield.serving.responses import ModelPin, Predictions
from batchyield.serving.shapley import Explainer


def pin_of(deployment: Deployment) -> ModelPin:
    """Return the pin of a deployed model as responses have it."""
    return ModelPin(deployment.version, deployment.revision, deployment.md5)


@dataclass(frozen=True)
class ServedModel:
    """A model in service. A request takes one reference to it, so that no response mixes two models."""

    deployment: Deployment
    artifact: Artifact
    pin: ModelPin
    reference: Reference
    explainer: Explainer

    @cached_property
    def journal_pin(self) -> AnsweringModel:
        """The pin as the journal stores it."""
        return AnsweringModel(self.pin.version, self.pin.revision, self.pin.md5)

    @cached_property
    def json_head(self) -> bytes:
        """The first bytes of a response in JSON, up to its first prediction."""
        return msgspec.json.encode(Predictions(self.pin, [])).removesuffix(b"]}")

    def pin_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the pin as response headers, for responses in CSV."""
        pin = msgspec.structs.asdict(self.pin)
        return [(f"x-model-{name}".encode(), value.encode()) for name, value in pin.items()]


def open_deployment(deployment: Deployment, directory: Path) -> ServedModel:
    """Open a model in `directory`: compare its files with their hashes and predict its golden rows.

    Raises:
        ArtifactError: a file differs from its hash, a golden row's prediction differs, or the reference is unusable.
    """
    artifact = open_artifact(directory, deployment.pins)
    reference = read_reference(artifact.reference, REFERENCE)
    explainer = Explainer(artifact.predictor, reference, REFERENCE)
    return ServedModel(deployment, artifact, pin_of(deployment), reference, explainer)


class PredictionResult(NamedTuple):
    """The batches [n] of a request in `json` or `csv`, with their predictions [n]; `parts` is for the journal."""

    model: ServedModel
    batches: Sequence[Batch]
    predictions: Sequence[Prediction]
    form: str
    parts: Sequence[RequestPart]

    @property
    def rows(self) -> int:
        """Batches of the request, n."""
        return sum(len(part.ids) for part in self.parts)

    def only_encoded(self) -> "PredictionResult":
        """Return the result without batches and predictions: what is in `parts` suffices to journal and to respond.

        Freed at once, their memory is still in the processor's cache when the next request takes it.
        """
        return self._replace(batches=(), predictions=())

    def to_json(self) -> bytes:
        """Return the response body, `Predictions` as JSON, from the bytes that were encoded for the journal."""
        return b"%s%s]}" % (self.model.json_head, b",".join(part.predictions[1:-1] for part in self.parts))
