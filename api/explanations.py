"""`POST /v1/predictions?explain=true`: predictions, each with what made it differ from the typical batch's."""

from collections.abc import Sequence
from urllib.parse import parse_qsl

from api.problems import INVALID, RequestError
from api.serving import Answered
from batchyield.batch import Batch
from batchyield.errors import Violation
from batchyield.portions import MOST_EXPLAINED
from batchyield.replies import ExplainedPrediction, ExplainedPredictions

PARAMETER = "explain"


def explanation_wanted(query: bytes) -> bool:
    """Whether a query asks for explanations; other parameters than `explain` are no matter.

    Raises:
        RequestError: `explain` is neither `true` nor `false`, or is given twice.
    """
    given = [value for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name == PARAMETER]
    if not given or given == ["false"]:
        return False
    if given != ["true"]:
        found = " and ".join(map(repr, given))
        violation = Violation(f"query parameter {PARAMETER}", f"expected `true` or `false`, once, got {found}")
        raise RequestError(INVALID, str(violation), violation)
    return True


def check_explainable(batches: Sequence[Batch]) -> None:
    """Refuses more batches than are explained at a time.

    Raises:
        RequestError: there are too many.
    """
    if len(batches) > MOST_EXPLAINED:
        problem = (
            f"holds {len(batches)} batches; with `{PARAMETER}=true`, send at most {MOST_EXPLAINED} at a time, "
            "or ask without it"
        )
        raise RequestError(INVALID, f"$.inputs: {problem}", Violation("$.inputs", problem))


def explained(answered: Answered) -> ExplainedPredictions:
    """Predictions with the explanation of each, by the model that made them."""
    explanations = answered.serving.explainer.explain(answered.batches)
    told = [
        ExplainedPrediction(p.id, p.yield_, p.lower, p.upper, p.warnings, explanation=explanation)
        for p, explanation in zip(answered.predictions, explanations, strict=True)
    ]
    return ExplainedPredictions(answered.serving.pin, told)
