"""The data contract: checks all its rules on all rows of a file, and reports on the file in Markdown."""

from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, NamedTuple

import pandas as pd
import pandera.pandas as pa

from batchyield.errors import Violation
from batchyield.plant import cells
from batchyield.plant.batch import READINGS, TARGET, Reading
from batchyield.plant.contract_params import Bounds, ContractParams
from batchyield.plant.csv_reader import WARNING_KINDS
from batchyield.plant.raw_table import DirtyCell, RawTable, reading_of

EXAMPLES = 3
"""Cells that the report shows of each kind of warning."""


class ContractResult(NamedTuple):
    """Violations of the contract, and readings outside their usual bounds; both in file order."""

    violations: list[Violation]
    unusual: list[Violation]


def _unreadable(reading: Reading, column: "pd.Series[Any]") -> int:
    """Return how many cells of a column are missing or unreadable; each text is parsed once."""
    missing = int(column.isna().sum())
    if reading.kind == "number":
        return missing
    counts = column.value_counts(sort=False).items()
    return missing + sum(count for cell, count in counts if reading_of(reading, cell)[0] is None)


def _share(cells: int, column: "pd.Series[Any]", what: str, limit: float) -> pa.Check:
    """A check that at most a share `limit` of the column are such cells; the message has the share."""
    share = cells / max(len(column), 1)
    return pa.Check(lambda _: share <= limit, error=f"{share:.1%} {what}; at most {limit:.1%} may be", ignore_na=False)


def _within(bounds: Bounds) -> pa.Check:
    return pa.Check.in_range(*bounds, error=f"outside {bounds[0]:g}..{bounds[1]:g}")


def _column(reading: Reading, column: "pd.Series[Any]", params: ContractParams) -> pa.Column:
    limit = 1.0 if reading.name in params.mostly_blank else params.missing_limit
    checks = [_share(_unreadable(reading, column), column, "missing or unreadable", limit)]
    if reading.unit in params.possible:
        checks.append(_within(params.possible[reading.unit]))
    if reading.name in params.usual:
        low, high = params.usual[reading.name]
        outside = int(((column < low) | (column > high)).sum())
        checks.append(_share(outside, column, f"outside the usual {low:g}..{high:g}", params.unusual_limit))
    return pa.Column("float64" if reading.kind == "number" else "str", checks, nullable=True)


def _violations(schema: pa.DataFrameSchema, table: RawTable) -> list[Violation]:
    try:
        schema.validate(table.frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases.astype(object)
        order = {name: i for i, name in enumerate(schema.columns)}
        ids = table.frame["id"]
        repeated = ids[ids.duplicated(keep=False)].groupby(ids).groups
        rows = zip(cases["index"], cases["column"], cases["check"], cases["failure_case"], strict=True)
        found = (_violation(table, repeated, order, *row) for row in rows)
        return [violation for _, violation in sorted(found, key=lambda pair: pair[0])]
    return []


def _shown_name(column: str) -> str:
    return TARGET.word if column == "yield" else column


def _violation(
    table: RawTable,
    repeated: Mapping[Any, Iterable[int]],
    order: dict[str, int],
    index: Any,
    column: Any,
    check: str,
    case: Any,
) -> tuple[tuple[int, int, str], Violation]:
    """One of pandera's failure cases as a violation, with its place as sort key; `repeated` is id -> rows."""
    if check == "column_in_dataframe":
        return (-1, order[case], check), Violation(f"column {_shown_name(case)}", "missing")
    if column not in order:
        return (-1, -1, check), Violation("file", check)
    if pd.isna(index):
        return (-1, order[column], check), Violation(f"column {_shown_name(column)}", check)
    problem = {"not_nullable": "blank"}.get(check)
    if check == "field_uniqueness":
        others = f": {' and '.join(map(table.place, repeated[case]))}" if table.files else ""
        problem = f"{case} comes more than once{others}"
    where = f"{table.place(index)} ({table.frame['id'].iloc[index]}), column {_shown_name(column)}"
    shown = f"{case:g}" if isinstance(case, float) else f"'{case}'"
    percent = column == "yield" and isinstance(case, float) and case > 1 and TARGET.is_fraction
    hint = f"; {TARGET.with_article} is a fraction, not per cent" if percent else ""
    return (int(index), order[column], check), Violation(where, problem or f"{shown} is {check}{hint}")


def check_contract(table: RawTable, params: ContractParams) -> ContractResult:
    """Return all violations of the contract and all unusual readings of raw batches."""
    frame = table.frame
    named = pa.Check.str_matches(r"^\S+$", error="a name with blanks")
    too_few = f"{len(frame)} batches; at least {params.minimum_rows} are needed"
    hard = pa.DataFrameSchema(
        {"id": pa.Column("str", named, unique=True, report_duplicates="all")}
        | {reading.name: _column(reading, frame[reading.name], params) for reading in READINGS}
        | {"yield": pa.Column("float64", _within(params.yield_bounds))},
        checks=pa.Check(lambda rows: len(rows) >= params.minimum_rows, error=too_few),
        strict=True,
    )
    usual = {name: pa.Column("float64", _within(bounds), nullable=True) for name, bounds in params.usual.items()}
    return ContractResult(_violations(hard, table), _violations(pa.DataFrameSchema(usual), table))


def _shown(kind: str, value: Any) -> str:
    if kind == "number":
        return f"{value:g}"
    return "-".join(cells.format_time(m) for m in ([value] if kind == "clock" else value))


def _summary(reading: Reading, column: "pd.Series[Any]", dirty: list[DirtyCell]) -> str:
    counted: Counter[Any] = Counter()
    for cell, count in column.value_counts(sort=False).items():
        if (value := reading_of(reading, cell)[0]) is not None:
            counted[value] += count
    ends = ["", "", ""]
    if counted:
        typical = min(counted, key=lambda v: (-counted[v], v)) if reading.kind != "number" else float(column.median())
        ends = [_shown(reading.kind, value) for value in (min(counted), typical, max(counted))]
    unreadable = sum(not cell.readable for cell in dirty)
    missing = f"{(len(column) - counted.total()) / max(len(column), 1):.1%}"
    counts = [missing, unreadable, len(dirty) - unreadable, len(counted)]
    return "| " + " | ".join(map(str, [reading.name, reading.kind, *counts, *ends])) + " |"


def _columns(table: RawTable) -> list[str]:
    readings = [(reading, table.frame[reading.name]) for reading in READINGS]
    if "yield" in table.frame:
        target = Reading(TARGET.word, "number", "", "", "", None, None, False, None)
        readings.append((target, table.frame["yield"]))
    of = {r.name: [cell for cell in table.dirty if cell.warning.field == r.name] for r, _ in readings}
    heads = ["column", "kind", "missing", "unreadable", "repaired", "distinct", "least", "typical", "most"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---" + "|---:" * 7 + "|"]
    return lines + [_summary(reading, column, of[reading.name]) for reading, column in readings]


def _kinds(table: RawTable) -> list[str]:
    """Every kind of warning, most frequent first, with its first cells."""
    lines, dirty = [], table.dirty
    for kind, count in sorted(Counter(cell.warning.kind for cell in dirty).items(), key=lambda k: (-k[1], k[0])):
        lines.append(f"- **{kind}**: {count}, {(cells.WARNING_KINDS | WARNING_KINDS)[kind]}")
        for c in [cell for cell in dirty if cell.warning.kind == kind][:EXAMPLES]:
            shown = _plain(f"{c.warning.field}: {c.warning.message}")
            lines.append(f"  - {table.place(c.row)} ({_plain(str(c.id))}), {shown}")
    return lines


def _plain(text: str) -> str:
    """Text from outside, escaped so that it cannot become a tag."""
    return escape(text, quote=False)


def _section(title: str, text: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", text, "", *lines, ""] if lines else []


def render_report(result: ContractResult, table: RawTable) -> str:
    """Return the report in Markdown; equal data give equal bytes."""
    dirty = table.dirty
    broken, unreadable = len(result.violations), sum(not cell.readable for cell in dirty)
    unusual = [f"- {_plain(str(violation))}" for violation in result.unusual]
    rows = len({cell.row for cell in dirty})
    outcomes = f"{'with' if 'yield' in table.frame else 'without'} {TARGET.words}"
    encodings = ", ".join(table.encodings)
    lines = [
        "# The data contract is " + (f"broken in {broken} place{'s' * (broken > 1)}" if broken else "kept"),
        "",
        f"- batches: {len(table.frame)}, {outcomes}, {encodings}",
        *([f"- files: {len(table.files)}"] if table.files else []),
        *(f"- column {warning.field}: {warning.message}" for warning in table.columns),
        f"- cells not clean: {len(dirty)} in {rows} rows, {unreadable} of them unreadable",
        f"- readings outside their usual bounds: {len(result.unusual)}",
        "",
        *_section("Violations", "Each stops the pipeline.", [f"- {_plain(str(v))}" for v in result.violations]),
        *_section(
            "Columns",
            "Missing is blank or unreadable; typical is the median of numbers, the commonest of clocks and ranges.",
            _columns(table),
        ),
        *_section("Cells that were not clean", "What is made of each form: `docs/cells.md`.", _kinds(table)),
        *_section("Unusual readings", "Told, and left to the features to judge.", unusual),
    ]
    return "\n".join(lines)
