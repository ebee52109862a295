"""Compares the predictions of two pinned models on the test batches: overall, by slice and by batch."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from batchyield.errors import ArtifactError
from batchyield.plant.batch import Batch
from batchyield.serving.artifact import PREDICTION_TOLERANCE, Artifact
from batchyield.serving.deployment.prediction_diff import DiffSummary, SliceDiff, diff_by_slice, summarize_diff

TEST = Path("data/split/test.parquet")
LISTED_BATCHES = 10
LISTED_SLICES = 12


class ModelIdentity(msgspec.Struct, frozen=True):
    """Hash, version and revision of a model."""

    md5: str
    version: str
    revision: str

    def __str__(self) -> str:
        return f"{self.md5[:12]}  version {self.version}, revision {self.revision[:12]}"


class ChangedPrediction(msgspec.Struct, frozen=True):
    """A batch whose prediction changed: both yields, and whether the candidate's left the baseline's interval."""

    id: str | None
    baseline: float
    candidate: float
    outside: bool


class ModelComparison(msgspec.Struct, frozen=True):
    """Two pinned models on the same batches.

    Attributes:
        rows: where the batches are from.
        files: the files of the artifact whose bytes differ.
        slices: by what is known of a batch, those that moved most first.
        movers: the batches that moved most.
    """

    baseline: ModelIdentity
    candidate: ModelIdentity
    rows: str
    files: tuple[str, ...]
    overall: DiffSummary
    slices: list[SliceDiff]
    movers: list[ChangedPrediction]


def compare_models(
    baseline: tuple[Artifact, ModelIdentity], candidate: tuple[Artifact, ModelIdentity], root: Path = Path()
) -> ModelComparison:
    """Return the comparison on the test batches of a checkout, or on the candidate's golden rows if it has none.

    Raises:
        ArtifactError: a model predicts a value that is not a number.
    """
    from batchyield.modelling.metrics import slice_labels
    from batchyield.plant.features import featurize

    (before, was), (after, now) = baseline, candidate
    batches, rows = _rows(after, root)
    old, new = before.predictor.predict(batches), after.predictor.predict(batches)
    moved = sorted(zip(old, new, strict=True), key=lambda pair: -abs(pair[1].yield_ - pair[0].yield_))
    return ModelComparison(
        was,
        now,
        rows,
        tuple(name for name, pin in after.pins.items() if before.pins.get(name) != pin),
        summarize_diff(old, new),
        diff_by_slice(old, new, slice_labels(featurize(batches))),
        [
            ChangedPrediction(one.id, one.yield_, other.yield_, not one.lower <= other.yield_ <= one.upper)
            for one, other in moved[:LISTED_BATCHES]
            if abs(other.yield_ - one.yield_) > PREDICTION_TOLERANCE
        ],
    )


def _rows(artifact: Artifact, root: Path) -> tuple[Sequence[Batch], str]:
    if not (root / TEST).is_file():
        return artifact.golden.batches, "the candidate's golden rows"
    from batchyield.modelling.parquet import read_table, to_batches

    try:
        return to_batches(read_table(root / TEST)), str(TEST)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(str(root / TEST), f"cannot be read: {error}", "run `dvc checkout`") from error


def format_comparison(made: ModelComparison) -> str:
    """Return the comparison as text."""
    lines = [f"baseline   {made.baseline}", f"candidate  {made.candidate}"]
    if not made.files:
        return "\n".join([*lines, "the same bytes in all four files, so the same answers"])
    lines += [f"files that differ: {', '.join(made.files)}", f"on {made.rows}: {made.overall}"]
    if made.movers:
        shown = made.slices[:LISTED_SLICES]
        width = max(len(f"{one.by} {one.label}") for one in shown)
        lines += ["", "slices that moved most:"]
        lines += [
            f"  {f'{one.by} {one.label}':<{width}}  {of.batches:>5} batches, mean {of.mean:+.5f}, without sign "
            f"{of.mean_absolute:.5f}, largest {of.largest:+.5f}, {of.outside} outside"
            for one in shown
            for of in [one.differences]
        ]
        lines += ["", "batches that moved most:"]
        lines += [
            f"  {one.id}: {one.baseline:.4f} -> {one.candidate:.4f}{', outside its interval' if one.outside else ''}"
            for one in made.movers
        ]
    return "\n".join(lines)
