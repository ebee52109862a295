"""Batch: the schema of one batch, made from the readings of `plant.table`.

The CSV header, the JSON field names, the OpenAPI schema and the order of the readings derive from this type.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from batchyield.plant.rows import CellWarning, Reading
from batchyield.plant.table import ENCODING, ID_COLUMN, MAX_READING, READINGS, REMOVED, TARGET

__all__ = [
    "ENCODING",
    "ID_COLUMN",
    "MAX_ID_LENGTH",
    "MAX_READING",
    "READINGS",
    "READING_NAMES",
    "REMOVED",
    "TARGET",
    "YIELD_COLUMN",
    "Batch",
    "CellWarning",
    "Reading",
]

YIELD_COLUMN = TARGET.column
READING_NAMES: tuple[str, ...] = tuple(r.name for r in READINGS)

MAX_ID_LENGTH = 128

_TYPES: dict[str, Any] = {
    "number": Annotated[float, Meta(ge=-MAX_READING, le=MAX_READING)] | None,
    "clock": Annotated[str, Meta(max_length=64)] | None,
    "range": Annotated[str, Meta(max_length=64)] | None,
}
_ID = Annotated[Annotated[str, Meta(max_length=MAX_ID_LENGTH)] | None, Meta(description="name of the batch, echoed")]
_SEQUENCE = Annotated[
    Annotated[float, Meta(ge=0, le=MAX_READING)] | UnsetType | None,
    Meta(description="number of the batch in the plant's order; by default, the number at the end of the id"),
]
_STARTED_AT = Annotated[
    Annotated[datetime, Meta(tz=True)] | UnsetType | None,
    Meta(description="start of the batch, which gives its order where there is no number"),
]

if TYPE_CHECKING:

    class Batch(msgspec.Struct):
        """One batch: an id and its readings, each of which may be None.

        Clocks (`13:30:00`) and ranges (`21:00-21:30`) are text; `cells` parses them.
        """

        id: str | None = None
        sequence: float | UnsetType | None = UNSET
        started_at: datetime | UnsetType | None = UNSET

        def __init__(self, *, id: str | None = None, **readings: Any) -> None: ...  # noqa: A002
        def __getattr__(self, reading: str) -> Any: ...

else:
    Batch = msgspec.defstruct(
        "Batch",
        [("id", _ID, None)]
        + [(r.name, Annotated[_TYPES[r.kind], Meta(description=r.description)], None) for r in READINGS]
        + [("sequence", _SEQUENCE, UNSET), ("started_at", _STARTED_AT, UNSET)],
        namespace={
            "__doc__": f"One batch: an id and {len(READINGS)} readings, each of which may be None.\n\n"
            "Clocks (`13:30:00`) and ranges (`21:00-21:30`) are text; `cells` parses them."
        },
        module=__name__,
        kw_only=True,
        forbid_unknown_fields=True,
        gc=False,
    )
