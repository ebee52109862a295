"""What went in otherwise: params, code and environment by the locks, and the raw data laid side by side."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import yaml

from batchyield.batch import ID_COLUMN, NAMES, YIELD_COLUMN
from batchyield.drift import reference
from batchyield.errors import BatchyieldError
from batchyield.features import FEATURES, INDEX, featurize
from batchyield.pins import raw
from batchyield.pins.causes import causes, flat
from batchyield.pins.compare import compare
from batchyield.pins.report.markdown import cell, code, details, number, table
from batchyield.pins.review import Review
from batchyield.sheet import Sheet, read_sheet
from batchyield.window import ENOUGH, Shift
from batchyield.window import compare as lay

SHOWN = 12


def params(review: Review) -> list[str]:
    """Every param that differs, with both values."""
    before, after = (flat(yaml.safe_load(side.text("params.yaml"))) for side in (review.base, review.head))
    rows = [
        [code(key), _value(before, key), _value(after, key)]
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]
    return ["### Params", "", *(table(("param", "base", "head"), rows) if rows else ["None changed.", ""])]


def _value(values: dict[str, Any], key: str) -> str:
    return code(values[key]) if key in values else "–"


def inputs(review: Review) -> list[str]:
    """Code, commands and environment that differ, and the outputs that came of it."""
    found = [cause for cause in causes(review.base.lock, review.head.lock) if cause.kind not in ("params", "data")]
    rows = compare(review.base.lock, review.head.lock)
    changed = [
        [code(row.path), code((row.committed or "–")[:8]), code((row.rebuilt or "–")[:8])]
        for row in rows
        if not row.same
    ]
    listed = [f"- {cause.kind}: {code(cause.what)}, first read by {cell(cause.stage)}" for cause in found]
    return [
        *details(f"Code and environment: {len(found)} inputs changed", listed),
        *details(f"Outputs: {len(changed)} of {len(rows)} are other bytes", table(("output", "base", "head"), changed)),
    ]


def data(review: Review) -> list[str]:
    """The raw data of both pins: rows, columns and drift."""
    path = raw.DATA.as_posix()
    pins = [side.md5(path) for side in (review.base, review.head)]
    if pins[0] == pins[1]:
        return ["### Data", "", f"The same raw data in both, md5 {code(pins[1])}.", ""]
    lines = ["### Data", "", f"Raw data {code(pins[0])} → {code(pins[1])}.", ""]
    try:
        base, head = review.base.read(path), review.head.read(path)
        return lines + list(_laid(read_sheet(base), read_sheet(head), _columns(base), _columns(head)))
    except BatchyieldError as error:
        return [*lines, f"They cannot be laid side by side: {cell(error)}", ""]


def _columns(data: bytes) -> list[str]:
    header = data.split(b"\n", 1)[0]
    known = (ID_COLUMN, *NAMES, YIELD_COLUMN)
    words = [word.strip().strip('"') for word in header.decode("gb18030", "replace").strip().split(",")]
    return [word if word in known else f"{word} (unknown)" for word in words]


def _laid(base: Sheet, head: Sheet, columns: list[str], columns_now: list[str]) -> Iterator[str]:
    before = {batch.id: (batch, y) for batch, y in zip(base.batches, _yields(base), strict=True)}
    after = {batch.id: (batch, y) for batch, y in zip(head.batches, _yields(head), strict=True)}
    added, gone = [key for key in after if key not in before], [key for key in before if key not in after]
    changed = [key for key in after if key in before and after[key] != before[key]]
    rows = [
        ["rows", str(len(before)), str(len(after))],
        ["rows added", "", str(len(added))],
        ["rows removed", str(len(gone)), ""],
        ["rows with the same id, other cells", "", str(len(changed))],
        ["mean yield", _mean(base), _mean(head)],
        ["cells repaired or taken as missing", _warned(base), _warned(head)],
    ]
    yield from table(("raw data", "base", "head"), rows, "<>>")
    if columns == columns_now:
        yield f"The columns are the same {len(columns)}, in the same order."
    else:
        yield f"Columns: {cell(', '.join(columns))} → {cell(', '.join(columns_now))}."
    yield ""
    only_new = len(added) >= ENOUGH
    shift = _drift(base, head, set(added) if only_new else None)
    which = f"the {shift.batches} added rows" if only_new else f"all {shift.batches} rows"
    if not shift.drifted:
        yield f"Drift of {which} against the base: no reading has moved."
        yield ""
        return
    yield f"Drift of {which} against the base: {len(shift.drifted)} of {len(shift.readings)} readings have moved."
    yield ""
    by_name = {each.reading: each for each in shift.readings}
    drifted = [by_name[name] for name in shift.drifted[:SHOWN]]
    yield from table(
        ("reading", "PSI", "KS", "moved by, in standard deviations", "blank base", "blank head"),
        [
            [each.reading, *(_told(n) for n in (each.psi, each.ks, each.moved, each.blank_trained, each.blank))]
            for each in drifted
        ],
        "<>>>>>",
    )


def _drift(base: Sheet, head: Sheet, only: set[str | None] | None) -> Shift:
    names = [feature.name for feature in FEATURES]
    values = featurize(base.batches).values
    blank = {name: sum(getattr(batch, name) is None for batch in base.batches) / len(base.batches) for name in NAMES}
    profile = reference(names, values, np.array(_yields(base)), blank, values[:, INDEX["id_number"]])
    kept = [i for i, batch in enumerate(head.batches) if only is None or batch.id in only]
    window = [head.batches[i] for i in kept]
    return lay(profile, window, featurize(window).values, np.array(_yields(head))[kept])


def _yields(sheet: Sheet) -> list[float]:
    return [float("nan") if y is None else y for y in sheet.yields or [None] * len(sheet.batches)]


def _mean(sheet: Sheet) -> str:
    known = [y for y in sheet.yields or () if y is not None]
    return number(sum(known) / len(known)) if known else "–"


def _warned(sheet: Sheet) -> str:
    return str(sum(map(len, sheet.warnings)))


def _told(value: float | None) -> str:
    return "–" if value is None else number(value)
