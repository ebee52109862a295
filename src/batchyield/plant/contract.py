"""Checks all rules of the data contract on all rows of a file; `contract_report` describes the file."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import pandera.pandas as pa

from batchyield.errors import Violation
from batchyield.plant.batch import READINGS, Reading
from batchyield.plant.cells import parse_clock, parse_range
from batchyield.plant.contract_params import Bounds, ContractParams
from batchyield.plant.csv_reader import Sheet


class ContractResult(NamedTuple):
    """Violations of the contract, and readings outside their usual bounds; both in file order."""

    violations: list[Violation]
    unusual: list[Violation]


def to_frame(sheet: Sheet) -> pd.DataFrame:
    """Return one row per batch: `id` and texts as strings, numbers and `yield` (if the file has it) as float64."""
    kinds = {"id": "id"} | {r.name: r.kind for r in READINGS}
    columns = {
        name: pd.Series([getattr(b, name) for b in sheet.batches], dtype="float64" if kind == "number" else "str")
        for name, kind in kinds.items()
    }
    if sheet.yields is not None:
        columns["yield"] = pd.Series(sheet.yields, dtype="float64")
    return pd.DataFrame(columns)


def reading_of(reading: Reading, cell: Any) -> tuple[Any, tuple[str, str] | None]:
    """Return a cell as a sortable value (number, minutes, pair of minutes or None), and the warning of its text."""
    if cell is None or cell != cell or reading.kind == "number":
        return (None if cell != cell else cell), None
    if reading.kind == "clock":
        return parse_clock(cell)
    span = parse_range(cell)
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


def _violation(
    table: pd.DataFrame, order: dict[str, int], index: Any, column: Any, check: str, case: Any
) -> tuple[tuple[int, int, str], Violation]:
    """One of pandera's failure cases as a violation, with its place in the file as sort key."""
    if check == "column_in_dataframe":
        return (-1, order[case], check), Violation(f"column {case}", "missing")
    if column not in order:
        return (-1, -1, check), Violation("file", check)
    if pd.isna(index):
        return (-1, order[column], check), Violation(f"column {column}", check)
    problem = {"not_nullable": "blank", "field_uniqueness": f"{case} comes more than once"}.get(check)
    where = f"line {index + 2} ({table['id'].iloc[index]}), column {column}"
    shown = f"{case:g}" if isinstance(case, float) else f"'{case}'"
    return (int(index), order[column], check), Violation(where, problem or f"{shown} is {check}")


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
