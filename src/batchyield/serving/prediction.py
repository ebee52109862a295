"""A prediction and the card of a model: the types that an artifact holds.

Apart from the API's other types, so that a change of the API leaves the `train` stage and the model as they are.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from batchyield.plant.rows import CellWarning
from batchyield.plant.table import TARGET

PREDICTION_DECIMALS = 7 - TARGET.order
"""Decimals of predictions, interval ends and effects: float32 readings hold about seven digits."""

PREDICTION_SCALE = 10.0**PREDICTION_DECIMALS
MAX_FAST_ROUNDED = 1e9 / PREDICTION_SCALE
MAX_ROUNDING_DISTANCE = 0.4999
"""A number up to `MAX_FAST_ROUNDED`, scaled, has an error below 1e-6. Below this distance the nearest integer is
therefore certain, and its quotient by the scale is the float nearest the decimal, as from `round`."""

_INTEGERS_ONLY = 1.5 * 2**52
"""Floats of this size are integers: a small one, added and subtracted again, is rounded to the nearest integer."""


def round_prediction(number: float) -> float:
    """Return `round(number, PREDICTION_DECIMALS)`, bit for bit, in less than half of its time."""
    scaled = number * PREDICTION_SCALE
    nearest = scaled + _INTEGERS_ONLY - _INTEGERS_ONLY
    certain = -MAX_ROUNDING_DISTANCE < scaled - nearest < MAX_ROUNDING_DISTANCE
    # A result of 0 is left to `round`, which keeps its sign.
    if certain and nearest and -MAX_FAST_ROUNDED <= number <= MAX_FAST_ROUNDED:
        return nearest / PREDICTION_SCALE
    return round(number, PREDICTION_DECIMALS)


class Bias(msgspec.Struct, frozen=True, gc=False):
    """What outcomes of earlier batches change in a prediction."""

    value: Annotated[float, Meta(description="prediction minus `unbiased`")]
    batches: Annotated[int, Meta(description="number of measured batches in it")]
    latest: Annotated[str, Meta(description="name of the last of them")]
    digest: Annotated[str, Meta(description="names the outcomes that were used; `batchyield pin trace` lists them")]


class Prediction(msgspec.Struct, frozen=True, gc=False, rename={"yield_": "yield"}):
    """The prediction for one batch."""

    id: Annotated[str | None, Meta(description="name of the batch as it was sent")]
    yield_: Annotated[float, Meta(description=f"predicted {TARGET.stored}")]
    lower: Annotated[float, Meta(description="lower end of the prediction interval")]
    upper: Annotated[float, Meta(description="upper end of the prediction interval")]
    warnings: Annotated[
        tuple[CellWarning, ...], Meta(description="cells that were repaired or treated as missing")
    ] = ()
    bias: Annotated[Bias | UnsetType, Meta(description="correction from outcomes; absent if there is none")] = UNSET
    unbiased: Annotated[float | UnsetType, Meta(description="prediction of the model alone; absent without `bias`")] = (
        UNSET
    )

    def alone(self) -> "Prediction":
        """Return the prediction of the model alone; its interval has the corrected width."""
        if isinstance(self.unbiased, UnsetType) or isinstance(self.bias, UnsetType):
            return self
        lower, upper = self.lower - self.bias.value, self.upper - self.bias.value
        return Prediction(self.id, self.unbiased, lower, upper, self.warnings)


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Description of a model and of what it was trained on."""

    name: Annotated[str, Meta(description="name of the model")]
    features: Annotated[tuple[str, ...], Meta(description="names of the feature matrix's columns, in order")]
    params: Annotated[dict[str, Any], Meta(description="parameters of the training")]
    data_md5: Annotated[str, Meta(description="md5 of the raw data")]
    versions: Annotated[dict[str, str], Meta(description="versions of the libraries that trained it")]
    metrics: Annotated[dict[str, float], Meta(description="measured on held-out batches")]
    rows: Annotated[int, Meta(description="batches it was trained on")]
    level: Annotated[float, Meta(description="intended coverage of the interval", gt=0, lt=1)]
