"""A change laid beside its base and judged: what the gate answers with, and the report tells."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from batchyield.errors import SetupError
from batchyield.modelling.params import Params, read_params
from batchyield.review.baseline_regression import Figures, compare
from batchyield.review.gate import Judgement, judge, labelled, read_figures
from batchyield.review.paired_bootstrap import Paired, Rows, paired, read_rows
from batchyield.review.revision import Side, base_of

METRICS = "data/metrics"
PREDICTED = "data/plots/predicted.csv"


class Review(NamedTuple):
    """Both sides and what is said of them.

    Attributes:
        base: the commit at which HEAD left the revision that was given.
        head: the workspace.
        params: of the head.
        judgement: of the gate.
        before: figures of the base by metrics file, as far as it has them.
        after: figures of the head.
        rows: answers of base and head to their test batches.
        pair: both on the common ones; None where those are too few.
    """

    base: Side
    head: Side
    params: Params
    judgement: Judgement
    before: Figures
    after: Figures
    rows: tuple[Rows, Rows]
    pair: Paired | None


def review(
    base: str, labels: str = "", *, root: Path = Path(), params: Path | None = None, metrics: Path | None = None
) -> Review:
    """Judges the workspace against a base.

    Args:
        base: revision; compared is the commit at which HEAD left it.
        labels: of the pull request, with commas between them.
        root: the checkout.
        params: where the gate stands, if not in the checkout's `params.yaml`.
        metrics: the folder of figures, if not the checkout's.

    Raises:
        SetupError: a figure or a file is missing.
        ArtifactError: a file is not the pinned one.
    """
    settings, folder = read_params(params or root / "params.yaml"), metrics or root / METRICS
    verdicts = judge(settings.gate, folder)
    there, here = base_of(base, root), Side(root)
    after = {name: read_figures(folder / f"{name}.json") for name in settings.gate}
    before = {name: _figures(there, name) for name in settings.gate if there.has(f"{METRICS}/{name}.json")}
    rows = (
        read_rows(there.read(PREDICTED), f"{there.name}:{PREDICTED}"),
        read_rows(here.read(PREDICTED), PREDICTED),
    )
    evaluation = settings.evaluation
    pair = paired(*rows, evaluation.bootstrap, evaluation.confidence, evaluation.seed)
    judgement = Judgement(verdicts, compare(settings.gate, before, after, pair), labelled(labels))
    return Review(there, here, settings, judgement, before, after, rows, pair)


def _figures(side: Side, name: str) -> dict[str, float]:
    path = f"{METRICS}/{name}.json"
    try:
        return msgspec.json.decode(side.text(path), type=dict[str, float])
    except msgspec.MsgspecError as error:
        raise SetupError(f"{side.name}:{path} cannot be read: {error}", "compare with another revision") from error
