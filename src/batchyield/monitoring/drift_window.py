"""Drift of a window of live traffic against the reference profile: each reading, and the predicted yields.

A reading has drifted if the window has enough batches, chance does not explain the difference with all readings tested
at once, and the difference is large enough to matter.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from batchyield.monitoring import drift_tests
from batchyield.monitoring.drift_tests import MONITORING_DECIMALS
from batchyield.monitoring.throttle import Pause, no_throttle
from batchyield.plant.batch import READINGS, Batch, Reading
from batchyield.plant.features import INDEX
from batchyield.plant.features.catalogue import STEPS
from batchyield.serving.reference_profile import Profile, Reference

MIN_WINDOW_BATCHES = 100
"""Batches needed for a verdict: with fewer, a shift of half a standard deviation is missed as often as found."""

FALSE_ALARM_RATE = 0.01
"""Probability of any false alarm in a window, over all readings together."""

MIN_PSI, MIN_BLANK_CHANGE, MIN_NEW_SHARE = 0.1, 0.05, 0.02
"""Smallest differences that matter; in a large window even trifles are significant."""


class DriftVerdict(StrEnum):
    """Verdict on a reading, the predictions or the live error."""

    STEADY = "steady"
    DRIFTED = "drifted"
    TOO_FEW = "too few"


def _feature_of(reading: Reading) -> str:
    if reading.kind == "number":
        return reading.name
    if reading.kind == "range":
        return f"{reading.name}_length"
    steps = [f"{start}_to_{end}" for start, end in STEPS if end == reading.name]
    return steps[0] if steps else f"{reading.name}_clock"


FEATURE_OF_READING: Mapping[str, str] = {reading.name: _feature_of(reading) for reading in READINGS}
"""The feature tested for each reading: a number itself, the length of a range, the step that ends at a clock time.

The time of day is no property of a batch, because batches start around the clock.
"""

BATCH_FIELDS = tuple(field.name for field in msgspec.structs.fields(Batch))


class ReadingDrift(msgspec.Struct, frozen=True):
    """Drift of one reading against the training."""

    reading: Annotated[str, Meta(description="name of the reading")]
    feature: Annotated[str, Meta(description="the feature tested for it")]
    verdict: Annotated[DriftVerdict, Meta(description="`steady`, `drifted`, or `too few` batches for a verdict")]
    p: Annotated[float, Meta(description="p value, adjusted for the tests of all readings (Holm-Bonferroni)")]
    psi: Annotated[float | None, Meta(description="population stability index; null without values")]
    ks: Annotated[float | None, Meta(description="Kolmogorov–Smirnov distance, 0..1; null without values")]
    moved: Annotated[float | None, Meta(description="difference of the means, in standard deviations of the training")]
    blank: Annotated[float, Meta(description="share of batches without the reading")]
    blank_trained: Annotated[float, Meta(description="the same in the training")]
    new: Annotated[float, Meta(description="share of values outside the training's range, or none of its few levels")]


class PredictionDrift(msgspec.Struct, frozen=True):
    """Drift of the predictions against those of the training batches."""

    verdict: Annotated[DriftVerdict, Meta(description="`steady`, `drifted`, or `too few` batches for a verdict")]
    p: Annotated[float, Meta(description="p value, adjusted together with those of the readings")]
    mean: Annotated[float | None, Meta(description="mean prediction; null without predictions")]
    mean_trained: Annotated[float | None, Meta(description="the same in the training")]
    z: Annotated[float | None, Meta(description="their difference in standard errors of independent batches")]
    psi: Annotated[float | None, Meta(description="population stability index")]
    ks: Annotated[float | None, Meta(description="Kolmogorov–Smirnov distance, 0..1")]


class WindowDrift(msgspec.Struct, frozen=True):
    """Drift of a window against the training."""

    batches: Annotated[int, Meta(description="batches in the window")]
    needed: Annotated[int, Meta(description="batches needed for a verdict")]
    drifted: Annotated[tuple[str, ...], Meta(description="names of the readings that drifted, smallest p first")]
    prediction: PredictionDrift
    readings: Annotated[
        tuple[ReadingDrift, ...], Meta(description="those that the model was trained with, in the plant's order")
    ]


def compute_window_drift(
    reference: Reference,
    batches: Sequence[Batch],
    values: NDArray[np.floating],
    yields: NDArray[np.floating],
    level: float = FALSE_ALARM_RATE,
    pause: Pause = no_throttle,
) -> WindowDrift:
    """Compare a window with the profile of the model that answered.

    Args:
        reference: that profile.
        batches, values, yields: the window [n], its features [n, len(FEATURES)], its predictions as fractions [n].
        level: probability of any false alarm, for independent batches of a steady plant.
        pause: called after each reading.
    """
    cells = list(zip(*map(msgspec.structs.astuple, batches), strict=True))
    measured = []
    for name, feature in FEATURE_OF_READING.items():
        if feature not in reference.features:  # added after the model was trained
            continue
        blank = cells[BATCH_FIELDS.index(name)].count(None) if cells else 0
        measured.append(_measure_reading(reference, name, len(batches), blank, values[:, INDEX[feature]]))
        pause()
    profile = reference.prediction
    predicted_p = _distribution_p_value(profile, yields)
    *adjusted, prediction_p = _adjust(*(tests.values() for _, tests in measured), [predicted_p])
    # The difference that matters must itself be significant: one of blanks does not vouch for one of values.
    *decisive, _ = _adjust(*(_tests_that_matter(*one) for one in measured), [predicted_p])
    enough = len(batches) >= MIN_WINDOW_BATCHES
    readings = tuple(
        msgspec.structs.replace(reading, p=round(p, 12), verdict=_verdict(decides < level, enough))
        for (reading, _), p, decides in zip(measured, adjusted, decisive, strict=True)
    )
    drifted = sorted((r for r in readings if r.verdict is DriftVerdict.DRIFTED), key=lambda r: (r.p, -(r.psi or 0.0)))
    names = tuple(r.reading for r in drifted)
    psi, ks = _distances(profile, yields)
    mean = round(float(yields.mean()), MONITORING_DECIMALS) if len(yields) else None
    z = None
    if mean is not None and profile.mean is not None and profile.sd:
        z = round((mean - profile.mean) / (profile.sd / len(yields) ** 0.5), MONITORING_DECIMALS)
    verdict = _verdict(prediction_p < level and (psi or 0.0) >= MIN_PSI, enough)
    prediction = PredictionDrift(verdict, round(prediction_p, 12), mean, profile.mean, z, psi, ks)
    return WindowDrift(len(batches), MIN_WINDOW_BATCHES, names, prediction, readings)


def _measure_reading(
    reference: Reference, name: str, n: int, blank: int, column: NDArray[np.floating]
) -> tuple[ReadingDrift, dict[str, float]]:
    """Return a reading without its verdict, and the p values of its tests: `values`, `blanks` and `new` values."""
    profile, blank_trained = reference.features[FEATURE_OF_READING[name]], reference.blank.get(name, 0.0)
    present = column[~np.isnan(column)]
    found = len(present)
    if profile.levels or not profile.count:
        is_new = ~np.isin(present, np.asarray(profile.levels, dtype=present.dtype))
    else:
        is_new = (present < profile.quantiles[0]) | (present > profile.quantiles[-1])
    new = int(is_new.sum())
    tests = {
        "values": _distribution_p_value(profile, present),
        "blanks": drift_tests.fisher_exact_p_value(blank, n, blank_trained, reference.rows) if n else 1.0,
        "new": drift_tests.fisher_exact_p_value(new, found, profile.novelty, max(1, profile.count)) if found else 1.0,
    }
    moved = None
    if found and profile.mean is not None and profile.sd:
        moved = round((float(present.mean()) - profile.mean) / profile.sd, MONITORING_DECIMALS)
    blank_share, new_share = (round(k / of, MONITORING_DECIMALS) if of else 0.0 for k, of in ((blank, n), (new, found)))
    figures = (*_distances(profile, present), moved, blank_share, blank_trained, new_share)
    return ReadingDrift(name, FEATURE_OF_READING[name], DriftVerdict.STEADY, 1.0, *figures), tests


def _tests_that_matter(reading: ReadingDrift, tests: Mapping[str, float]) -> list[float]:
    """Return the p values of the differences that are large enough to matter."""
    matters = {
        "values": (reading.psi or 0.0) >= MIN_PSI,
        "blanks": abs(reading.blank - reading.blank_trained) >= MIN_BLANK_CHANGE,
        "new": reading.new >= MIN_NEW_SHARE,
    }
    return [p for name, p in tests.items() if matters[name]]


def _adjust(*tests: Collection[float]) -> list[float]:
    """Return one p value for each reading, of its three tests, and for the predictions, adjusted for all of them.

    The tests of a reading are taken together by Bonferroni, all readings with the predictions by Holm.
    """
    *readings, (predictions,) = tests
    smallest = [min(1.0, 3 * min(p_values, default=1.0)) for p_values in readings]
    return drift_tests.holm_bonferroni([*smallest, predictions])


def _verdict(drifted: bool, enough: bool) -> DriftVerdict:
    if not enough:
        return DriftVerdict.TOO_FEW
    return DriftVerdict.DRIFTED if drifted else DriftVerdict.STEADY


def _distances(profile: Profile, present: NDArray[np.floating]) -> tuple[float | None, float | None]:
    """Return population stability index and Kolmogorov–Smirnov distance."""
    if not len(present) or not profile.count:
        return None, None
    counts = np.bincount(np.searchsorted(profile.edges, present, side="left"), minlength=len(profile.shares))
    psi = drift_tests.population_stability_index(profile.shares, counts)
    ks = drift_tests.ks_distance(profile.quantiles, present)
    return round(psi, MONITORING_DECIMALS), round(ks, MONITORING_DECIMALS)


def _distribution_p_value(profile: Profile, present: NDArray[np.floating]) -> float:
    if not len(present) or not profile.count:
        return 1.0
    n, m = len(present), profile.count
    ks = drift_tests.ks_p_value(drift_tests.ks_distance(profile.quantiles, present), n, m)
    # Ranks detect a shift earlier, the distance a change of shape: the smaller of the two, times two (Bonferroni).
    return min(1.0, 2 * min(ks, drift_tests.mann_whitney_p_value(profile.quantiles, present, m)))
