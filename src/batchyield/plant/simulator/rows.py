"""The simulated data set: rows of cell texts, clean and as typed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import msgspec

from batchyield.plant.batch import ENCODING, ID_COLUMN, READING_NAMES, READINGS, YIELD_COLUMN, Batch
from batchyield.plant.simulator.campaigns import Regime

Kind = Literal[
    "one_digit_minute", "semicolon", "fullwidth_semicolon", "excel_date", "stray_colon", "double_colon",
    "trailing_character", "no_colon", "twenty_four", "quote", "three_digit_minute", "no_hour",
    "backward_step", "impossible_range", "key_slip", "other_charge", "wrong_column", "wrong_scale",
]  # fmt: skip
"""Kinds of dirt. Up to `no_hour` the cell itself is malformed. The others are well formed, and only other cells may
reveal them; `other_charge` (B14 420 for 400 or back) shows only in the yield."""

IDS = (ID_COLUMN,) if ID_COLUMN else ()
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
        clean: correct cell texts in the order of `batch.READING_NAMES`; blank is the empty text.
        dirty: the same as typed; the same tuple if nothing is wrong.
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
        """Return `sample_N`."""
        return f"sample_{self.number}"

    def batch(self) -> Batch:
        """Return the clean row as a `Batch`: numbers as floats, blanks as None."""
        values = {n: (float(v) if n in NUMERIC else v) for n, v in zip(READING_NAMES, self.clean, strict=True) if v}
        return msgspec.convert({"id": self.id, **values}, Batch)


@dataclass(frozen=True)
class Plant:
    """A simulated data set.

    Attributes:
        rows: in file order, which is shuffled; sort by `number` for time order.
        batches: number of batches that the plant ran; the rows are drawn from them.
    """

    rows: tuple[Row, ...]
    batches: int

    @cached_property
    def clean(self) -> list[dict[str, str]]:
        """The correct cell texts by column, one dict per row."""
        return [dict(zip(READING_NAMES, row.clean, strict=True)) for row in self.rows]

    @cached_property
    def dirty(self) -> list[dict[str, str]]:
        """The cell texts of the file by column, one dict per row."""
        return [dict(zip(READING_NAMES, row.dirty, strict=True)) for row in self.rows]

    @property
    def yields(self) -> list[float]:
        """The yields as fractions, one per row."""
        return [float(row.outcome) for row in self.rows]

    def csv(self, *, clean: bool = False) -> bytes:
        """Return the plant's file with dirty or clean cells: header with Chinese names, GB18030, LF."""
        header = ",".join((*IDS, *READING_NAMES, YIELD_COLUMN))
        lines = (
            ",".join((*(row.id for _ in IDS), *(row.clean if clean else row.dirty), row.outcome)) for row in self.rows
        )
        return "\n".join((header, *lines, "")).encode(ENCODING)
