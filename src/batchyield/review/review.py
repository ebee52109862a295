"""Review of a change: the working tree compared with its base, for the gate and the report."""

from pathlib import Path
from typing import NamedTuple

from batchyield.modelling.params import Params, read_params
from batchyield.review.gate import (
    GateResult,
    MetricValues,
    check_bounds,
    check_regressions,
    has_override_label,
    parse_metrics,
    read_metrics,
)
from batchyield.review.merge import METRICS
from batchyield.review.paired_bootstrap import PairedMetrics, PredictedBatches, paired_bootstrap, parse_predictions
from batchyield.review.revision import Revision, merge_base

PREDICTED = "data/plots/predicted.csv"


class Review(NamedTuple):
    """A change and its base, with the result of the gate.

    Attributes:
        base: merge base of HEAD and the base revision.
        head: the working tree.
        params: of the head.
        before: metrics of the base by file, as far as it has them.
        after: metrics of the head.
        rows: test predictions of base and head.
        pair: paired bootstrap on the common batches; None if there are too few.
    """

    base: Revision
    head: Revision
    params: Params
    gate_result: GateResult
    before: MetricValues
    after: MetricValues
    rows: tuple[PredictedBatches, PredictedBatches]
    pair: PairedMetrics | None


def review_change(
    base: str, labels: str = "", *, root: Path = Path(), params: Path | None = None, metrics: Path | None = None
) -> Review:
    """Return the review of the working tree against a base.

    Args:
        base: revision; the comparison is with its merge base with HEAD.
        labels: labels of the pull request, separated by commas.
        root: the checkout.
        params: file with the gate; None: the checkout's `params.yaml`.
        metrics: folder of metrics; None: the checkout's.

    Raises:
        ConfigError: a metric is missing, or a metrics file cannot be read.
        RevisionError: there is no such base, or it lacks a file.
        ArtifactError: a file has other bytes than pinned, or a prediction is not a number.
    """
    settings, folder = read_params(params or root / "params.yaml"), metrics or root / METRICS
    verdicts = check_bounds(settings.gate, folder)
    there, here = merge_base(base, root), Revision(root)
    after = {name: read_metrics(folder / f"{name}.json") for name in settings.gate}
    before: MetricValues = {}
    for name in settings.gate:
        path = f"{METRICS}/{name}.json"
        if (text := there.find_text(path)) is not None:
            before[name] = parse_metrics(text, f"{there.name}:{path}", "compare with another revision")
    was = parse_predictions(there.read(PREDICTED), f"{there.name}:{PREDICTED}")
    rows = (was, parse_predictions(here.read(PREDICTED), PREDICTED))
    evaluation = settings.evaluation
    pair = paired_bootstrap(*rows, evaluation.bootstrap, evaluation.confidence, evaluation.seed)
    comparisons = check_regressions(settings.gate, before, after, pair)
    gate_result = GateResult(verdicts, comparisons, has_override_label(labels))
    return Review(there, here, settings, gate_result, before, after, rows, pair)
