"""Sections on inputs that differ: params, code and environment by dvc.lock, and the raw data."""

from collections.abc import Iterator

import yaml

from batchyield.errors import BatchyieldError
from batchyield.plant.table import TARGET
from batchyield.review.report.attachments import Rebuild
from batchyield.review.report.markdown import cell, code, details, number, table
from batchyield.review.revision import Revision
from batchyield.versioning.dataset_diff import YIELD, DatasetDiff, diff_datasets
from batchyield.versioning.lock_diff import changed_inputs, compare_outputs, flatten
from batchyield.versioning.storage import raw_folder

SHOWN = 12


def params(base: Revision, head: Revision) -> list[str]:
    """Return the table of params that differ; nothing if none does.

    Another kind (`model.kind`) is one row: its settings, which the other kind has not, are in a fold.
    """
    before, after = (flatten(yaml.safe_load(side.text("params.yaml"))) for side in (base, head))
    changed = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    kinds = [key for key in changed if key.rpartition(".")[2] == "kind" and key in before and key in after]
    owners = tuple(key.removesuffix("kind") for key in kinds)
    own, settings = list[list[str]](), list[list[str]]()
    for key in changed:
        row = [code(key), *(code(values[key]) if key in values else "–" for values in (before, after))]
        (settings if key not in kinds and key.startswith(owners) else own).append(row)
    if not changed:
        return []
    header = ("param", "base", "head")
    fold = details(f"{len(settings)} settings of the kinds", table(header, settings)) if settings else []
    return ["### Params", "", *table(header, own), *fold]


def changed(base: Revision, head: Revision, rebuild: Rebuild) -> list[str]:
    """Return the code, the environment and the outputs that differ, each list in a fold; nothing if none does."""
    found = [cause for cause in changed_inputs(base.lock, head.lock) if cause.kind not in ("params", "data")]
    listed = [f"- {cause.kind}: {code(cause.what)}, first read by {cell(cause.stage)}" for cause in found]
    lines = details(f"Code and environment: {len(found)} inputs changed", listed) if found else []
    outputs = compare_outputs(base.lock, head.lock)
    rows = [
        [code(row.path), code((row.committed or "–")[:8]), code((row.rebuilt or "–")[:8])]
        for row in outputs
        if not row.same
    ]
    tables = table(("output", "base", "head"), rows) if rows else []
    if rebuild.rows:
        tables += ["Rebuilt:", "", *table(("stage", "output", "", "md5", "how far"), rebuild.rows)]
    return lines + details(f"Outputs: {len(rows)} of {len(outputs)} changed", tables)


def data(base: Revision, head: Revision) -> list[str]:
    """Return the comparison of the raw data: rows, columns and drift; nothing if they are the same."""
    before, after = base.raw_pin(), head.raw_pin()
    if before.md5 == after.md5:
        return []
    lines = ["### Data", "", f"Raw data {code(before.md5)} → {code(after.md5)}.", ""]
    try:
        if before.is_folder and after.is_folder:
            members = [raw_folder.read_members(head.root, pin.md5) for pin in (before, after)]
            lines += [f"Files: {cell(raw_folder.diff_files(*members).describe())}.", ""]
        return lines + list(_data_diff(diff_datasets(base.read_raw(), head.read_raw())))
    except BatchyieldError as error:
        return [*lines, f"They cannot be compared: {cell(error)}", ""]


def _data_diff(made: DatasetDiff) -> Iterator[str]:
    mean = next(shift.mean for shift in made.shifts if shift.reading == YIELD)
    rows = [
        ["rows", *map(str, made.batches)],
        ["rows added", "", str(len(made.added))],
        ["rows removed", str(len(made.removed)), ""],
        ["rows with the same id, other cells", "", str(len(made.changed))],
        [f"mean {TARGET.word}", *map(_number, mean)],
        ["cells not clean", *map(str, made.dirty)],
        ["of them unreadable", *map(str, made.unreadable)],
    ]
    yield from table(("raw data", "base", "head"), rows, "<>>")
    yield f"Schema: {cell(made.describe_columns())}; {len(made.columns[0])} → {len(made.columns[1])}."
    yield ""
    shift = made.drift
    which = f"the {shift.batches} added rows" if made.of_added else f"all {shift.batches} rows"
    moved = f"{len(shift.drifted)} of {len(shift.readings)} readings have" if shift.drifted else "no reading has"
    yield f"Drift of {which} against the base: {moved} moved."
    yield ""
    by_name = {each.reading: each for each in shift.readings}
    rows = [
        [each.reading, *map(_number, (each.psi, each.ks, each.moved, each.blank_trained, each.blank))]
        for each in (by_name[name] for name in shift.drifted[:SHOWN])
    ]
    if rows:
        header = ("reading", "PSI", "KS", "moved by, in standard deviations", "blank base", "blank head")
        yield from table(header, rows, "<>>>>>")


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)
