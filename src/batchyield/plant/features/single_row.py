"""Computes the features of a single batch in plain Python: a function that is compiled from the rows of the table.

NumPy takes some 40 calls for the features, whose fixed costs are most of the time of a request that comes alone. The
function returns the same bits and warnings in a third of the time, but repairs no numbers: it returns None for a batch
that needs that.
"""

import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from batchyield.errors import ConfigError
from batchyield.plant.batch import Batch
from batchyield.plant.cells import DAY_MINUTES
from batchyield.plant.features.catalogue import CLOCKS, FEATURES, NUMBERS, RANGES, ROWS, TABLE
from batchyield.plant.features.columns import (
    CACHED_CELLS,
    CELL_NAMES,
    TEXTS,
    Counts,
    Problem,
    id_number,
    read_clock,
    read_range,
)
from batchyield.plant.features.matrix import long_step_warning
from batchyield.plant.features.plausibility import NAN, PLAUSIBLE
from batchyield.plant.rows import CellWarning, FeatureRow
from batchyield.plant.table import LEAST_DIVISOR, MAX_READING, MAX_STEP_MINUTES, REPAIRS

Values = tuple[float, float, float, Problem | None]
"""Start, end and a third value of a clock or a range, as the matrix has them, and the problem of the cell."""

Made = tuple[bytearray, bytes, list[CellWarning]]

_FIELDS = msgspec.structs.fields(Batch)


class _Cells(dict[str | None, Values]):
    """Cache of the values of cells."""

    def __init__(self, read: Callable[[str], Values]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, cell: str | None) -> Values:
        if len(self) >= CACHED_CELLS:
            self.clear()
        made = self[cell] = self._read(cell or "")
        return made


_NUMBER_OF: dict[str, int] = {name: i for i, name in enumerate(("id", *CELL_NAMES, *(row.name for row in ROWS)))}


def _cell(name: str) -> str:
    """Return the variable of a reading as it was sent; names of columns need not be identifiers."""
    return f"cell_{_NUMBER_OF[name]}"


def _value(name: str) -> str:
    """Return the variable of a number, of a clock, of the start of a range, or of a feature."""
    return f"value_{_NUMBER_OF[name]}"


def _end(name: str) -> str:
    return f"end_{_NUMBER_OF[name]}" if name in RANGES else _value(name)


def _third(name: str) -> str:
    return f"third_{_NUMBER_OF[name]}"


def _expression(row: FeatureRow) -> str:
    """Return the computation of a row."""
    of = [_value(name) for name in row.of]
    match row.kind:
        case "ratio":
            return f"{of[0]} / {of[1]} if {of[1]} >= {LEAST_DIVISOR!r} else nan"
        case "difference":
            return f"{of[0]} - {of[1]}"
        case "step":
            return f"{of[1]} - {_end(row.of[0])}"
        case "sum":
            return " + ".join(of)
        case "sum_of_known":
            return " + ".join(f"({term} if {term} > 0 else 0.0)" for term in of)
        case "missing":
            return f"1.0 if {of[0]} != {of[0]} else 0.0"
        case "length" | "shift":
            return _third(row.of[0])
        case "clock":
            return of[0]
        case "id_number":
            return f"id_number({_cell('id')})"
    raise ConfigError(f"{TABLE}: {row.name} is of the kind {row.kind}", "compute it here, as in `matrix`")


def _source() -> str:
    """Return the source of a function of a batch's fields: the features as bytes, and whether each cell is blank."""
    cells = {field.name: _cell(field.name) if field.name in _NUMBER_OF else "_" for field in _FIELDS}
    lines = [f"{', '.join(cells.values())} = cells"]
    for name in NUMBERS:
        low, high = map(float, PLAUSIBLE.get(name, (-MAX_READING, MAX_READING)))
        lines += [f"{_value(name)} = {_cell(name)}", f"if {_value(name)} is None: {_value(name)} = nan"]
        lines += [f"elif not {low!r} <= {_value(name)} <= {high!r}: return None"]
    for at, rule in enumerate(REPAIRS):
        lines += [f"if not fits[{at}]({', '.join(map(_value, rule.names))}): return None"]
    lines += ["warnings = []"]
    for name in TEXTS:
        kind, end = ("clocks", "_") if name in CLOCKS else ("ranges", _end(name))
        lines += [f"{_value(name)}, {end}, {_third(name)}, problem = {kind}[{_cell(name)}]"]
        lines += [f"if problem: warnings.append(CellWarning({name!r}, *problem))"]
    known, waiting = {*CELL_NAMES}, [row for row in ROWS if row.kind != "number"]
    while waiting:  # ends: the matrix refuses rows that need each other
        row = next(row for row in waiting if known.issuperset(row.of))
        made = _value(row.name)
        lines += [f"{made} = {_expression(row)}"]
        if row.kind == "step":
            lines += [f"if {made} < 0: {made} += {float(DAY_MINUTES)!r}"]
            lines += [f"if {made} >= {MAX_STEP_MINUTES!r}:"]
            lines += [
                f"    warnings.append(long_step_warning({row.of[0]!r}, {row.of[1]!r}, {made}))",
                f"    {made} = nan",
            ]
        if row.kind == "sum_of_known":
            lines += [f"if {made} == 0: {made} = nan"]
        known.add(row.name)
        waiting.remove(row)
    values = ", ".join(_value(feature.name) for feature in FEATURES)
    blanks = ", ".join(f"{_cell(name)} is None" for name in CELL_NAMES)
    lines += [
        "values = bytearray(size)",
        f"pack_into(values, 0, {values})",
        f"return values, bytes(({blanks},)), warnings",
    ]
    return "\n    ".join(["def compute(cells):", *lines])


def _compile() -> Callable[[tuple[Any, ...]], Made | None]:
    layout = struct.Struct(f"{len(FEATURES)}f")
    scope: dict[str, Any] = {
        **{"nan": NAN, "id_number": id_number, "pack_into": layout.pack_into, "size": layout.size},
        **{"clocks": _Cells(read_clock), "ranges": _Cells(read_range)},
        **{"CellWarning": CellWarning, "long_step_warning": long_step_warning},
        "fits": tuple(rule.fits_of(PLAUSIBLE) for rule in REPAIRS),
    }
    exec(compile(_source(), "<features of a single row>", "exec"), scope)  # noqa: S102 - made of the table alone
    compute: Callable[[tuple[Any, ...]], Made | None] = scope["compute"]
    return compute


_compute = _compile()
_cells_of = msgspec.structs.astuple


def compute_row(batch: Batch) -> tuple[npt.NDArray[np.float32], tuple[CellWarning, ...], Counts] | None:
    """Return features [1, len(FEATURES)], warnings and blanks of `CELL_NAMES`; None if a number needs repair."""
    made = _compute(_cells_of(batch))
    if made is None:
        return None
    values, blanks, warnings = made
    matrix = np.frombuffer(values, np.float32).reshape(1, -1)
    return matrix, tuple(warnings), np.frombuffer(blanks, np.int8).astype(np.int64)
