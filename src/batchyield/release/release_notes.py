"""Release notes as Markdown: the pin, the metrics, and the changes since the previous version."""

import math
from pathlib import Path

from batchyield.modelling.metrics import BETTER
from batchyield.release.model_card import METRICS, UNMEASURED, pin_table, read_metrics
from batchyield.review.gate import UNITS, in_unit
from batchyield.review.report.markdown import table
from batchyield.serving.lockfile import DvcLock
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import changed_inputs
from batchyield.versioning.provenance.lineage import read_raw_object
from batchyield.versioning.registry import NAME, Release, read_registry
from batchyield.versioning.revisions import read_lock_at

OUTPUTS = "data/model/"
MAX_LISTED = 20


def render_notes(release: Release, root: Path = Path()) -> str:
    """Return the notes of a release; the same tags give the same text."""
    before = next((item for item in read_registry(root).releases if item.order < release.order), None)
    lock, raw = read_lock_at(release.revision, root), read_raw_object(release.revision, root)
    lines = [
        f"# {NAME} {release.version}",
        "",
        f"{release.date[:10]}, commit `{release.revision}`, {f'after {before.version}' if before else 'the first'}.",
        "",
        f"`pip install batchyield-model=={release.version}`",
        "",
        "## Pin",
        "",
        *pin_table(model_files(lock), raw.md5 if raw else ""),
        "## Measured",
        "",
        *_figures(release, before, root),
        "## Changed",
        "",
        *(_changes(read_lock_at(before.revision, root), lock) if before else ["There is no version before."]),
        "",
        "## Commits",
        "",
        *_commits(release, before, root),
    ]
    return "\n".join(lines) + "\n"


def model_files(lock: DvcLock) -> dict[str, str]:
    """Return the md5 of each file of the model that a lock pins, by its name."""
    return {path.removeprefix(OUTPUTS): md5 for path, (_, md5) in lock.outs().items() if path.startswith(OUTPUTS)}


def _figures(release: Release, before: Release | None, root: Path) -> list[str]:
    now = read_metrics(release.revision, root)
    was = read_metrics(before.revision, root) if before else {}
    if not now:
        return [UNMEASURED, ""]
    rows = []
    for file, figures in now.items():
        for name, value in sorted(figures.items()):
            old = was.get(file, {}).get(name)
            change = "" if old is None else "none" if old == value else in_unit(name, value - old, "+")
            unit = UNITS.get(name, (1, ""))[1]
            shown = "" if old is None else in_unit(name, old)
            rows.append((METRICS[file], name, unit, shown, in_unit(name, value), change, _direction(name, old, value)))
    lines = table(("", "figure", "unit", "before", "now", "change", ""), rows, "<<<>>><")
    return [*lines, "Whether a change is more than noise is in the report on its pull request.", ""] if was else lines


def _direction(name: str, old: float | None, new: float) -> str:
    if old is None or old == new or name not in BETTER or math.isnan(new - old):
        return ""
    return "better" if (new < old) == (BETTER[name] == "lower") else "worse"


def _changes(was: DvcLock, now: DvcLock) -> list[str]:
    changes = changed_inputs(was, now)
    lines = [
        f"- {change.kind}: {change.what}, {change.change.replace(' in the lock, ', ' before, ')}"
        for change in changes
        if change.kind != "code"
    ]
    if code := [change.what for change in changes if change.kind == "code"]:
        more = f" and {len(code) - MAX_LISTED} more" if len(code) > MAX_LISTED else ""
        lines.append(f"- code: {', '.join(code[:MAX_LISTED])}{more}")
    return lines or ["The same data, code and params as before."]


def _commits(release: Release, before: Release | None, root: Path) -> list[str]:
    span = [f"{before.revision}..{release.revision}"] if before else [release.revision]
    listed = git("log", "--format=- `%h` %s", "--abbrev=12", *span, cwd=root).splitlines()
    more = [f"- and {len(listed) - MAX_LISTED} more"] if len(listed) > MAX_LISTED else []
    return (listed[:MAX_LISTED] or ["- none: an earlier commit was released"]) + more
