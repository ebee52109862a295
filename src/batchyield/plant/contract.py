"""The data contract: checks all its rules on all rows of a file, and reports on the file in Markdown."""

from collections import Counter
from collections.abc import Callable
from html import escape
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
import pandera.pandas as pa

from batchyield.errors import Violation
from batchyield.plant import cells
from batchyield.plant.batch import READING_NAMES, READINGS, TARGET, CellWarning, Reading
from batchyield.plant.contract_params import Bounds, ContractParams
from batchyield.plant.csv_reader import WARNING_KINDS, Sheet

EXAMPLES = 3
"""Cells that the report shows of each kind of warning."""


class ContractResult(NamedTuple):
    """Violations of the contract, and readings outside their usual bounds; both in file order."""

    violations: list[Violation]
    unusual: list[Violation]


def to_frame(sheet: Sheet) -> pd.DataFrame:
    """Return one row per batch: `id` and texts as strings, numbers and `yield` (if the file has it) as float64."""
    columns: dict[str, pd.Series[Any]] = {"id": pd.Series(sheet.names(), dtype="str")} | {
        r.name: pd.Series([getattr(b, r.name) for b in sheet.batches], dtype="float64" if r.kind == "number" else "str")
        for r in READINGS
    }
    if sheet.yields is not None:
        columns["yield"] = pd.Series(sheet.yields, dtype="float64")
    return pd.DataFrame(columns)


def reading_of(reading: Reading, cell: Any) -> tuple[Any, tuple[str, str] | None]:
    """Return a cell as a sortable value (number, minutes, pair of minutes or None), and the warning of its text."""
    if cell is None or cell != cell or reading.kind == "number":
        return (None if cell != cell else cell), None
    if reading.kind == "clock":
        return cells.parse_clock(cell)
    span = cells.parse_range(cell)
    return (None if span.start is None else span[:2]), span.warning


def _share(column: "pd.Series[Any]", what: str, limit: float, holds: Callable[[Any], bool]) -> pa.Check:
    """A check that `holds` for at most a share `limit` of the cells; the message has the share."""

    def share(cells: "pd.Series[Any]") -> float:
        return sum(map(holds, cells)) / max(len(cells), 1)

    message = f"{share(column):.1%} {what}; at most {limit:.1%} may be"
    return pa.Check(lambda cells: share(cells) <= limit, error=message, ignore_na=False)


def _within(bounds: Bounds) -> pa.Check:
    return pa.Check.in_range(*bounds, error=f"outside {bounds[0]:g}..{bounds[1]:g}")


def _column(reading: Reading, cells: "pd.Series[Any]", params: ContractParams) -> pa.Column:
    limit = 1.0 if reading.name in params.mostly_blank else params.missing_limit
    checks = [_share(cells, "missing or unreadable", limit, lambda cell: reading_of(reading, cell)[0] is None)]
    if reading.unit in params.possible:
        checks.append(_within(params.possible[reading.unit]))
    if reading.name in params.usual:
        low, high = params.usual[reading.name]
        what = f"outside the usual {low:g}..{high:g}"
        checks.append(_share(cells, what, params.unusual_limit, lambda cell: cell < low or cell > high))
    return pa.Column("float64" if reading.kind == "number" else "str", checks, nullable=True)


def _violations(schema: pa.DataFrameSchema, table: pd.DataFrame) -> list[Violation]:
    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases.astype(object)
        order = {name: i for i, name in enumerate(schema.columns)}
        rows = zip(cases["index"], cases["column"], cases["check"], cases["failure_case"], strict=True)
        return [v for _, v in sorted((_violation(table, order, *row) for row in rows), key=lambda pair: pair[0])]
    return []


def _shown_name(column: str) -> str:
    return TARGET.word if column == "yield" else column


def _violation(
    table: pd.DataFrame, order: dict[str, int], index: Any, column: Any, check: str, case: Any
) -> tuple[tuple[int, int, str], Violation]:
    """One of pandera's failure cases as a violation, with its place in the file as sort key."""
    if check == "column_in_dataframe":
        return (-1, order[case], check), Violation(f"column {_shown_name(case)}", "missing")
    if column not in order:
        return (-1, -1, check), Violation("file", check)
    if pd.isna(index):
        return (-1, order[column], check), Violation(f"column {_shown_name(column)}", check)
    problem = {"not_nullable": "blank", "field_uniqueness": f"{case} comes more than once"}.get(check)
    where = f"line {index + 2} ({table['id'].iloc[index]}), column {_shown_name(column)}"
    shown = f"{case:g}" if isinstance(case, float) else f"'{case}'"
    percent = column == "yield" and isinstance(case, float) and case > 1 and TARGET.is_fraction
    hint = f"; {TARGET.with_article} is a fraction, not per cent" if percent else ""
    return (int(index), order[column], check), Violation(where, problem or f"{shown} is {check}{hint}")


def check_contract(sheet: Sheet, params: ContractParams) -> ContractResult:
    """Return all violations of the contract and all unusual readings of a file."""
    table = to_frame(sheet)
    named = pa.Check.str_matches(r"^\S+$", error="a name with blanks")
    too_few = f"{len(table)} batches; at least {params.minimum_rows} are needed"
    hard = pa.DataFrameSchema(
        {"id": pa.Column("str", named, unique=True, report_duplicates="all")}
        | {reading.name: _column(reading, table[reading.name], params) for reading in READINGS}
        | {"yield": pa.Column("float64", _within(params.yield_bounds))},
        checks=pa.Check(lambda rows: len(rows) >= params.minimum_rows, error=too_few),
        strict=True,
    )
    usual = {name: pa.Column("float64", _within(bounds), nullable=True) for name, bounds in params.usual.items()}
    return ContractResult(_violations(hard, table), _violations(pa.DataFrameSchema(usual), table))


class DirtyCell(NamedTuple):
    """A cell that was not clean; `readable` if it still has a value."""

    line: int
    id: str | None
    warning: CellWarning
    readable: bool


def dirty_cells(sheet: Sheet) -> list[DirtyCell]:
    """Return the cells of a file that were repaired or could not be read, in its order."""
    cells = []
    rows = zip(sheet.batches, sheet.names(), sheet.warnings, strict=True)
    for line, (batch, name, warnings) in enumerate(rows, 2):
        texts = [(r.name, reading_of(r, getattr(batch, r.name))[1]) for r in READINGS if r.kind != "number"]
        for warned in (*warnings, *(CellWarning(name, *warning) for name, warning in texts if warning)):
            reading = READINGS[READING_NAMES.index(warned.field)]
            readable = reading_of(reading, getattr(batch, warned.field))[0] is not None
            cells.append(DirtyCell(line, name, warned, readable))
    return cells


def _shown(kind: str, value: Any) -> str:
    if kind == "number":
        return f"{value:g}"
    return "-".join(cells.format_time(m) for m in ([value] if kind == "clock" else value))


def _summary(reading: Reading, cells: list[Any], dirty: list[DirtyCell]) -> str:
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


def _columns(sheet: Sheet, dirty: list[DirtyCell]) -> list[str]:
    readings = [(r, [getattr(batch, r.name) for batch in sheet.batches]) for r in READINGS]
    if sheet.yields is not None:
        readings.append((Reading(TARGET.word, "number", "", "", "", None, None, False, None), list(sheet.yields)))
    of = {r.name: [cell for cell in dirty if cell.warning.field == r.name] for r, _ in readings}
    heads = ["column", "kind", "missing", "unreadable", "repaired", "distinct", "least", "typical", "most"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---" + "|---:" * 7 + "|"]
    return lines + [_summary(reading, cells, of[reading.name]) for reading, cells in readings]


def _kinds(dirty: list[DirtyCell]) -> list[str]:
    """Every kind of warning, most frequent first, with its first cells."""
    lines = []
    for kind, count in sorted(Counter(cell.warning.kind for cell in dirty).items(), key=lambda k: (-k[1], k[0])):
        lines.append(f"- **{kind}**: {count}, {(cells.WARNING_KINDS | WARNING_KINDS)[kind]}")
        for c in [cell for cell in dirty if cell.warning.kind == kind][:EXAMPLES]:
            shown = _plain(f"{c.warning.field}: {c.warning.message}")
            lines.append(f"  - line {c.line} ({_plain(str(c.id))}), {shown}")
    return lines


def _plain(text: str) -> str:
    """Text from outside, escaped so that it cannot become a tag."""
    return escape(text, quote=False)


def _section(title: str, text: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", text, "", *lines, ""] if lines else []


def render_report(result: ContractResult, sheet: Sheet) -> str:
    """Return the report in Markdown; equal data give equal bytes."""
    dirty = dirty_cells(sheet)
    broken, unreadable = len(result.violations), sum(not cell.readable for cell in dirty)
    unusual = [f"- {_plain(str(violation))}" for violation in result.unusual]
    rows = len({cell.line for cell in dirty})
    outcomes = f"{'without' if sheet.yields is None else 'with'} {TARGET.words}"
    lines = [
        "# The data contract is " + (f"broken in {broken} place{'s' * (broken > 1)}" if broken else "kept"),
        "",
        f"- batches: {len(sheet.batches)}, {outcomes}, {sheet.encoding}",
        *(f"- column {warning.field}: {warning.message}" for warning in sheet.columns),
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
