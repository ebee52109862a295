"""Writes a first table of another plant, and its `conf/`, from a CSV file; a person then corrects what was guessed."""

import csv
import io
import json
import keyword
import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from batchyield.errors import ConfigError
from batchyield.files import write_atomic
from batchyield.plant.cells import parse_clock, parse_number, parse_range
from batchyield.plant.rows import Kind, Range

TABLE = Path("src/batchyield/plant/table.py")
CONF = Path("conf")
READABLE = 0.95
"""Share of the cells of a column that must be of its kind."""

MANY_BLANKS = 0.1
"""Share of blanks from which the whole column may be blank, and a feature tells whether it is."""

ID_NAMES = re.compile(r"(batch|sample|lot|批号|编号)?[ _-]?(id|no|nr|name|number)?", re.IGNORECASE)
RESERVED = {"id", "sequence", "started_at", "yield"}


class Column(NamedTuple):
    """A reading as guessed from its cells; `blank` is the share of blank cells."""

    name: str
    kind: Kind
    usual: Range | None
    plausible: Range | None
    blank: float
    example: float | str


class NewPlant(NamedTuple):
    """What the table says: the readings, and the target with its values."""

    encoding: str
    id_column: str
    target: str
    unit: str
    measured: list[float]
    columns: list[Column]


def guess_plant(file: Path, target: str, unit: str = "", id_column: str | None = None) -> NewPlant:
    """Return the plant that a CSV file is of.

    Args:
        file: with a header; UTF-8 or GB18030.
        target: header of the column to predict.
        unit: of the target.
        id_column: header of the names of the batches; empty for none; None: guessed.

    Raises:
        ConfigError: the file is no such table, or a column cannot be a reading.
    """
    try:
        data = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
        text, encoding = _decode(data)
        header, *rows = (list(map(str.strip, row)) for row in csv.reader(io.StringIO(text), strict=True) if any(row))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ConfigError(f"{file} cannot be read as CSV: {error}", "save it as CSV in UTF-8, with a header") from error
    if ragged := next((line for line, row in enumerate(rows, 2) if len(row) != len(header)), 0):
        raise ConfigError(f"{file}: line {ragged} has another number of cells than the header", "correct the file")
    cells = dict(zip(header, map(list, zip(*rows, strict=True)), strict=False))
    for name in filter(None, (target, id_column)):
        if name not in cells:
            raise ConfigError(f"{file} has no column {name}", f"name one of {', '.join(header)}")
    measured = [value for cell in cells.pop(target) if (value := parse_number(cell).value) is not None]
    if len(measured) < max(2, READABLE * len(rows)):
        raise ConfigError(f"column {target} has {len(measured)} numbers in {len(rows)} lines", "name another --target")
    if id_column is None:
        id_column = next((name for name, column in cells.items() if _is_id(name, column)), "")
    cells.pop(id_column, None)
    kinds = {name: _kind_of(column) for name, column in cells.items()}
    _check_names(kinds)
    columns = [_column(name, kind, cells[name]) for name, kind in kinds.items() if kind is not None]
    return NewPlant(encoding, id_column, target, unit, measured, columns)


def _decode(data: bytes) -> tuple[str, str]:
    try:
        return data.decode(), "UTF-8"
    except UnicodeDecodeError:
        return data.decode("GB18030"), "GB18030"


def _is_id(name: str, column: Sequence[str]) -> bool:
    named = bool(name) and ID_NAMES.fullmatch(name) is not None
    unique = len({*column}) == len(column) and all(cell and not re.search(r"\s", cell) for cell in column)
    return unique and (named or _kind_of(column) is None)


def _kind_of(column: Sequence[str]) -> Kind | None:
    """Return the kind of a column; None: text, or nothing at all."""
    given = [cell for cell in column if cell]
    kinds: dict[Kind, int] = {
        "number": sum(parse_number(cell).value is not None for cell in given),
        "clock": sum(":" in cell and parse_clock(cell).minutes is not None for cell in given),
        "range": sum(parse_range(cell).start is not None for cell in given),
    }
    return next((kind for kind, count in kinds.items() if given and count >= READABLE * len(given)), None)


def _check_names(kinds: dict[str, Kind | None]) -> None:
    bad = [name for name in kinds if not name.isidentifier() or keyword.iskeyword(name) or name in RESERVED]
    if bad:
        better = (re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "x" for name in bad)
        problem = "these headers cannot be the names of readings, which are letters, digits and _"
        raise ConfigError(f"{problem}: {', '.join(bad)}", f"rename them in the file, for example {', '.join(better)}")
    if texts := [name for name, kind in kinds.items() if kind is None]:
        problem = f"neither numbers nor clocks (13:30) nor ranges (21:00-21:30): {', '.join(texts)}"
        raise ConfigError(problem, "remove these columns, or write numbers; name a column of batch names with --id")


def _column(name: str, kind: Kind, cells: Sequence[str]) -> Column:
    given = [cell for cell in cells if cell]
    blank = round(1 - len(given) / len(cells), 3)
    if kind != "number":
        return Column(name, kind, None, None, blank, given[0])
    values = sorted(value for cell in given if (value := parse_number(cell).value) is not None)
    plausible = _around(values, values[-1] - values[0])
    return Column(name, kind, _usual(values), plausible, blank, _rounded(median(values)))


def _usual(values: Sequence[float]) -> Range:
    """Return the middle 98 % of sorted values, rounded outward."""
    cuts = quantiles(values, n=100, method="inclusive")
    return _outward(cuts[0], cuts[-1])


def _around(values: Sequence[float], margin: float) -> Range:
    """Return the range of sorted values with a margin, rounded outward; not below 0 if no value is."""
    low, high = _outward(values[0] - margin, values[-1] + margin)
    return (max(0.0, low) if values[0] >= 0 else low), high


def _outward(low: float, high: float) -> Range:
    step = 10.0 ** (math.floor(math.log10(high - low or abs(high) or 1.0)) - 1)
    return _rounded(math.floor(low / step) * step, 6), _rounded(math.ceil(high / step) * step, 6)


def _rounded(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")


def write_plant(plant: NewPlant, root: Path, *, force: bool = False) -> list[Path]:
    """Write the table and the choices of `conf/` that depend on it; return what was written or removed.

    Raises:
        ConfigError: there is a table already, and `force` is false.
    """
    if (root / TABLE).exists() and not force:
        raise ConfigError(
            f"{TABLE} exists", "commit it, then overwrite it and conf/ with --force; git keeps the old ones"
        )
    files = {TABLE: _table(plant), **_conf(plant, root)}
    for path, text in files.items():
        write_atomic(root / path, text.encode())
    gone = [path for path in (root / CONF / "features").glob("*.yaml") if path.relative_to(root) not in files]
    for path in gone:
        path.unlink()
    return [*files, *(path.relative_to(root) for path in gone)]


def _scale(plant: NewPlant) -> float:
    """Return half the width of the middle 68 % of the measured values, or 1 where they are all equal."""
    cuts = quantiles(plant.measured, n=100, method="inclusive")
    return _rounded((cuts[83] - cuts[15]) / 2, 2) or 1.0


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _target(plant: NewPlant) -> str:
    values = sorted(plant.measured)
    usual, limits = _usual(values), _around(values, (values[-1] - values[0] or 1.0) / 2)
    fraction = plant.unit == "%" and values[-1] <= 1.5
    factor, scale = (100.0 if fraction else 1.0), _scale(plant)
    decimals = max(0, 2 - math.floor(math.log10(scale * factor)))
    word = plant.target.replace("_", " ").lower()
    return f"""TARGET = Target(
    column={_literal(plant.target)},
    word={_literal(word)},
    word_zh={_literal(plant.target)},
    unit={_literal(plant.unit)},
    factor={factor!r},
    decimals={decimals},
    typical={_rounded(median(values))!r},
    usual={usual!r},
    bounds={limits!r},
    limits={limits!r},
    scale={scale!r},
)"""


def _reading(column: Column) -> str:
    fields = (column.usual, column.plausible, column.blank >= MANY_BLANKS, column.example)
    texts = (column.name, column.kind, "", column.name, column.name)
    return f"    Reading({', '.join(map(_literal, texts + fields))}),"


def _groups(plant: NewPlant) -> dict[str, str]:
    """Return the groups that have a feature."""
    features = "".join(_features(plant))
    given = {
        "clock": ("clocks", "the time of day at which a step starts"),
        "length": ("lengths", "how long a range lasts"),
        "missing": ("missing", "1 where a reading is blank, else 0"),
    }
    return {
        "readings": "the numbers as the plant writes them",
        **dict(group for maker, group in given.items() if f"{maker}(" in features),
        "order": "the number at the end of the batch's name, or the row: the time order of the batches",
    }


def _features(plant: NewPlant) -> list[str]:
    rows = []
    for column in plant.columns:
        if column.kind != "number":
            rows.append(f"clock({_literal(column.name)})")
        if column.kind == "range":
            rows.append(f"length({_literal(column.name)})")
        if column.blank >= MANY_BLANKS:
            rows.append(f"missing({_literal(column.name)})")
    return [*rows, 'id_number("the number at the end of the name")']


def _table(plant: NewPlant) -> str:
    features = _features(plant)
    makers = sorted(
        {"FeatureRow", "Reading", "RepairRule", "Slice", "Target", *(row.partition("(")[0] for row in features)}
    )
    groups = "\n".join(f"    {_literal(name)}: {_literal(about)}," for name, about in _groups(plant).items())
    return f'''"""The table of this plant, first guessed from a file: correct units, meanings and ranges.

The attributes of each row are explained in `plant.rows`. Rows are checked at import; an error names this file.
"""

from batchyield.plant.rows import {", ".join(makers)}

ID_COLUMN = {_literal(plant.id_column)}
"""Header of the batches' names; empty: the file has none, and a batch is named by its row."""

ENCODING = {_literal(plant.encoding)}
"""Encoding of the plant's own files, tried after UTF-8."""

{_target(plant)}

MAX_READING = 1e6
"""Largest magnitude of a reading: a larger one is a typing error and could overflow float32 features."""

MISTYPED: dict[str, float | str | None] = {{{_literal(plant.columns[-1].name)}: None}}
"""What differs in the second example of the API, such as a blank."""

POSSIBLE: dict[str, tuple[float, float]] = {{}}
"""Bounds by unit, wide enough for a reading in a wrong column or with a digit too many."""

# name, kind, unit, meaning, meaning_zh, usual, plausible, may be blank, example; since
READINGS: tuple[Reading, ...] = (
{chr(10).join(map(_reading, plant.columns))}
)
"""The columns of the file between id and target, in its order."""

REMOVED: dict[str, str] = {{}}
"""Reading that earlier versions knew -> the version that removed it."""

GROUPS: dict[str, str] = {{
{groups}
}}
"""Groups of features: `conf/features/` selects those that a model uses."""

SHIFT_MINUTES, FIRST_SHIFT_MINUTES = 480.0, 360.0
MAX_STEP_MINUTES = 1200.0
MAX_RANGE_MINUTES = 360.0
LEAST_DIVISOR = 1e-9
"""A ratio to less than this is missing."""

FEATURES: tuple[FeatureRow, ...] = (
{chr(10).join(f"    {row}," for row in features)}
)
"""The features after the number readings, which come first by themselves: to add a feature, add a row."""

LINE_FEATURE: str | None = None
"""Feature to which the target is nearly proportional, for the models on a line; None: no such feature."""

INTERVAL_FLAGS: tuple[str, ...] = ()
"""Flags whose combinations have prediction intervals of their own."""

RECIPE: tuple[str, ...] = ()
"""Readings that tell recipes apart for the bias update."""

LINES = 1
"""Production lines, which take the batches in turn."""

BATCHES_PER_DAY = 12.0
"""Pace of the plant, which turns the start of a batch into its place in the order."""

SLICES: tuple[Slice, ...] = (
    Slice("period", ("id_number",), lambda n: f"{{n // 200 * 200:04.0f}}-{{n // 200 * 200 + 199:04.0f}}"),
)
"""Aspects of the evaluation by slice; a batch without one of the features is `unknown`."""

REPAIRS: tuple[RepairRule, ...] = ()

SIMULATOR: str | None = None
"""Package with `simulate`, `DEFAULT_ROWS` and `DEFAULT_SEED` of a sample plant; None: no demo data."""
'''


def _conf(plant: NewPlant, root: Path) -> dict[Path, str]:
    values, scale = sorted(plant.measured), _scale(plant)
    low, high = _around(values, (values[-1] - values[0] or 1.0) / 4)
    groups = f"groups: [{', '.join(name for name in _groups(plant) if name != 'order')}]\n"
    config = (root / CONF / "config.yaml").read_text(encoding="utf-8")
    config = re.sub(r"- model: .*", "- model: extra_trees", config)
    bias = (root / CONF / "bias/ewma.yaml").read_text(encoding="utf-8")
    for name, of in (("cut", scale * 5 / 3), ("limit", scale * 5 / 6)):
        bias = re.sub(rf"(?m)^{name}: .*", f"{name}: {_rounded(of, 2)}", bias)
    return {
        CONF / "config.yaml": config if plant.id_column else re.sub(r"- bias: .*", "- bias: none", config),
        CONF / "bias/ewma.yaml": bias,
        CONF / "features/default.yaml": f"# Without the order of the batches, on purpose.\n{groups}",
        CONF / "features/all.yaml": f"# All groups except the order of the batches.\n{groups}",
        CONF / "target/plant.yaml": f"lowest: {low}\nhighest: {high}\n",
        CONF / "gate/default.yaml": GATE,
    }


GATE = """\
# What a model must reach before it may be served: metrics file -> metric -> bounds. Tighten it once you know the model.
test:
  coverage: {at_least: 0.8, at_most: 0.98}
  r2: {at_least: 0}
  score: {change: {beyond_noise: true}}
cross_validation:
  coverage: {at_least: 0.8, at_most: 0.98}
  score: {change: {tolerance: 0.05}}
"""


def describe(plant: NewPlant, file: Path, written: Sequence[Path]) -> str:
    """Return what was guessed, and the next steps."""
    rows: list[tuple[str, ...]] = [("column", "kind", "usual", "plausible", "blank", "example")]
    for c in plant.columns:
        ranges = ("" if bounds is None else f"{bounds[0]:g}..{bounds[1]:g}" for bounds in (c.usual, c.plausible))
        rows.append((c.name, c.kind, *ranges, f"{c.blank:.1%}", f"{c.example}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    values = sorted(plant.measured)
    return "\n".join(
        [
            f"{len(values)} batches, {plant.encoding}; names in {plant.id_column or 'no column: by row'}",
            f"target {plant.target} [{plant.unit}], {values[0]:g}..{values[-1]:g}, scale {_scale(plant):g}",
            "",
            *lines,
            "",
            *(f"{'wrote' if path.exists() else 'removed'} {path}" for path in written),
            "",
            f"next: correct units, meanings and ranges in {TABLE}, then",
            "  make params",
            "  batchyield plant dashboards",
            "  python -m batchyield.plant.features.data_dictionary > docs/features.md",
            f"  make repro-real DATA={file}",
            "docs/another-plant.md explains each step",
        ]
    )
