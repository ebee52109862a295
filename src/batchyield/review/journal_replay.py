"""Replay: predicts journalled inputs with a candidate model and compares with the journalled predictions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from batchyield.errors import ArtifactError, ConfigError
from batchyield.journal.queries import JournalledPrediction
from batchyield.journal.records import AnsweringModel
from batchyield.modelling.metrics import METRICS, compute_metrics, slice_labels
from batchyield.modelling.train import Predictions
from batchyield.plant.features import featurize
from batchyield.serving.artifact import FILES, Artifact, open_artifact, read_pins
from batchyield.serving.deployment.model_store import PINS_FILE
from batchyield.serving.deployment.prediction_diff import DiffSummary, SliceDiff, diff_by_slice, summarize_diff
from batchyield.serving.prediction import Prediction

CHUNK_BATCHES = 2_000
LISTED_BATCHES = 10
MIN_SLICE_BATCHES = 20
"""Smaller slices are not checked against the limit on slices."""


class ReplayedBatch(msgspec.Struct, frozen=True):
    """A batch whose prediction changes: its id and request, both yields and the measured one."""

    id: str | None
    request: str
    baseline: float
    candidate: float
    measured: float | None


class Replay(msgspec.Struct, frozen=True):
    """What a candidate changes; times in microseconds since 1970, UTC.

    Attributes:
        baseline: what the candidate is compared with: `journal`, or the md5 of a model.
        candidate: md5 of the candidate.
        since: of the first prediction.
        until: of the last.
        pins: the models that answered.
        slices: by what is known of a batch, those that moved most first.
        movers: the predictions that moved most.
        measured: predictions whose outcome is known.
        live: figures of the baseline and of the candidate by the measured yields; empty where there are none.
    """

    baseline: str
    candidate: str
    since: int
    until: int
    pins: tuple[AnsweringModel, ...]
    overall: DiffSummary
    slices: list[SliceDiff]
    movers: list[ReplayedBatch]
    measured: int
    live: dict[str, dict[str, float]]


class LimitCheck(msgspec.Struct, frozen=True):
    """A metric of a replay with its upper limit."""

    figure: str
    most: float
    found: float | None

    @property
    def passed(self) -> bool:
        # Written so that NaN fails; so does a metric that was not measured.
        return self.found is not None and self.found <= self.most

    def __str__(self) -> str:
        found = "not known" if self.found is None else f"{self.found:.5f}"
        return f"{'passed' if self.passed else 'FAILED'}  {self.figure} {found}, at most {self.most:g}"


REPLAY_METRICS: dict[str, Callable[[Replay], float | None]] = {
    "p95": lambda made: made.overall.p95,
    "mean": lambda made: abs(made.overall.mean),
    "mean_absolute": lambda made: made.overall.mean_absolute,
    "largest": lambda made: abs(made.overall.largest),
    "changed": lambda made: made.overall.changed / made.overall.batches,
    "outside": lambda made: made.overall.outside / made.overall.batches,
    "slice": lambda made: max(
        (one.differences.mean_absolute for one in made.slices if one.differences.batches >= MIN_SLICE_BATCHES),
        default=0.0,
    ),
    "live_rmse": lambda made: made.live["candidate"]["rmse"] - made.live["baseline"]["rmse"] if made.live else None,
}
"""What may be bounded: moves are yields, `changed` and `outside` shares, `slice` the mean absolute move of the slice
that moved most, `live_rmse` how much farther from the measured yields the candidate is than the baseline."""


def replay_journal(
    rows: Iterable[JournalledPrediction], candidate: Artifact, baseline: Artifact | None = None
) -> Replay:
    """Return how the predictions for journalled inputs change from a baseline (None: the journalled) to a candidate.

    Raises:
        ConfigError: there are no rows.
    """
    taken: list[JournalledPrediction] = []
    before: list[Prediction] = []
    after: list[Prediction] = []
    aspects: dict[str, list[str]] = {}
    remaining = iter(rows)
    while part := list(islice(remaining, CHUNK_BATCHES)):
        batches = [row.batch for row in part]
        taken += part
        before += [row.prediction.alone() for row in part] if baseline is None else baseline.predictor.predict(batches)
        after += candidate.predictor.predict(batches)
        for aspect, given in slice_labels(featurize(batches)).items():
            aspects.setdefault(aspect, []).extend(given)
    if not taken:
        raise ConfigError("the journal holds no prediction of that time", "go back further with --since")
    return Replay(
        baseline="journal" if baseline is None else baseline.md5,
        candidate=candidate.md5,
        since=taken[0].at,
        until=taken[-1].at,
        pins=tuple(dict.fromkeys(row.pin for row in taken)),
        overall=summarize_diff(before, after),
        slices=diff_by_slice(before, after, aspects),
        movers=_largest_changes(taken, before, after),
        measured=sum(row.measured is not None for row in taken),
        live=_live(taken, {"baseline": before, "candidate": after}),
    )


def check_limits(made: Replay, given: Mapping[str, float]) -> list[LimitCheck]:
    """Return the check of each limited metric."""
    return [LimitCheck(figure, most, REPLAY_METRICS[figure](made)) for figure, most in given.items()]


def open_candidate(folder: Path) -> Artifact:
    """Return the model of a folder, pinned by its `pins.json`, or else by the dvc.lock two folders up.

    Raises:
        ArtifactError: its bytes are not the pinned ones, nothing pins it, or its golden rows fail.
    """
    pins = folder / PINS_FILE
    if not pins.exists():
        return open_artifact(folder, read_pins(folder.absolute().parent.parent / "dvc.lock", folder.absolute()))
    try:
        named = msgspec.json.decode(pins.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError) as error:
        raise ArtifactError(str(pins), f"cannot be read: {error}", f"it names the md5 of {', '.join(FILES)}") from None
    return open_artifact(folder, named)


def _largest_changes(
    rows: Sequence[JournalledPrediction], before: Sequence[Prediction], after: Sequence[Prediction]
) -> list[ReplayedBatch]:
    moves = [(row, was.yield_, now.yield_) for row, was, now in zip(rows, before, after, strict=True)]
    found: dict[tuple[str | None, float, float], ReplayedBatch] = {}
    for row, was, now in sorted(moves, key=lambda move: -abs(move[2] - move[1])):
        if len(found) == LISTED_BATCHES or was == now:
            break
        # A batch that was predicted ten times would fill the list.
        found.setdefault((row.batch.id, was, now), ReplayedBatch(row.batch.id, row.request, was, now, row.measured))
    return list(found.values())


def _live(
    rows: Sequence[JournalledPrediction], answers: Mapping[str, Sequence[Prediction]]
) -> dict[str, dict[str, float]]:
    known = [at for at, row in enumerate(rows) if row.measured is not None]
    if not known:
        return {}
    measured = np.array([rows[at].measured for at in known], dtype=np.float64)
    return {
        name: compute_metrics(
            measured,
            Predictions(*(np.array([getattr(given[at], end) for at in known]) for end in ("yield_", "lower", "upper"))),
        )
        for name, given in answers.items()
    }


def format_replay(made: Replay) -> str:
    """Return the replay as text."""
    times = [datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="seconds") for at in (made.since, made.until)]
    lines = [
        f"{' to '.join(times)}, answered by {', '.join(pin.md5[:12] for pin in made.pins)}",
        f"baseline {made.baseline[:12]}, candidate {made.candidate[:12]}",
        str(made.overall),
    ]
    if made.movers:
        lines += ["", "slices that moved most (mean without the sign):"]
        lines += [
            f"  {one.by} {one.label}: {one.differences.mean_absolute:.5f} of {one.differences.batches} batches"
            for one in made.slices[:LISTED_BATCHES]
        ]
        lines += ["", "batches that moved most:"]
        lines += [
            f"  {one.id}: {one.baseline:.4f} -> {one.candidate:.4f}"
            + ("" if one.measured is None else f", measured {one.measured:.4f}")
            for one in made.movers
        ]
    lines += ["", f"{made.measured} predictions have an outcome"]
    lines += [
        f"  {name}: " + ", ".join(f"{metric.name} {of[metric.name]:{metric.form}}" for metric in METRICS)
        for name, of in made.live.items()
    ]
    return "\n".join(lines)
