"""Bias update: measured yields of earlier batches correct the level of later predictions, and their intervals.

The level of a process drifts slowly, which no reading shows. The mean residual of the last measured batches does.
Recent ones count more, and so do those of the same recipe and line. The mean is shrunk towards 0 and limited, so that a
single wrong measurement has little effect. The half widths of the intervals are multiplied by a quantile of the
factors that the last measured batches would have needed (conformal prediction on a sliding window).

Pure functions of residuals and params, without NumPy: the pipeline's evaluation, the service and `pin trace` run the
same code and get the same digits.
"""

import hashlib
import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from math import exp
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchyield.errors import ArtifactError
from batchyield.plant.batch import Batch
from batchyield.plant.place import Place, Recipe, find_place
from batchyield.plant.table import TARGET
from batchyield.serving.lockfile import read_lock
from batchyield.serving.prediction import Bias, Prediction, round_prediction

LOWEST, HIGHEST = TARGET.limits

LEAST_HALF_WIDTH = TARGET.scale / 300
"""Half widths below count as this: a quotient of them says nothing."""

RANK_TOLERANCE = 1e-9
"""Floating-point error allowed in the rank of a quantile."""


class BiasParams(NamedTuple):
    """Parameters of the bias update, as dvc.lock has them; `modelling.params.EwmaBias` describes and checks them."""

    delay: float
    memory: float
    window: int
    minimum: int
    largest_age: float
    shrinkage: float
    same_recipe: float
    same_line: float
    cut: float
    limit: float
    calibration: int
    narrowest: float
    widest: float


class Residual(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A measured batch with the prediction and the interval that the model alone has for it; yields are fractions."""

    batch: str
    at: float
    recipe: Recipe
    line: int
    measured: float
    predicted: float
    lower: float
    upper: float

    @classmethod
    def at_place(
        cls, batch: str, place: Place, measured: float, predicted: float, lower: float, upper: float
    ) -> "Residual":
        """Return the residual of a batch at a place."""
        return cls(batch, place.at, place.recipe, place.line, measured, predicted, lower, upper)


class Correction(msgspec.Struct, frozen=True, gc=False):
    """What earlier measured batches say of a batch.

    Attributes:
        value: to be added to the predicted yield.
        scale: factor for both half widths of the interval.
        batches: number of residuals in `value`.
        latest: id of the last of them.
        limited: whether `value` is at its limit.
    """

    value: float
    scale: float
    batches: int
    latest: str
    limited: bool

    def apply(self, predicted: float, lower: float, upper: float) -> tuple[float, float, float]:
        """Return the corrected yield and ends of its interval, rounded as predictions are."""
        best, scale = predicted + self.value, self.scale
        low, high = best - scale * (predicted - lower), best + scale * (upper - predicted)
        if low < LOWEST or high > HIGHEST:
            best, low, high = (max(LOWEST, min(end, HIGHEST)) for end in (best, low, high))
        return round_prediction(best), round_prediction(low), round_prediction(high)


class _BiasContent(msgspec.Struct, frozen=True, array_like=True):
    """All that corrections depend on; its JSON is what the digest is taken of."""

    model: str
    level: float
    params: BiasParams
    residuals: tuple[Residual, ...]


def read_params(lock: Path) -> BiasParams | None:
    """Return the parameters that dvc.lock has for the stage `evaluate`; None if it has none, or the update is off.

    Raises:
        ArtifactError: the lock cannot be read.
    """
    stage = read_lock(lock).stages.get("evaluate")
    given = stage.params.get("params.yaml", {}).get("bias", {}) if stage else {}
    if given.get("kind") != "ewma":
        return None
    try:
        return msgspec.convert([given[name] for name in BiasParams._fields], BiasParams)
    except (KeyError, msgspec.ValidationError) as error:
        raise ArtifactError(
            str(lock), f"has other params of the bias update than this code: {error}", "run `dvc repro`"
        ) from error


_encode = msgspec.json.Encoder().encode
_content = msgspec.json.Decoder(_BiasContent)


class BiasState:
    """Corrections from the residuals of one model; immutable.

    Args:
        model: md5 of the model that predicted.
        level: intended coverage of the intervals.
        params: of the update.
        residuals: in any order.
        keep_all: keep all of them; by default only the latest by place, as many as one correction can depend on.

    Attributes:
        model, params: as given.
        residuals: those kept, in the order of their places.
        digest: the first 32 hexadecimal digits of the SHA-256 of `encode()`.
    """

    def __init__(
        self, model: str, level: float, params: BiasParams, residuals: Sequence[Residual], keep_all: bool = False
    ) -> None:
        ordered = sorted(residuals, key=lambda residual: (residual.at, residual.batch))
        kept = params.window + params.calibration + math.ceil(params.delay)
        self.residuals = tuple(ordered if keep_all else ordered[-kept:])
        self.model = model
        self._content = _BiasContent(model, level, params, self.residuals)
        self.params = params
        self._level = level
        self._ats = [residual.at for residual in self.residuals]
        self._sums: dict[tuple[int, Recipe, int], tuple[float, float]] = {}
        self._counts: dict[int, tuple[float, int, str]] = {}
        # Attributes of a NamedTuple are slower, and each prediction needs these.
        self._minimum, self._largest_age, self._memory = params.minimum, params.largest_age, params.memory
        self._shrinkage, self._limit = params.shrinkage, params.limit
        self._needed: list[float] | None = None

    @classmethod
    def decode(cls, content: bytes) -> "BiasState":
        """Return the state that `encode` wrote; raise msgspec.MsgspecError if it did not."""
        read = _content.decode(content)
        return cls(read.model, read.level, read.params, read.residuals)

    def encode(self) -> bytes:
        """Return the state as JSON: model, level, params and residuals."""
        return _encode(self._content)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.encode()).hexdigest()[:32]

    def correct(self, place: Place, delay: float = 0.0) -> Correction | None:
        """Return the correction for a batch from the residuals before it; None if they are too few or too old.

        Args:
            place: of the batch.
            delay: batches right before it whose yields are taken as not yet known.
        """
        count = bisect_left(self._ats, place.at - delay)
        value = self._value(count, place)
        if value is None:
            return None
        scale, used, latest = self._counts.get(count) or self._describe(count)
        return Correction(value, scale, used, latest, abs(value) >= self._limit)

    def _describe(self, count: int) -> tuple[float, int, str]:
        """Return what corrections from the first `count` residuals have in common: scale, number used, latest."""
        found = self._scale(count), min(count, self.params.window), self.residuals[count - 1].batch
        self._counts[count] = found
        return found

    def correct_all(self, batches: Sequence[Batch], predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return the corrected predictions [n] of batches [n]; those without a correction are unchanged."""
        return list(map(self._correct_one, batches, predictions))

    def _correct_one(self, batch: Batch, made: Prediction) -> Prediction:
        place = find_place(batch)
        found = None if place is None else self.correct(place)
        if found is None:
            return made
        corrected = found.apply(made.yield_, made.lower, made.upper)
        bias = Bias(found.value, found.batches, found.latest, self.digest)
        return Prediction(made.id, *corrected, made.warnings, bias, made.yield_)

    def _value(self, count: int, place: Place) -> float | None:
        """Return the correction for a place from the first `count` residuals; None if they are too few or too old."""
        if count < self._minimum:
            return None
        age = place.at - self._ats[count - 1]
        if age > self._largest_age:
            return None
        recipe, line = place.recipe, place.line
        total, weight = self._sums.get((count, recipe, line)) or self._weighted_sum(count, recipe, line)
        decay = exp(-age / self._memory)
        value = round_prediction(decay * total / (decay * weight + self._shrinkage))
        if -self._limit <= value <= self._limit:
            return value
        return math.copysign(self._limit, value)

    def _weighted_sum(self, count: int, recipe: Recipe, line: int) -> tuple[float, float]:
        """Return the weighted sum of the cut residuals before position `count`, and the sum of the weights."""
        params = self.params
        total = weight = 0.0
        for residual in self.residuals[max(0, count - params.window) : count]:
            w = exp((residual.at - self._ats[count - 1]) / params.memory)
            if residual.recipe == recipe:
                w *= params.same_recipe
            if residual.line == line:
                w *= params.same_line
            total += w * max(-params.cut, min(residual.measured - residual.predicted, params.cut))
            weight += w
        self._sums[count, recipe, line] = total, weight
        return total, weight

    def _scale(self, count: int) -> float:
        """Return the conformal quantile of the factors that the last residuals before `count` needed."""
        if self._needed is None:
            self._needed = [self._factor(residual) for residual in self.residuals]
        recent = sorted(self._needed[max(0, count - self.params.calibration) : count])
        rank = math.ceil((len(recent) + 1) * self._level - RANK_TOLERANCE)
        scale = 1.0
        if rank <= len(recent) and len(recent) >= self.params.calibration / 2:
            scale = max(self.params.narrowest, min(recent[rank - 1], self.params.widest))
        return scale

    def _factor(self, residual: Residual) -> float:
        """Return the factor by which the interval of a measured batch, once corrected, would just hold its yield."""
        count = bisect_left(self._ats, residual.at - self.params.delay)
        value = self._value(count, Place(residual.at, residual.recipe, residual.line)) or 0.0
        error = residual.measured - residual.predicted - value
        return max(
            error / max(residual.upper - residual.predicted, LEAST_HALF_WIDTH),
            -error / max(residual.predicted - residual.lower, LEAST_HALF_WIDTH),
        )
