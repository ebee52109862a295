"""What the service answers, as types: the service encodes them, the client decodes them, OpenAPI is made of them.

Nothing here needs NumPy or the model, so that whoever only asks need not install what answers.
"""

import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from batchyield.errors import Violation
from batchyield.plant.batch import CellWarning

PREDICTION_DECIMALS = 7
"""To which yields, interval ends and effects are rounded: what float32 readings can carry."""


class Prediction(msgspec.Struct, frozen=True, gc=False, rename={"yield_": "yield"}):
    """What the model says of one batch."""

    id: Annotated[str | None, Meta(description="name of the batch as it was sent")]
    yield_: Annotated[float, Meta(description="predicted yield, as a fraction")]
    lower: Annotated[float, Meta(description="lower end of the prediction interval")]
    upper: Annotated[float, Meta(description="upper end of the prediction interval")]
    warnings: Annotated[tuple[CellWarning, ...], Meta(description="cells that were repaired or taken as missing")] = ()


class Contribution(msgspec.Struct, frozen=True):
    """What one feature contributes to one prediction."""

    feature: Annotated[str, Meta(description="name of the feature, as in the model's card")]
    value: Annotated[float | None, Meta(description="of this batch; null where it is missing")]
    typical: Annotated[float | None, Meta(description="of the typical batch; null where most batches have none")]
    effect: Annotated[float, Meta(description="by how much it raises the yield, as a fraction; negative: lowers")]


class Explanation(msgspec.Struct, frozen=True):
    """Why a prediction is not that of the typical batch.

    `baseline`, the effects and `rest` sum to the predicted yield.
    """

    baseline: Annotated[float, Meta(description="what the model predicts for the typical batch")]
    contributions: Annotated[tuple[Contribution, ...], Meta(description="the largest, by the size of their effect")]
    rest: Annotated[float, Meta(description="sum of the effects of all other features")]


class ExplainedPrediction(Prediction, frozen=True, gc=False, kw_only=True):
    """What the model says of one batch, and why it is not what it says of the typical one."""

    explanation: Annotated[Explanation, Meta(description="what made the yield differ from the typical batch's")]


class ModelPin(msgspec.Struct, frozen=True):
    """Which model answered."""

    version: Annotated[str, Meta(description="released version of the model")]
    revision: Annotated[str, Meta(description="commit of the code and the lock")]
    md5: Annotated[str, Meta(description="hash of the model's bytes, as dvc.lock pins it")]


class Predictions(msgspec.Struct, frozen=True):
    """One prediction for each input, in order."""

    model: ModelPin
    predictions: list[Prediction]


class ExplainedPredictions(msgspec.Struct, frozen=True):
    """One explained prediction for each input, in order; the answer with `explain=true`."""

    model: ModelPin
    predictions: list[ExplainedPrediction]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model is and what it was made of."""

    name: Annotated[str, Meta(description="name of the model")]
    features: Annotated[tuple[str, ...], Meta(description="names of the feature matrix's columns, in order")]
    params: Annotated[dict[str, Any], Meta(description="parameters of the training")]
    data_md5: Annotated[str, Meta(description="md5 of the raw data that it was trained on")]
    versions: Annotated[dict[str, str], Meta(description="libraries that trained it")]
    metrics: Annotated[dict[str, float], Meta(description="measured on held-out batches")]
    rows: Annotated[int, Meta(description="batches it was trained on")]
    level: Annotated[float, Meta(description="share of yields that the interval is to hold", gt=0, lt=1)]


class Refusal(msgspec.Struct, frozen=True):
    """A wanted model that is not used."""

    role: Annotated[str, Meta(description="what it was wanted for: `serving` or `shadow`")]
    md5: Annotated[str, Meta(description="hash of the refused model; empty where that is not known")]
    revision: Annotated[str, Meta(description="commit of the refused model; empty where that is not known")]
    reason: Annotated[str, Meta(description="what is wrong with it, and what to do")]


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


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem details."""

    type: Annotated[str, Meta(description="the kind of problem, stable", examples=["urn:batchyield:invalid-input"])]
    title: Annotated[str, Meta(description="the kind in words")]
    status: Annotated[int, Meta(description="the HTTP status", ge=400, le=599)]
    detail: Annotated[str, Meta(description="what was wrong, and what to do")]
    instance: Annotated[str | None, Meta(description="the path that was asked")] = None
    violations: Annotated[
        tuple[Violation, ...], Meta(description="what is wrong with the input, the first twenty in its order")
    ] = ()


CSV_HEADER = b"id,yield,lower,upper\n"


def encode_predictions_csv(predictions: Sequence[Prediction]) -> bytes:
    """`id,yield,lower,upper`, a line for each prediction, in order."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([(p.id, p.yield_, p.lower, p.upper) for p in predictions])
    return CSV_HEADER + text.getvalue().encode()
