"""The report on a change, as one Markdown: comment of a pull request, summary of a workflow, or a page to read."""

from batchyield.pins.report import changes, charts, extras, figures
from batchyield.pins.report.extras import Extras
from batchyield.pins.report.markdown import code
from batchyield.pins.review import Review

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
        figures.verdict(review),
        figures.measured(review),
        figures.slices(review),
        changes.params(review),
        changes.data(review),
        figures.moved(review),
        charts.charts(review),
        extras.reproduction(found),
        extras.replay(found),
        extras.bench(found),
        changes.inputs(review),
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
        f"batchyield report --base {base}    # this report",
        "make serve                       # the model over HTTP on 127.0.0.1:8000",
        "```",
        "",
        f"<sub>base {code(review.base.name)}, head {code(review.head.name)}; how to read this: docs/review.md</sub>",
    ]
