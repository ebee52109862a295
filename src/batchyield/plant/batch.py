"""Batch: the schema of one batch.

The CSV header, the JSON field names, the OpenAPI schema and the order of the readings derive from this class. The
plant's file names its columns by letter and number only; the descriptions here are inferred from values and position,
and are no part of the contract.
"""

from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

ID_COLUMN = "样本id"
YIELD_COLUMN = "收率"
ENCODING = "GB18030"

YIELD_BOUNDS = (0.0, 1.2)
"""Bounds of a measured yield, as a fraction."""

MAX_READING = 1e6
"""Largest magnitude of a reading: a larger one is a typing error and could overflow float32 features."""

Number = Annotated[float, Meta(ge=-MAX_READING, le=MAX_READING)] | None
Clock = Annotated[str, Meta(max_length=64, extra={"kind": "clock"})] | None
Range = Annotated[str, Meta(max_length=64, extra={"kind": "range"})] | None


def _field(description: str, unit: str = "") -> Meta:
    return Meta(description=f"{description} [{unit}]" if unit else description, extra={"unit": unit})


class Batch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One batch: an id and 42 readings, each of which may be None.

    Clocks (`13:30:00`) and ranges (`21:00-21:30`) are text; `cells` parses them.
    """

    id: Annotated[Annotated[str, Meta(max_length=128)] | None, Meta(description="name of the batch, echoed")] = None
    A1: Annotated[Number, _field("charge of the starting material", "kg")] = None
    A2: Annotated[Number, _field("alternative charge, given where A3 is not", "kg")] = None
    A3: Annotated[Number, _field("first reagent", "kg")] = None
    A4: Annotated[Number, _field("solvent or water", "kg")] = None
    A5: Annotated[Clock, _field("hydrolysis starts")] = None
    A6: Annotated[Number, _field("temperature at the start", "°C")] = None
    A7: Annotated[Clock, _field("optional holding step starts")] = None
    A8: Annotated[Number, _field("temperature of the optional holding step", "°C")] = None
    A9: Annotated[Clock, _field("heating starts")] = None
    A10: Annotated[Number, _field("temperature at A9", "°C")] = None
    A11: Annotated[Clock, _field("first check")] = None
    A12: Annotated[Number, _field("temperature at A11", "°C")] = None
    A13: Annotated[Number, _field("pressure at A11", "MPa")] = None
    A14: Annotated[Clock, _field("second check")] = None
    A15: Annotated[Number, _field("temperature at A14", "°C")] = None
    A16: Annotated[Clock, _field("third check")] = None
    A17: Annotated[Number, _field("temperature at A16", "°C")] = None
    A18: Annotated[Number, _field("pressure at A16", "MPa")] = None
    A19: Annotated[Number, _field("water for the quench", "kg")] = None
    A20: Annotated[Range, _field("quench")] = None
    A21: Annotated[Number, _field("acid, first dose", "kg")] = None
    A22: Annotated[Number, _field("pH after the first dose", "pH")] = None
    A23: Annotated[Number, _field("acid, second dose", "kg")] = None
    A24: Annotated[Clock, _field("first crystallisation step starts")] = None
    A25: Annotated[Number, _field("temperature at A24", "°C")] = None
    A26: Annotated[Clock, _field("second crystallisation step starts")] = None
    A27: Annotated[Number, _field("temperature at A26", "°C")] = None
    A28: Annotated[Range, _field("transfer")] = None
    B1: Annotated[Number, _field("water of the second vessel", "kg")] = None
    B2: Annotated[Number, _field("pH before dosing", "pH")] = None
    B3: Annotated[Number, _field("pH after dosing", "pH")] = None
    B4: Annotated[Range, _field("dosing")] = None
    B5: Annotated[Clock, _field("cooling starts")] = None
    B6: Annotated[Number, _field("temperature at B5", "°C")] = None
    B7: Annotated[Clock, _field("cooling ends")] = None
    B8: Annotated[Number, _field("temperature at B7", "°C")] = None
    B9: Annotated[Range, _field("first spin")] = None
    B10: Annotated[Range, _field("second spin")] = None
    B11: Annotated[Range, _field("third spin")] = None
    B12: Annotated[Number, _field("wash water", "kg")] = None
    B13: Annotated[Number, _field("pressure of the spin", "MPa")] = None
    B14: Annotated[Number, _field("wet product out of the spin", "kg")] = None


class Reading(NamedTuple):
    """Metadata of a reading: `kind` is `number`, `clock` or `range`."""

    name: str
    kind: str
    unit: str
    description: str


def _metadata(kind: msgspec.inspect.Type) -> dict[str, Any]:
    """All `Meta` of a field's type, merged: its own and that of its non-null member."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _metadata(kind.type) | (kind.extra_json_schema or {}) | (kind.extra or {})
    if isinstance(kind, msgspec.inspect.UnionType):
        return {key: value for member in kind.types for key, value in _metadata(member).items()}
    return {}


READINGS: tuple[Reading, ...] = tuple(
    Reading(field.name, meta.get("kind", "number"), meta.get("unit", ""), meta["description"])
    for field in msgspec.structs.fields(Batch)
    if field.name != "id"
    for meta in [_metadata(msgspec.inspect.type_info(field.type))]
)
"""The 42 readings in the plant's order."""

READING_NAMES: tuple[str, ...] = tuple(r.name for r in READINGS)


class CellWarning(msgspec.Struct, frozen=True, gc=False):
    """A cell that was repaired or taken as missing.

    Attributes:
        field: the reading, for example `B9`.
        kind: a stable name for counting, from `cells.WARNING_KINDS`, `csv_reader.WARNING_KINDS` or
            `features.WARNING_KINDS`.
        message: the text of the cell and the value used instead.
    """

    field: str
    kind: str
    message: str
