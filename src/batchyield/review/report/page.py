"""The report on a change as Markdown: comment of a pull request, summary of a workflow, or a local page.

The page is as long as the change: one line if no byte of the model moved, and no metrics at all if `dvc.lock` is not
what the commit's code, data and params build.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from batchyield.errors import BatchyieldError
from batchyield.review.gate import OVERRIDE, STALE, GateResult, in_unit, with_unit
from batchyield.review.report import attachments, charts, inputs, metrics
from batchyield.review.report.attachments import Attachments, Rebuild
from batchyield.review.report.markdown import cell, code, details
from batchyield.review.review import Review, review_change
from batchyield.review.revision import Revision, merge_base
from batchyield.versioning.lock_diff import compare_outputs
from batchyield.versioning.provenance.stale_lock import find_stale

__all__ = ["Attachments", "Page", "write_page"]

SHOWN = 8


class Page(NamedTuple):
    """A report: its verdict on one line, and its Markdown."""

    verdict: str
    text: str


def write_page(
    base: str,
    labels: str = "",
    found: Attachments = Attachments(),  # noqa: B008 - a tuple of None
    root: Path = Path(),
) -> Page:
    """Return the report on the working tree against a base; if they cannot be compared, the report says why.

    Args:
        base: revision; the comparison is with its merge base with HEAD.
        labels: labels of the pull request, separated by commas.
        found: JSON output of other commands.
        root: the checkout.
    """
    try:
        there, here = merge_base(base, root), Revision(root)
        if stale := find_stale(root):
            return _stale_page(there, here, stale)
        review, rebuild = review_change(base, labels, root=root), attachments.read_rebuild(found, here)
        outputs = compare_outputs(there.lock, here.lock)
        if all(row.same for row in outputs):
            same = f"The model is the same: {len(outputs)} of {len(outputs)} outputs, byte for byte"
            return _page(review, rebuild, same, inputs.params(there, here))
        sections = [
            *metrics.measured(review),
            *metrics.slices(review),
            *inputs.params(there, here),
            *inputs.data(there, here),
            *metrics.moved(review),
            *charts.charts(review),
            *attachments.replay(found),
            *attachments.bench(found),
            *_locally(here, base),
        ]
        return _page(review, rebuild, "", sections)
    except BatchyieldError as error:
        return failed_page(error)


def failed_page(error: Exception) -> Page:
    """Return the report that says why nothing could be compared."""
    name = "" if isinstance(error, BatchyieldError) else f"{type(error).__name__}: "
    problem, *remedy = str(error).splitlines() or [""]
    verdict = "❌ Nothing could be compared"
    lines = [f"## {verdict}", "", cell(f"{name}{problem}"), "", *(f"{cell(line)}  " for line in remedy)]
    return Page(f"{verdict}: {name}{problem}", "\n".join(lines).rstrip() + "\n")


def _stale_page(there: Revision, here: Revision, stale: tuple[str, ...]) -> Page:
    verdict = f"❌ {STALE.capitalize()}: `dvc repro` was forgotten"
    lines = [
        f"## {verdict}",
        "",
        f"{code('dvc.lock')} is not what the code, the data and the params of {code(here.name)} build:",
        "",
        *_list(stale),
        "",
        "```sh",
        "make repro && git add dvc.lock data/metrics && git commit",
        "```",
        "",
        f"Until then there are no metrics to compare with {code(there.name)}; these are the inputs that differ.",
        "",
        *inputs.params(there, here),
        *inputs.data(there, here),
        *inputs.changed(there, here, Rebuild()),
    ]
    return Page(verdict, "\n".join(lines).rstrip() + "\n")


def _page(review: Review, rebuild: Rebuild, same: str, sections: list[str]) -> Page:
    """Return the page: verdict and summary, then the sections, and what differs in folds; `same` if no byte moved."""
    verdict = _verdict(review.gate_result, rebuild, same or "The gate passes this change")
    reasons = [failure.partition("  ")[2] for failure in review.gate_result.failures] + list(rebuild.causes[:SHOWN])
    summary = [f"{code(review.base.name)} → {code(review.head.name)}"]
    if same and same not in verdict:
        summary.append(same)
    if not same and review.pair is not None:
        was, now = review.pair.base["rmse"], review.pair.head["rmse"]
        share = f" ({(now - was) / was:+.1%})" if was else ""
        on = f"RMSE on {review.pair.rows} test batches"
        summary.append(f"{on} {in_unit('rmse', was)} → {with_unit('rmse', now, name=False)}{share}")
    lines = [
        f"## {verdict}",
        "",
        *_list(reasons),
        f"{'; '.join([*summary, rebuild.summary])}.",
        "",
        *(f"> {warning}\n" for warning in metrics.warnings(review)),
        *sections,
        *inputs.changed(review.base, review.head, rebuild),
    ]
    return Page(verdict, "\n".join(lines).rstrip() + "\n")


def _verdict(result: GateResult, rebuild: Rebuild, good: str) -> str:
    if rebuild.different:
        return "❌ A rebuild of this commit gives other bytes"
    if result.failures:
        overridden = f"⚠️ The gate fails, and the label {OVERRIDE} overrides it"
        return overridden if result.overridden else "❌ The gate stops this change"
    return f"⚠️ {good}, but its rebuild did not finish" if rebuild.failed else f"✅ {good}"


def _list(items: Sequence[str]) -> list[str]:
    """Return a list of the first items, escaped, and how many there are beyond."""
    more = [f"and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [*(f"- {cell(item)}" for item in [*items[:SHOWN], *more]), *[""] * bool(items)]


def _locally(head: Revision, base: str) -> list[str]:
    commands = [
        "```sh",
        f"git checkout {head.name.partition(',')[0]} && make setup",
        ". .venv/bin/activate",
        "dvc pull || make repro           # its outputs, from the storage or built here",
        f"batchyield review report --base {base}    # this report",
        "make serve                       # the model over HTTP on 127.0.0.1:8000",
        "```",
    ]
    return details("Try it", [*commands, "", "How to read this: docs/review.md"])
