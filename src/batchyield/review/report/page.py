"""The report on a change as Markdown: comment of a pull request, summary of a workflow, or a local page."""

from batchyield.review.report import attachments, charts, inputs, metrics
from batchyield.review.report.attachments import Attachments
from batchyield.review.report.markdown import code
from batchyield.review.review import Review

__all__ = ["Attachments", "render_report"]


def render_report(review: Review, found: Attachments = Attachments(), base: str = "main") -> str:  # noqa: B008 - a tuple of None
    """Return the report, the result of the gate first.

    Args:
        review: the change and its base.
        found: JSON output of other commands.
        base: revision in the command that the reader can run.

    Raises:
        StorageError: a pinned file cannot be found.
        ConfigError: an attached file cannot be read.
    """
    sections = (
        metrics.verdict(review),
        metrics.measured(review),
        metrics.slices(review),
        inputs.params(review),
        inputs.data(review),
        metrics.moved(review),
        charts.charts(review),
        attachments.reproduction(found),
        attachments.replay(found),
        attachments.bench(found),
        inputs.inputs(review),
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
