"""The features: name, unit, group and description of each column of the matrix, in order; and checks of the table."""

from collections import Counter
from typing import NamedTuple

from batchyield.errors import ConfigError
from batchyield.plant import table
from batchyield.plant.rows import FeatureRow
from batchyield.plant.table import GROUPS, INTERVAL_FLAGS, LINE_FEATURE, READINGS, REPAIRS, SLICES

TABLE = "src/batchyield/plant/table.py"


class Feature(NamedTuple):
    """A column of the feature matrix: a stable name, the unit ('' for pure numbers) and the key of `GROUPS`."""

    name: str
    unit: str
    group: str
    description: str


NUMBERS, CLOCKS, RANGES = (
    tuple(reading.name for reading in READINGS if reading.kind == kind) for kind in ("number", "clock", "range")
)
ROWS: tuple[FeatureRow, ...] = (*(FeatureRow("number", (n,), n, "readings") for n in NUMBERS), *table.FEATURES)
"""Number readings, features and intermediate quantities, in the order of the table."""

ARITY = {"ratio": 2, "difference": 2, "step": 2, "length": 1, "missing": 1, "clock": 1, "shift": 1, "id_number": 0}
ALLOWED: dict[str, tuple[str, ...]] = {
    "step": (*CLOCKS, *RANGES), "length": RANGES, "clock": (*CLOCKS, *RANGES), "shift": CLOCKS,
}  # fmt: skip
"""Kind of row -> readings that it can be computed from; the other kinds take every number, also other features."""


def check_table() -> None:
    """Check that each reading and each feature is declared once, and that all names which the rows use exist.

    Raises:
        ConfigError: names the table, the row and the problem.
    """
    problems: list[str] = []
    names, rows = [r.name for r in READINGS], [row.name for row in ROWS]
    for what, given in (("READINGS", names), ("REMOVED", [*names, *table.REMOVED]), ("FEATURES", rows)):
        problems += [f"{what}: {name} is named {n} times" for name, n in Counter(given).items() if n > 1]
    features = {row.name for row in ROWS if row.group}
    for row in ROWS:
        known = ALLOWED.get(row.kind, (*names, *rows))
        problems += [
            f"FEATURES: {row.name or row.kind} needs {name}, which is no {'reading or feature' if known else 'reading'}"
            f"{' of a kind that it can use' if name in names else ''}"
            for name in row.of
            if name not in known
        ]
        if len(row.of) != ARITY.get(row.kind, len(row.of)) or (row.kind.startswith("sum") and not row.of):
            problems.append(f"FEATURES: {row.name} cannot be computed from {len(row.of)} quantities")
        if row.group not in ("", *GROUPS):
            problems.append(f"FEATURES: {row.name} is in the group {row.group}, which GROUPS does not have")
    used = {name for row in ROWS for name in row.of}
    problems += [f"READINGS: no row of FEATURES uses {name}" for name in names if name not in used]
    problems += [
        f"FEATURES: no row uses {row.name}, which is no feature" for row in ROWS if row.name not in used | features
    ]
    if [row.kind for row in ROWS].count("id_number") != 1:
        problems.append("FEATURES: needs one row id_number, the order of the batches")
    uses = {"INTERVAL_FLAGS": INTERVAL_FLAGS, "LINE_FEATURE": (LINE_FEATURE,) if LINE_FEATURE else ()}
    for what, of in (uses | {f"SLICES: {part.name}": part.of for part in SLICES}).items():
        problems += [f"{what} needs {name}, which is no feature" for name in of if name not in features]
    problems += [f"REPAIRS needs {n}, which is no number" for rule in REPAIRS for n in rule.names if n not in NUMBERS]
    if problems:
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ConfigError(f"{TABLE}:\n  " + "\n  ".join(problems[:10]) + more, "correct the table")


check_table()

_READING = {r.name: r for r in READINGS}
_ROW = {row.name: row for row in ROWS}


def is_time(name: str) -> bool:
    """Return whether a quantity is a time in whole minutes, so that its sums are exact in any order."""
    row = _ROW.get(name)
    if row is None:
        return _READING[name].kind != "number"
    if row.kind in ("step", "length", "clock", "shift"):
        return True
    return row.kind in ("difference", "sum", "sum_of_known") and all(map(is_time, row.of))


def unit_of(name: str) -> str:
    """Return the unit of a reading or feature."""
    row = _ROW.get(name)
    if is_time(name):
        return "min"
    if row is None or row.kind == "number":
        return _READING[name].unit
    return unit_of(row.of[0]) if row.kind in ("difference", "sum", "sum_of_known") else ""


def meaning_of(name: str) -> str:
    """Return what a reading or feature is."""
    row = _ROW.get(name)
    if row is None or row.kind == "number":
        return _READING[name].meaning
    of = [meaning_of(part) for part in row.of] if not row.meaning else []
    match row.kind:
        case _ if row.meaning:
            return row.meaning
        case "ratio":
            return f"{of[0]}, per {of[1]}"
        case "difference":
            return f"{of[0]} less {of[1]}"
        case "step":
            return f"from {of[0]} to {of[1]}"
        case "length":
            return f"{of[0]}: how long"
        case "missing":
            return f"{of[0]}: blank"
        case "clock":
            return f"{of[0]}: time of day"
        case _:
            return f"sum of {', '.join(row.of)}"


FEATURES: tuple[Feature, ...] = tuple(
    Feature(row.name, unit_of(row.name), row.group, meaning_of(row.name)) for row in ROWS if row.group
)
INDEX: dict[str, int] = {feature.name: i for i, feature in enumerate(FEATURES)}
STEPS: tuple[tuple[str, str], ...] = tuple((row.of[0], row.of[1]) for row in ROWS if row.kind == "step")
LINE_COLUMN: int | None = None if LINE_FEATURE is None else INDEX[LINE_FEATURE]
FLAG_COLUMNS: tuple[int, ...] = tuple(INDEX[name] for name in INTERVAL_FLAGS)
