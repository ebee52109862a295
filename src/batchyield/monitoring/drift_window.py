"""A window of live traffic beside the reference profile: which reading has moved, and whether the yields have.

A verdict takes three things: enough batches, a difference that chance does not explain with all readings tested at
once, and one that is large enough to matter.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from batchyield.monitoring.drift_tests import (
    MONITORING_DECIMALS,
    fisher_exact_p_value,
    holm_bonferroni,
    ks_distance,
    ks_p_value,
    mann_whitney_p_value,
    population_stability_index,
)
from batchyield.monitoring.throttle import Pause, no_throttle
from batchyield.plant.batch import READINGS, Batch, Reading
from batchyield.plant.features import INDEX
from batchyield.plant.features.catalogue import STEPS
from batchyield.serving.reference_profile import Profile, Reference

MIN_WINDOW_BATCHES = 100
"""Batches below which nothing is said: a shift of half a standard deviation would be missed as often as found."""

FALSE_ALARM_RATE = 0.01
"""Chance of any false alarm in one window over all readings together."""

MIN_PSI, MIN_BLANK_CHANGE, MIN_NEW_SHARE = 0.1, 0.05, 0.02
"""What a difference must reach to matter, however sure it is: a large window finds every trifle significant."""


class DriftVerdict(StrEnum):
    """What is said of a reading."""

    STEADY = "steady"
    DRIFTED = "drifted"
    TOO_FEW = "too few"


def _watched(reading: Reading) -> str:
    if reading.kind == "number":
        return reading.name
    if reading.kind == "range":
        return f"{reading.name}_length"
    ends = [f"{start}_to_{end}" for start, end in STEPS if end == reading.name]
    return ends[0] if ends else f"{reading.name}_clock"


FEATURE_OF_READING: Mapping[str, str] = {reading.name: _watched(reading) for reading in READINGS}
"""The feature that speaks for each reading: a number itself, a range by its length, a clock by the step it ends.

The time of day itself is no property of a batch where batches start around the clock.
"""


BATCH_FIELDS = tuple(field.name for field in msgspec.structs.fields(Batch))


class ReadingDrift(msgspec.Struct, frozen=True):
    """One reading of the window against the training."""

    reading: Annotated[str, Meta(description="name of the reading")]
    feature: Annotated[str, Meta(description="the feature that speaks for it")]
    verdict: Annotated[DriftVerdict, Meta(description="`steady`, `drifted`, or `too few` batches to tell")]
    p: Annotated[float, Meta(description="chance of as much in a steady plant, all readings tested at once")]
    psi: Annotated[float | None, Meta(description="population stability index; null where no value came")]
    ks: Annotated[float | None, Meta(description="Kolmogorov–Smirnov distance, 0..1; null where no value came")]
    moved: Annotated[float | None, Meta(description="mean less that of the training, in its standard deviations")]
    blank: Annotated[float, Meta(description="share of batches without the reading")]
    blank_trained: Annotated[float, Meta(description="the same in the training")]
    new: Annotated[float, Meta(description="share of values outside the training's range, or none of its few levels")]


class PredictionDrift(msgspec.Struct, frozen=True):
    """The predicted yields of the window against those of the training."""

    verdict: Annotated[DriftVerdict, Meta(description="`steady`, `drifted`, or `too few` batches to tell")]
    p: Annotated[
        float, Meta(description="chance of as much in a steady plant, readings included in the count of tests")
    ]
    mean: Annotated[float | None, Meta(description="mean predicted yield; null where there is none")]
    mean_trained: Annotated[float | None, Meta(description="the same in the training")]
    z: Annotated[float | None, Meta(description="that difference in standard errors, were batches independent")]
    psi: Annotated[float | None, Meta(description="population stability index")]
    ks: Annotated[float | None, Meta(description="Kolmogorov–Smirnov distance, 0..1")]


class WindowDrift(msgspec.Struct, frozen=True):
    """A whole window against the training."""

    batches: Annotated[int, Meta(description="batches in the window")]
    needed: Annotated[int, Meta(description="batches before anything is said")]
    drifted: Annotated[tuple[str, ...], Meta(description="names of the readings that have moved, the surest first")]
    prediction: PredictionDrift
    readings: Annotated[tuple[ReadingDrift, ...], Meta(description="all 42, in the plant's order")]


def compute_window_drift(
    reference: Reference,
    batches: Sequence[Batch],
    values: NDArray[np.floating],
    yields: NDArray[np.floating],
    level: float = FALSE_ALARM_RATE,
    rest: Pause = no_throttle,
) -> WindowDrift:
    """Lays a window beside the reference.

    Args:
        reference: of the model that answered.
        batches: the window [n].
        values: its features, shape [n, len(FEATURES)].
        yields: what was predicted, shape [n].
        level: chance of any false alarm in a window of independent batches from a steady plant.
        rest: called after each reading.
    """
    cells = list(zip(*map(msgspec.structs.astuple, batches), strict=True))
    measured = []
    for name, feature in FEATURE_OF_READING.items():
        blank = cells[BATCH_FIELDS.index(name)].count(None) if cells else 0
        measured.append(_measure(reference, name, len(batches), blank, values[:, INDEX[feature]]))
        rest()
    profile = reference.prediction
    adjusted = holm_bonferroni([*(min(1.0, 3 * min(tests)) for _, tests in measured), _distribution_p(profile, yields)])
    told = len(batches) >= MIN_WINDOW_BATCHES
    readings = tuple(_judged(shift, p, told, level) for (shift, _), p in zip(measured, adjusted, strict=False))
    drifted = sorted((r for r in readings if r.verdict is DriftVerdict.DRIFTED), key=lambda r: (r.p, -(r.psi or 0.0)))
    names = tuple(r.reading for r in drifted)
    return WindowDrift(
        len(batches), MIN_WINDOW_BATCHES, names, _prediction(profile, yields, adjusted[-1], told, level), readings
    )


def _measure(
    reference: Reference, name: str, n: int, blank: int, column: NDArray[np.floating]
) -> tuple[ReadingDrift, tuple[float, float, float]]:
    """The reading without its verdict, and the probabilities of its three tests: values, blanks, new values."""
    profile, trained = reference.features[FEATURE_OF_READING[name]], reference.blank.get(name, 0.0)
    present = column[~np.isnan(column)]
    new = int(_unseen(profile, present).sum())
    tests = (
        _distribution_p(profile, present),
        fisher_exact_p_value(blank, n, trained, reference.rows) if n else 1.0,
        fisher_exact_p_value(new, len(present), profile.novelty, max(1, profile.count)) if len(present) else 1.0,
    )
    moved = None
    if len(present) and profile.mean is not None and profile.sd:
        moved = round((float(present.mean()) - profile.mean) / profile.sd, MONITORING_DECIMALS)
    stability, distance = _distances(profile, present)
    return (
        ReadingDrift(
            *(name, FEATURE_OF_READING[name], DriftVerdict.STEADY, 1.0, stability, distance, moved),
            *(_share(blank, n), trained, _share(new, len(present))),
        ),
        tests,
    )


def _judged(shift: ReadingDrift, p: float, told: bool, level: float) -> ReadingDrift:
    matters = (
        (shift.psi or 0.0) >= MIN_PSI
        or abs(shift.blank - shift.blank_trained) >= MIN_BLANK_CHANGE
        or shift.new >= MIN_NEW_SHARE
    )
    return msgspec.structs.replace(shift, p=round(p, 12), verdict=_verdict(p < level and matters, told))


def _prediction(profile: Profile, yields: NDArray[np.floating], p: float, told: bool, level: float) -> PredictionDrift:
    stability, distance = _distances(profile, yields)
    mean = round(float(yields.mean()), MONITORING_DECIMALS) if len(yields) else None
    z = None
    if mean is not None and profile.mean is not None and profile.sd:
        z = round((mean - profile.mean) / (profile.sd / len(yields) ** 0.5), MONITORING_DECIMALS)
    drifted = p < level and (stability or 0.0) >= MIN_PSI
    return PredictionDrift(_verdict(drifted, told), round(p, 12), mean, profile.mean, z, stability, distance)


def _verdict(drifted: bool, told: bool) -> DriftVerdict:
    if not told:
        return DriftVerdict.TOO_FEW
    return DriftVerdict.DRIFTED if drifted else DriftVerdict.STEADY


def _distances(profile: Profile, present: NDArray[np.floating]) -> tuple[float | None, float | None]:
    if not len(present) or not profile.count:
        return None, None
    counts = np.bincount(np.searchsorted(profile.edges, present, side="left"), minlength=len(profile.shares))
    return round(population_stability_index(profile.shares, counts), MONITORING_DECIMALS), round(
        ks_distance(profile.quantiles, present), MONITORING_DECIMALS
    )


def _distribution_p(profile: Profile, present: NDArray[np.floating]) -> float:
    if not len(present) or not profile.count:
        return 1.0
    n, m = len(present), profile.count
    by_shape = ks_p_value(ks_distance(profile.quantiles, present), n, m)
    # Ranks move before the shape shows it, a shape may move where its middle stays: the better of two, counted twice.
    return min(1.0, 2 * min(by_shape, mann_whitney_p_value(profile.quantiles, present, m)))


def _unseen(profile: Profile, present: NDArray[np.floating]) -> NDArray[np.bool_]:
    if profile.levels or not profile.count:
        return ~np.isin(present, np.asarray(profile.levels, dtype=present.dtype))
    outside: NDArray[np.bool_] = (present < profile.quantiles[0]) | (present > profile.quantiles[-1])
    return outside


def _share(k: int, n: int) -> float:
    return round(k / n, MONITORING_DECIMALS) if n else 0.0
