"""What the simulator hands over: rows of cell texts as the plant wrote them, beside what it meant."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import msgspec

from batchyield.plant.batch import ENCODING, ID_COLUMN, READING_NAMES, READINGS, YIELD_COLUMN, Batch
from batchyield.plant.simulator.campaigns import Regime

Kind = Literal[
    "one_digit_minute",
    "semicolon",
    "fullwidth_semicolon",
    "excel_date",
    "stray_colon",
    "double_colon",
    "trailing_character",
    "no_colon",
    "twenty_four",
    "quote",
    "three_digit_minute",
    "no_hour",
    "backward_step",
    "impossible_range",
    "key_slip",
    "other_charge",
    "wrong_column",
    "wrong_scale",
]
"""What can be wrong with a cell. Up to `no_hour` the cell shows that it is dirty; the rest is well
formed, and at best its neighbours give it away. `other_charge` (B14 420 for 400 or back) shows in the yield alone."""

NUMERIC = frozenset(reading.name for reading in READINGS if reading.kind == "number")


class Dirt(NamedTuple):
    """One dirty cell of a row."""

    column: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Row:
    """One batch of the file.

    Attributes:
        number: place in time, the N of `sample_N`.
        regime: the process that ran it.
        clean: 42 cell texts as they should read, in the order of `batch.READING_NAMES`; blank is the empty text.
        dirty: the same as the plant typed them; the same tuple where nothing is wrong.
        outcome: the yield as the plant prints it.
        dirt: which cells of `dirty` differ from `clean`, and how.
    """

    number: int
    regime: Regime
    clean: tuple[str, ...]
    dirty: tuple[str, ...]
    outcome: str
    dirt: tuple[Dirt, ...] = ()

    @property
    def id(self) -> str:
        """`sample_N`."""
        return f"sample_{self.number}"

    def batch(self) -> Batch:
        """The clean row as a `Batch`: numbers as floats, blanks as None."""
        values = {n: (float(v) if n in NUMERIC else v) for n, v in zip(READING_NAMES, self.clean, strict=True) if v}
        return msgspec.convert({"id": self.id, **values}, Batch)


@dataclass(frozen=True)
class Plant:
    """A simulated data set.

    Attributes:
        rows: in file order, which is shuffled; sort by `number` for time order.
        batches: how many batches the plant ran; rows are drawn from them.
    """

    rows: tuple[Row, ...]
    batches: int

    @cached_property
    def clean(self) -> list[dict[str, str]]:
        """Cell texts by column as they should read, one dict per row."""
        return [dict(zip(READING_NAMES, row.clean, strict=True)) for row in self.rows]

    @cached_property
    def dirty(self) -> list[dict[str, str]]:
        """Cell texts by column as they stand in the file, one dict per row."""
        return [dict(zip(READING_NAMES, row.dirty, strict=True)) for row in self.rows]

    @property
    def yields(self) -> list[float]:
        """Yields, one per row, as a fraction."""
        return [float(row.outcome) for row in self.rows]

    def csv(self, *, clean: bool = False) -> bytes:
        """The plant's file: header with Chinese names, GB18030, LF; as typed, or as meant."""
        header = ",".join((ID_COLUMN, *READING_NAMES, YIELD_COLUMN))
        lines = (",".join((row.id, *(row.clean if clean else row.dirty), row.outcome)) for row in self.rows)
        return "\n".join((header, *lines, "")).encode(ENCODING)
