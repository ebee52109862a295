"""Types of the rows of `plant.table`."""

from typing import Literal, NamedTuple

import msgspec

Kind = Literal["number", "clock", "range"]
Range = tuple[float, float]


class Reading(NamedTuple):
    """A column of the plant's file.

    Attributes:
        name: header of the column and name of the JSON field.
        kind: `number`, `clock` (`13:30:00`) or `range` (`21:00-21:30`).
        unit: of a number; empty for none.
        meaning: what it is, in English.
        meaning_zh: the same in Chinese.
        usual: where the plant runs: a value outside is reported, and many outside stop the pipeline.
        plausible: a number outside is a typing error or of another column, and is taken as missing.
        may_be_blank: whether the whole column may be blank.
        example: value in the examples of the API; None: blank.
        since: version of the package that first knows the reading: a CSV file without the column is read, with the
            reading missing and a warning. None: every file has it.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    meaning_zh: str
    usual: Range | None
    plausible: Range | None
    may_be_blank: bool
    example: float | str | None
    since: str | None = None

    @property
    def description(self) -> str:
        """The meaning with its unit, as in the JSON schema."""
        return f"{self.meaning} [{self.unit}]" if self.unit else self.meaning


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
