"""The opened model, its pin, and the answers it gave."""

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
from batchyield.serving.reference_profile import Reference, read_reference
from batchyield.serving.responses import ModelPin, Prediction, Predictions
from batchyield.serving.shapley import Explainer


def pin_of(deployment: Deployment) -> ModelPin:
    """Return the pin of a deployed model, as callers get it."""
    return ModelPin(deployment.version, deployment.revision, deployment.md5)


@dataclass(frozen=True)
class ServedModel:
    """A model in service. A request takes one reference to it, so that no answer mixes two models.

    Attributes:
        deployment: its version, revision and hashes.
        artifact: the opened model.
        pin: sent with every answer.
        reference: profile of what it was trained on.
        explainer: computes Shapley contributions.
    """

    deployment: Deployment
    artifact: Artifact
    pin: ModelPin
    reference: Reference
    explainer: Explainer

    @cached_property
    def journal_pin(self) -> AnsweringModel:
        """Return the pin as the journal keeps it."""
        return AnsweringModel(self.pin.version, self.pin.revision, self.pin.md5)

    @cached_property
    def head(self) -> bytes:
        """Return the first bytes of an answer in JSON."""
        return msgspec.json.encode(Predictions(self.pin, [])).removesuffix(b"]}")

    def pin_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the pin as response headers, for answers in CSV."""
        pin = self.pin
        return [
            (b"x-model-version", pin.version.encode()),
            (b"x-model-revision", pin.revision.encode()),
            (b"x-model-md5", pin.md5.encode()),
        ]


def open_deployment(deployment: Deployment, directory: Path) -> ServedModel:
    """Open a model: compare its files with their hashes and replay its golden rows.

    Args:
        deployment: which model, with the expected hashes.
        directory: holds the model's files.

    Raises:
        ArtifactError: a file differs from its hash, a golden row is answered otherwise, or the reference is unusable.
    """
    artifact = open_artifact(directory, deployment.pins)
    reference = read_reference(artifact.reference, REFERENCE)
    explainer = Explainer(artifact.predictor, reference, REFERENCE)
    return ServedModel(deployment, artifact, pin_of(deployment), reference, explainer)


class PredictionResult(NamedTuple):
    """Batches with their predictions.

    Attributes:
        serving: the model that predicted.
        batches: as the caller sent them.
        predictions: one for each batch.
        form: `json` or `csv`, as the caller sent the batches.
        parts: what the journal stores.
    """

    serving: ServedModel
    batches: Sequence[Batch]
    predictions: Sequence[Prediction]
    form: str
    parts: Sequence[RequestPart]

    def reply(self) -> bytes:
        """Return the response body, `Predictions` as JSON, from the bytes that were encoded for the journal."""
        return b"%s%s]}" % (self.serving.head, b",".join(part.predictions[1:-1] for part in self.parts))
