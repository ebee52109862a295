"""Compare two files of batches: added, removed and changed batches, and the shift of every reading."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from batchyield.monitoring.drift_window import FEATURE_OF_READING, MIN_WINDOW_BATCHES, compute_window_drift
from batchyield.monitoring.drift_window import WindowDrift as Drift
from batchyield.plant.batch import READING_NAMES, READINGS
from batchyield.plant.cells import DAY_MINUTES, format_time, parse_clock, parse_range
from batchyield.plant.csv_reader import Sheet, read_sheet
from batchyield.plant.features import FEATURES, INDEX, featurize
from batchyield.plant.raw_table import to_table
from batchyield.plant.table import TARGET
from batchyield.serving.reference_profile import PROFILE_DECIMALS, build_reference, profile_column

MAX_LISTED = 10
SMALLEST_SHIFT = 0.02
"""Kolmogorov-Smirnov distance from which a column is listed as moved."""
CLOCKS = {reading.name for reading in READINGS if reading.kind == "clock"}
YIELD = TARGET.word
QUARTERS = (25, 50, 75)


class ChangedBatch(msgspec.Struct, frozen=True):
    """A batch that both files have, and the columns that differ."""

    id: str
    columns: tuple[str, ...]


class ColumnShift(msgspec.Struct, frozen=True):
    """Shift of one column; clocks and starts of ranges in minutes after midnight, lengths in minutes.

    Attributes:
        moved: Kolmogorov-Smirnov distance of before and after, 0 to 1; missing counts as a value.
        missing: shares before and after, 0 to 1.
        mean: before and after; None if there are no values.
        quarters: quartiles before and after; empty if there are no values.
    """

    reading: str
    moved: float
    missing: tuple[float, float]
    mean: tuple[float | None, float | None]
    quarters: tuple[tuple[float, ...], tuple[float, ...]]


class DatasetDiff(msgspec.Struct, frozen=True):
    """Comparison of two files; pairs are before and after.

    Attributes:
        added, removed: ids, in the order of their file.
        changed: batches with other readings or another yield, in the columns that both files have.
        columns: headers, in the order of the files; they may be those of two schemas.
        dirty: numbers of cells that were repaired or could not be read, as the report of the contract counts them.
        unreadable: numbers of those that could not be read.
        shifts: of every reading and the yield, largest first.
        drift: drift of the added batches, if there are enough of them, else of all later ones, from the earlier file.
    """

    batches: tuple[int, int]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[ChangedBatch, ...]
    encoding: tuple[str, str]
    columns: tuple[tuple[str, ...], tuple[str, ...]]
    dirty: tuple[int, int]
    unreadable: tuple[int, int]
    shifts: tuple[ColumnShift, ...]
    drift: Drift

    @property
    def of_added(self) -> bool:
        """Whether `drift` is that of the added batches only."""
        return len(self.added) >= MIN_WINDOW_BATCHES

    def describe_columns(self) -> str:
        """Return what differs between the two headers."""
        before, after = self.columns
        if before == after:
            return "the same columns in the same order"
        new, gone = ([name for name in one if name not in other] for one, other in ((after, before), (before, after)))
        lists = [f"{what} {', '.join(names)}" for what, names in (("added", new), ("removed", gone)) if names]
        return f"columns {'; '.join(lists)}" if lists else "the same columns in another order"


def diff_datasets(before: bytes, after: bytes) -> DatasetDiff:
    """Compare two plant files, each of any schema: a reading that one of them does not have is missing there.

    Raises:
        InputError: a file cannot be read.
    """
    sheets = read_sheet(before, any_schema=True), read_sheet(after, any_schema=True)
    absent = [{warning.field for warning in sheet.columns} for sheet in sheets]
    columns = [name for name in READING_NAMES if name not in absent[0] | absent[1]]
    was, now = (_rows(sheet, columns) for sheet in sheets)
    columns.append(YIELD)
    dirty = to_table(sheets[0]).dirty, to_table(sheets[1]).dirty
    changed = (
        ChangedBatch(name, tuple(c for c, old, new in zip(columns, was[name], now[name], strict=True) if old != new))
        for name in now
        if name in was and was[name] != now[name]
    )
    added = tuple(name for name in now if name not in was)
    only = set(added if len(added) >= MIN_WINDOW_BATCHES else now)
    earlier, later = map(_numbers, sheets)
    shifts = (_shift(name, earlier[name], later[name]) for name in earlier)
    return DatasetDiff(
        batches=(len(sheets[0].batches), len(sheets[1].batches)),
        added=added,
        removed=tuple(name for name in was if name not in now),
        changed=tuple(changed),
        encoding=(sheets[0].encoding, sheets[1].encoding),
        columns=(_header(before, sheets[0].encoding), _header(after, sheets[1].encoding)),
        dirty=(len(dirty[0]), len(dirty[1])),
        unreadable=(sum(not cell.readable for cell in dirty[0]), sum(not cell.readable for cell in dirty[1])),
        shifts=tuple(sorted(shifts, key=lambda shift: -shift.moved)),
        drift=_drift(*sheets, [i for i, name in enumerate(now) if name in only], absent[0]),
    )


def _rows(sheet: Sheet, readings: Sequence[str]) -> dict[str, tuple[object, ...]]:
    """Return id -> readings and yield; the second batch of an id is `ID (2)`."""
    rows: dict[str, tuple[object, ...]] = {}
    seen: Counter[str] = Counter()
    for batch, given, measured in zip(sheet.batches, sheet.names(), _yields(sheet), strict=True):
        name = str(given)
        seen[name] += 1
        rows[name if seen[name] == 1 else f"{name} ({seen[name]})"] = (
            *(getattr(batch, reading) for reading in readings),
            measured,
        )
    return rows


def _yields(sheet: Sheet) -> Sequence[float | None]:
    return sheet.yields or [None] * len(sheet.batches)


def _header(data: bytes, encoding: str) -> tuple[str, ...]:
    text = data.splitlines()[0].decode(encoding)
    return tuple(cell.strip() for cell in next(csv.reader([text])))


def _numbers(sheet: Sheet) -> dict[str, NDArray[np.float64]]:
    columns: dict[str, Sequence[float | None]] = {}
    for reading in READINGS:
        cells = [getattr(batch, reading.name) for batch in sheet.batches]
        if reading.kind == "number":
            columns[reading.name] = cells
        elif reading.kind == "clock":
            columns[reading.name] = [parse_clock(cell or "").minutes for cell in cells]
        else:
            spans = [parse_range(cell or "") for cell in cells]
            columns[f"{reading.name} start"] = [span.start for span in spans]
            columns[f"{reading.name} length"] = [
                None if span.start is None or span.end is None else (span.end - span.start) % DAY_MINUTES
                for span in spans
            ]
    columns[YIELD] = _yields(sheet)
    return {name: np.array(cells, dtype=np.float64) for name, cells in columns.items()}


def _shift(name: str, before: NDArray[np.float64], after: NDArray[np.float64]) -> ColumnShift:
    was, now = profile_column(before), profile_column(after)
    # Missing sorts below every value, so that a column that becomes missing has a distance of 1.
    low = [np.sort(np.nan_to_num(side, nan=-np.inf)) for side in (before, after)]
    steps = np.concatenate(low)
    shares = [np.searchsorted(side, steps, side="right") / len(side) for side in low]
    return ColumnShift(
        reading=name,
        moved=round(float(np.abs(shares[0] - shares[1]).max()), PROFILE_DECIMALS),
        missing=(was.missing, now.missing),
        mean=(was.mean, now.mean),
        quarters=(_quarters(was.quantiles), _quarters(now.quantiles)),
    )


def _drift(before: Sheet, after: Sheet, chosen: list[int], new: set[str]) -> Drift:
    """Return the drift of some rows of a file from an earlier file, except of readings that only the later one has."""
    values = featurize(before.batches).values
    names = [feature.name for feature in FEATURES]
    blank = {
        name: sum(getattr(batch, name) is None for batch in before.batches) / len(before.batches)
        for name in READING_NAMES
    }
    measured = [np.array(_yields(sheet), dtype=np.float64) for sheet in (before, after)]
    trained = build_reference(names, values, measured[0], blank, values[:, INDEX["id_number"]])
    for name in new:
        trained.features.pop(FEATURE_OF_READING[name], None)
    window = [after.batches[i] for i in chosen]
    return compute_window_drift(trained, window, featurize(window).values, measured[1][chosen])


def _quarters(quantiles: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(quantiles[percent] for percent in QUARTERS) if quantiles else ()


def render(diff: DatasetDiff) -> Iterator[str]:
    """Return the comparison as lines of text; long lists are shortened."""
    yield f"batches   {diff.batches[0]} before, {diff.batches[1]} after"
    for what, ids in (("added", diff.added), ("removed", diff.removed)):
        yield f"  {what:<8}{_counted(list(ids))}"
    rows = [f"{row.id} ({', '.join(row.columns)})" for row in diff.changed]
    yield f"  changed {_counted(rows)}"
    if diff.changed:
        often = Counter(column for row in diff.changed for column in row.columns).most_common(MAX_LISTED)
        yield "          by column: " + ", ".join(f"{column} {count}" for column, count in often)
    yield f"schema    {diff.encoding[1]}, {diff.describe_columns()}"
    if diff.encoding[0] != diff.encoding[1]:
        yield f"encoding  {diff.encoding[0]} before, {diff.encoding[1]} after"
    cells = "{} -> {}, of them unreadable {} -> {}".format(*diff.dirty, *diff.unreadable)
    yield f"cells     not clean {cells}"
    moved = [shift for shift in diff.shifts if shift.moved >= SMALLEST_SHIFT]
    most = ", most moved first" if moved else ""
    yield f"readings  {len(moved)} of {len(diff.shifts)} moved by {SMALLEST_SHIFT} or more (KS distance, 0 to 1){most}"
    for shift in moved[:MAX_LISTED]:
        missing = "{:.1%} -> {:.1%}".format(*shift.missing)
        means = " -> ".join(_value(shift.reading, mean) for mean in shift.mean)
        quarters = " -> ".join("/".join(_value(shift.reading, q) for q in side) or "none" for side in shift.quarters)
        yield f"  {shift.reading:<10} moved {shift.moved:.3f}  missing {missing}  mean {means}  quarters {quarters}"
    if len(moved) > MAX_LISTED:
        yield f"  and {len(moved) - MAX_LISTED} more; --json lists all"
    which = f"the {diff.drift.batches} added" if diff.of_added else f"all {diff.drift.batches}"
    yield f"drift     of {which} batches: {_counted(list(diff.drift.drifted))}"


def _counted(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_LISTED]) + (f", and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")
    return f"{len(names)}: {shown}" if names else "0"


def _value(reading: str, value: float | None) -> str:
    """Return a value of a column as text: clocks and starts of ranges as times, lengths in minutes."""
    if value is None:
        return "none"
    if reading in CLOCKS or reading.endswith(" start"):
        return format_time(round(value))
    return f"{value:.0f} min" if reading.endswith(" length") else f"{value:.5g}"
