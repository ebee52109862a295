"""Response schemas: the service encodes them, the client decodes them, and OpenAPI is generated from them.

Depends only on msgspec, so that clients need not install NumPy or onnxruntime.
"""

import csv
import io
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from batchyield.errors import Violation
from batchyield.plant.table import TARGET
from batchyield.serving.prediction import Card, Prediction


class Contribution(msgspec.Struct, frozen=True):
    """The contribution (Shapley value) of one feature to one prediction."""

    feature: Annotated[str, Meta(description="name of the feature, as in the model's card")]
    value: Annotated[float | None, Meta(description="value in this batch; null if missing")]
    typical: Annotated[float | None, Meta(description="value in the typical batch; null if missing in most batches")]
    effect: Annotated[float, Meta(description=f"change of the {TARGET.stored}")]


class Explanation(msgspec.Struct, frozen=True):
    """Why a prediction differs from that of the typical batch.

    `baseline`, the effects and `rest` sum to the prediction.
    """

    baseline: Annotated[float, Meta(description="prediction for the typical batch")]
    contributions: Annotated[tuple[Contribution, ...], Meta(description="the largest by absolute effect")]
    rest: Annotated[float, Meta(description="sum of the effects of all other features")]


class ExplainedPrediction(Prediction, frozen=True, gc=False, kw_only=True):
    """The prediction for one batch, with its explanation."""

    explanation: Annotated[Explanation, Meta(description="why the prediction differs from the typical batch's")]


class ModelPin(msgspec.Struct, frozen=True):
    """The model that made the predictions."""

    version: Annotated[str, Meta(description="released version of the model")]
    revision: Annotated[str, Meta(description="commit of the code and of dvc.lock")]
    md5: Annotated[str, Meta(description="md5 of the model, as pinned by dvc.lock")]


class Predictions(msgspec.Struct, frozen=True):
    """One prediction for each input, in order."""

    model: ModelPin
    predictions: list[Prediction]


class ExplainedPredictions(msgspec.Struct, frozen=True):
    """One explained prediction for each input, in order; the response with `explain=true`."""

    model: ModelPin
    predictions: list[ExplainedPrediction]


class Refusal(msgspec.Struct, frozen=True):
    """A desired model that was rejected."""

    role: Annotated[str, Meta(description="intended role: `serving` or `shadow`")]
    md5: Annotated[str, Meta(description="md5 of the rejected model; empty if unknown")]
    revision: Annotated[str, Meta(description="commit of the rejected model; empty if unknown")]
    reason: Annotated[str, Meta(description="what is wrong, and what to do")]


class Model(msgspec.Struct, frozen=True):
    """The serving model, and the md5 of each of its files."""

    name: Annotated[str, Meta(description="name of the model")]
    version: Annotated[str, Meta(description="released version of the model")]
    revision: Annotated[str, Meta(description="commit of the code and of dvc.lock")]
    md5: Annotated[str, Meta(description="md5 of the model, as pinned by dvc.lock")]
    artifacts: Annotated[dict[str, str], Meta(description="file name of the artifact -> md5")]
    card: Card
    shadow: Annotated[ModelPin | None, Meta(description="model that predicts the same rows without answering")] = None
    refused: Annotated[tuple[Refusal, ...], Meta(description="desired models that were rejected")] = ()


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """Liveness or readiness."""

    status: Annotated[str, Meta(description="`alive` or `ready`")]
    md5: Annotated[str | None, Meta(description="md5 of the model that is ready")] = None


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem details."""

    type: Annotated[
        str, Meta(description="kind of problem; stable within v1", examples=["urn:batchyield:invalid-input"])
    ]
    title: Annotated[str, Meta(description="short text for the kind of problem")]
    status: Annotated[int, Meta(description="the HTTP status", ge=400, le=599)]
    detail: Annotated[str, Meta(description="what was wrong, and what to do")]
    instance: Annotated[str | None, Meta(description="path of the request")] = None
    violations: Annotated[tuple[Violation, ...], Meta(description="errors in the input, at most the first twenty")] = ()


CSV_HEADER = b"id,yield,lower,upper\n"


def encode_predictions_csv(predictions: Sequence[Prediction]) -> bytes:
    """Return the CSV `id,yield,lower,upper` with its header, one line for each prediction."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([(p.id, p.yield_, p.lower, p.upper) for p in predictions])
    return CSV_HEADER + text.getvalue().encode()
