"""The report on a change, as one Markdown: comment of a pull request, summary of a workflow, or a page to read."""

from batchyield.review.report import report_attachments, report_charts, report_inputs, report_metrics
from batchyield.review.report.markdown import code
from batchyield.review.report.report_attachments import Extras
from batchyield.review.review import Review

__all__ = ["Extras", "report"]


def report(review: Review, found: Extras = Extras(), base: str = "main") -> str:  # noqa: B008 - a tuple of None
    """Writes the report, the verdict first.

    Args:
        review: both sides, judged.
        found: files of what other commands found.
        base: the revision that the reader is told to compare with.

    Raises:
        SetupError: a pinned file or a file of findings is missing.
    """
    sections = (
        report_metrics.verdict(review),
        report_metrics.measured(review),
        report_metrics.slices(review),
        report_inputs.params(review),
        report_inputs.data(review),
        report_metrics.moved(review),
        report_charts.charts(review),
        report_attachments.reproduction(found),
        report_attachments.replay(found),
        report_attachments.bench(found),
        report_inputs.inputs(review),
        _locally(review, base),
    )
    return "\n".join(line for section in sections for line in section).rstrip() + "\n"


def _locally(review: Review, base: str) -> list[str]:
    commit = review.head.name.partition(",")[0]
    return [
        "### Try it",
        "",
        "```sh",
        f"git checkout {commit} && make setup",
        ". .venv/bin/activate",
        "dvc pull || make repro           # its outputs, from the storage or built here",
        f"batchyield review report --base {base}    # this report",
        "make serve                       # the model over HTTP on 127.0.0.1:8000",
        "```",
        "",
        f"<sub>base {code(review.base.name)}, head {code(review.head.name)}; how to read this: docs/review.md</sub>",
    ]
