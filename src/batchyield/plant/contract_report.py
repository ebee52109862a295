"""Markdown report on a file: result of the contract, columns, dirty cells and unusual readings."""

from collections import Counter
from html import escape
from statistics import median
from typing import Any, NamedTuple

from batchyield.plant import cells
from batchyield.plant.batch import READING_NAMES, READINGS, CellWarning, Reading
from batchyield.plant.contract import ContractResult, reading_of
from batchyield.plant.csv_reader import WARNING_KINDS, Sheet

EXAMPLES = 3


class _Cell(NamedTuple):
    """A cell that was not clean; `readable` if it still has a value."""

    line: int
    id: str | None
    warning: CellWarning
    readable: bool


def _dirty(sheet: Sheet) -> list[_Cell]:
    cells = []
    for line, (batch, warnings) in enumerate(zip(sheet.batches, sheet.warnings, strict=True), 2):
        texts = [(r.name, reading_of(r, getattr(batch, r.name))[1]) for r in READINGS if r.kind != "number"]
        for warned in (*warnings, *(CellWarning(name, *warning) for name, warning in texts if warning)):
            reading = READINGS[READING_NAMES.index(warned.field)]
            readable = reading_of(reading, getattr(batch, warned.field))[0] is not None
            cells.append(_Cell(line, batch.id, warned, readable))
    return cells


def _shown(kind: str, value: Any) -> str:
    if kind == "number":
        return f"{value:g}"
    return "-".join(cells.format_time(m) for m in ([value] if kind == "clock" else value))


def _summary(reading: Reading, cells: list[Any], dirty: list[_Cell]) -> str:
    values = sorted(value for cell in cells if (value := reading_of(reading, cell)[0]) is not None)
    ends = ["", "", ""]
    if values:
        counted = Counter(values)
        typical = median(values) if reading.kind == "number" else min(counted, key=lambda v: (-counted[v], v))
        ends = [_shown(reading.kind, value) for value in (values[0], typical, values[-1])]
    unreadable = sum(not cell.readable for cell in dirty)
    missing = f"{(len(cells) - len(values)) / max(len(cells), 1):.1%}"
    counts = [missing, unreadable, len(dirty) - unreadable, len(set(values))]
    return "| " + " | ".join(map(str, [reading.name, reading.kind, *counts, *ends])) + " |"


def _columns(sheet: Sheet, dirty: list[_Cell]) -> list[str]:
    readings = [(r, [getattr(batch, r.name) for batch in sheet.batches]) for r in READINGS]
    if sheet.yields is not None:
        readings.append((Reading("yield", "number", "", ""), list(sheet.yields)))
    of = {r.name: [cell for cell in dirty if cell.warning.field == r.name] for r, _ in readings}
    heads = ["column", "kind", "missing", "unreadable", "repaired", "distinct", "least", "typical", "most"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---" + "|---:" * 7 + "|"]
    return lines + [_summary(reading, cells, of[reading.name]) for reading, cells in readings]


def _kinds(dirty: list[_Cell]) -> list[str]:
    """Every kind of warning, most frequent first, with its first cells."""
    lines = []
    for kind, count in sorted(Counter(cell.warning.kind for cell in dirty).items(), key=lambda k: (-k[1], k[0])):
        lines.append(f"- **{kind}**: {count}, {(cells.WARNING_KINDS | WARNING_KINDS)[kind]}")
        examples = [cell for cell in dirty if cell.warning.kind == kind][:EXAMPLES]
        lines += [
            f"  - line {c.line} ({_plain(str(c.id))}), {_plain(f'{c.warning.field}: {c.warning.message}')}"
            for c in examples
        ]
    return lines


def _plain(text: str) -> str:
    """Text from outside, escaped so that it cannot become a tag."""
    return escape(text, quote=False)


def _section(title: str, text: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", text, "", *lines, ""] if lines else []


def render_report(result: ContractResult, sheet: Sheet) -> str:
    """Return the report in Markdown; equal data give equal bytes."""
    dirty = _dirty(sheet)
    broken, unreadable = len(result.violations), sum(not cell.readable for cell in dirty)
    unusual = [f"- {_plain(str(violation))}" for violation in result.unusual]
    rows = len({cell.line for cell in dirty})
    lines = [
        "# The data contract is " + (f"broken in {broken} place{'s' * (broken > 1)}" if broken else "kept"),
        "",
        f"- batches: {len(sheet.batches)}, {'without' if sheet.yields is None else 'with'} yields, {sheet.encoding}",
        f"- cells not clean: {len(dirty)} in {rows} rows, {unreadable} of them unreadable",
        f"- readings outside their usual bounds: {len(result.unusual)}",
        "",
        *_section("Violations", "Each stops the pipeline.", [f"- {_plain(str(v))}" for v in result.violations]),
        *_section(
            "Columns",
            "Missing is blank or unreadable; typical is the median of numbers, the commonest of clocks and ranges.",
            _columns(sheet, dirty),
        ),
        *_section("Cells that were not clean", "What is made of each form: `docs/cells.md`.", _kinds(dirty)),
        *_section("Unusual readings", "Told, and left to the features to judge.", unusual),
    ]
    return "\n".join(lines)
