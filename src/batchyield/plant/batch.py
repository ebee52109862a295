"""Batch: the one schema.

The CSV header, the JSON field names, the OpenAPI schema and the order of the readings everywhere derive from this
class. The plant's file names its columns by letter and number only; what each one means is inferred from its values
and its place in the process, and is documentation rather than contract.
"""

from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

ID_COLUMN = "样本id"
YIELD_COLUMN = "收率"
ENCODING = "GB18030"

YIELD_BOUNDS = (0.0, 1.2)
"""Between which a measured yield may lie, as a fraction."""

MAX_READING = 1e6
"""No reading of the plant comes near it; beyond it a number is a typing error, and float32 features would overflow."""

Number = Annotated[float, Meta(ge=-MAX_READING, le=MAX_READING)] | None
Clock = Annotated[str, Meta(max_length=64, extra={"kind": "clock"})] | None
Range = Annotated[str, Meta(max_length=64, extra={"kind": "range"})] | None


def about(description: str, unit: str = "") -> Meta:
    """What a field means, and its unit where it is a number."""
    return Meta(description=f"{description} [{unit}]" if unit else description, extra={"unit": unit})


class Batch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One batch as the plant writes it: a name and 42 readings, each of which may be absent.

    Numbers are numbers; clocks (`13:30:00`) and ranges (`21:00-21:30`) stay text until `clock` reads them.
    """

    id: Annotated[Annotated[str, Meta(max_length=128)] | None, Meta(description="name of the batch, echoed")] = None
    A1: Annotated[Number, about("charge of the starting material", "kg")] = None
    A2: Annotated[Number, about("alternative charge, given where A3 is not", "kg")] = None
    A3: Annotated[Number, about("first reagent", "kg")] = None
    A4: Annotated[Number, about("solvent or water", "kg")] = None
    A5: Annotated[Clock, about("hydrolysis starts")] = None
    A6: Annotated[Number, about("temperature at the start", "°C")] = None
    A7: Annotated[Clock, about("optional holding step starts")] = None
    A8: Annotated[Number, about("temperature of the optional holding step", "°C")] = None
    A9: Annotated[Clock, about("heating starts")] = None
    A10: Annotated[Number, about("temperature at A9", "°C")] = None
    A11: Annotated[Clock, about("first check")] = None
    A12: Annotated[Number, about("temperature at A11", "°C")] = None
    A13: Annotated[Number, about("pressure at A11", "MPa")] = None
    A14: Annotated[Clock, about("second check")] = None
    A15: Annotated[Number, about("temperature at A14", "°C")] = None
    A16: Annotated[Clock, about("third check")] = None
    A17: Annotated[Number, about("temperature at A16", "°C")] = None
    A18: Annotated[Number, about("pressure at A16", "MPa")] = None
    A19: Annotated[Number, about("water for the quench", "kg")] = None
    A20: Annotated[Range, about("quench")] = None
    A21: Annotated[Number, about("acid, first dose", "kg")] = None
    A22: Annotated[Number, about("pH after the first dose", "pH")] = None
    A23: Annotated[Number, about("acid, second dose", "kg")] = None
    A24: Annotated[Clock, about("first crystallisation step starts")] = None
    A25: Annotated[Number, about("temperature at A24", "°C")] = None
    A26: Annotated[Clock, about("second crystallisation step starts")] = None
    A27: Annotated[Number, about("temperature at A26", "°C")] = None
    A28: Annotated[Range, about("transfer")] = None
    B1: Annotated[Number, about("water of the second vessel", "kg")] = None
    B2: Annotated[Number, about("pH before dosing", "pH")] = None
    B3: Annotated[Number, about("pH after dosing", "pH")] = None
    B4: Annotated[Range, about("dosing")] = None
    B5: Annotated[Clock, about("cooling starts")] = None
    B6: Annotated[Number, about("temperature at B5", "°C")] = None
    B7: Annotated[Clock, about("cooling ends")] = None
    B8: Annotated[Number, about("temperature at B7", "°C")] = None
    B9: Annotated[Range, about("first spin")] = None
    B10: Annotated[Range, about("second spin")] = None
    B11: Annotated[Range, about("third spin")] = None
    B12: Annotated[Number, about("wash water", "kg")] = None
    B13: Annotated[Number, about("pressure of the spin", "MPa")] = None
    B14: Annotated[Number, about("wet product out of the spin", "kg")] = None


class Reading(NamedTuple):
    """A column of the plant's file: `kind` is `number`, `clock` or `range`."""

    name: str
    kind: str
    unit: str
    description: str


def _metadata(described: msgspec.inspect.Type) -> dict[str, Any]:
    """All `Meta` about a field's type, flattened: the field's own and that of its non-null member."""
    if isinstance(described, msgspec.inspect.Metadata):
        return _metadata(described.type) | (described.extra_json_schema or {}) | (described.extra or {})
    if isinstance(described, msgspec.inspect.UnionType):
        return {key: value for member in described.types for key, value in _metadata(member).items()}
    return {}


def _reading(field: msgspec.structs.FieldInfo) -> Reading:
    meta = _metadata(msgspec.inspect.type_info(field.type))
    return Reading(field.name, meta.get("kind", "number"), meta.get("unit", ""), meta["description"])


READINGS: tuple[Reading, ...] = tuple(_reading(f) for f in msgspec.structs.fields(Batch) if f.name != "id")
"""The 42 readings in the plant's order."""

READING_NAMES: tuple[str, ...] = tuple(r.name for r in READINGS)


class CellWarning(msgspec.Struct, frozen=True, gc=False):
    """A cell that was repaired or taken as missing; never raised, always passed on.

    Attributes:
        field: the reading, for example `B9`.
        kind: a stable short name for counting: see `cells.WARNING_KINDS` and `features.WARNING_KINDS`.
        message: what stood there and what was made of it.
    """

    field: str
    kind: str
    message: str
