"""How the bias update corrects the newest predictions, and how far behind its measured batches are."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from batchyield.journal.queries import JournalledPrediction
from batchyield.plant.place import find_place
from batchyield.serving.bias import BiasState


class LineCorrection(msgspec.Struct, frozen=True):
    """The newest correction of a production line."""

    line: Annotated[int, Meta(description="number of the line; -1: not known")]
    value: Annotated[float, Meta(description="prediction minus that of the model alone")]


class BiasFindings(msgspec.Struct, frozen=True):
    """Corrections of the newest predictions by outcomes of earlier batches."""

    batches: Annotated[int, Meta(description="newest batches that the shares refer to")]
    corrected: Annotated[float | None, Meta(description="share of them with a correction; null for too few batches")]
    limited: Annotated[
        float | None, Meta(description="share of them whose correction is at the limit; null for too few")
    ]
    limit: Annotated[float, Meta(description="largest correction")]
    lines: Annotated[tuple[LineCorrection, ...], Meta(description="newest correction of each line")]
    outcomes: Annotated[int, Meta(description="measured batches that the next correction uses, at most")]
    age: Annotated[float | None, Meta(description="batches from the last measured one to the newest; null: not known")]
    largest_age: Annotated[float, Meta(description="age from which predictions are not corrected")]


def compute_bias_findings(state: BiasState | None, window: Sequence[JournalledPrediction]) -> BiasFindings | None:
    """Return the findings on the newest predictions of a model, oldest first; None without a state of the model.

    As many predictions count as a correction uses measured batches; the shares need as many as a correction does.
    """
    if state is None:
        return None
    params = state.params
    rows = window[-params.window :]
    corrections = [(row, row.prediction.bias) for row in rows]
    values = [(row, bias.value) for row, bias in corrections if bias is not UNSET]
    lines = {}
    for row, value in values:
        if place := find_place(row.batch):
            lines[place.line] = value
    at_limit = sum(abs(value) >= params.limit for _, value in values)
    enough = len(rows) >= params.minimum
    newest = find_place(rows[-1].batch) if rows else None
    return BiasFindings(
        batches=len(rows),
        corrected=round(len(values) / len(rows), 4) if enough else None,
        limited=round(at_limit / len(rows), 4) if enough else None,
        limit=params.limit,
        lines=tuple(LineCorrection(line, lines[line]) for line in sorted(lines)),
        outcomes=min(params.window, len(state.residuals)),
        age=None if newest is None else round(max(0.0, newest.at - state.residuals[-1].at), 3),
        largest_age=params.largest_age,
    )
