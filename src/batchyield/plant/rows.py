"""Types of the rows of `plant.table`."""

import math
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:  # the client reads these types, and needs no NumPy
    import numpy as np
    import numpy.typing as npt

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
        settable: whether the plant chooses it; false for results of the process, which the console does not suggest
            to change.
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
    settable: bool = True

    @property
    def description(self) -> str:
        """The meaning with its unit, as in the JSON schema."""
        return f"{self.meaning} [{self.unit}]" if self.unit else self.meaning


class CellWarning(msgspec.Struct, frozen=True, gc=False):
    """A cell that was repaired or taken as missing.

    Attributes:
        field: the reading, for example `B9`.
        kind: a stable name for counting, from `WARNING_KINDS` of `cells`, `csv_reader`, `other_schemas` or `features`.
        message: the text of the cell and the value used instead.
    """

    field: str
    kind: str
    message: str


FeatureKind = Literal[
    "number", "ratio", "difference", "step", "length", "missing", "clock", "shift", "sum", "sum_of_known", "id_number"
]


class FeatureRow(NamedTuple):
    """A feature with its computation; the functions below make the rows.

    Attributes:
        kind: the computation, as `plant.features.matrix` does it.
        of: readings or other features that it is computed from.
        name: column of the feature matrix.
        group: key of `GROUPS`; empty: an intermediate quantity that is no feature.
        meaning: what it is; empty: derived from the meanings of `of`.
    """

    kind: FeatureKind
    of: tuple[str, ...]
    name: str
    group: str
    meaning: str = ""


def ratio(over: str, under: str, meaning: str = "", group: str = "ratios") -> FeatureRow:
    """Return the row of `over` divided by `under`; missing where `under` is below `LEAST_DIVISOR`."""
    return FeatureRow("ratio", (over, under), f"{over}_per_{under}", group, meaning)


def difference(first: str, second: str, meaning: str = "", group: str = "temperatures") -> FeatureRow:
    """Return the row of `first` minus `second`."""
    return FeatureRow("difference", (first, second), f"{first}_minus_{second}", group, meaning)


def step(earlier: str, later: str, group: str = "steps") -> FeatureRow:
    """Return the row of the minutes from a clock, or the end of a range, to a later clock or start of a range."""
    return FeatureRow("step", (earlier, later), f"{earlier}_to_{later}", group)


def length(name: str, group: str = "lengths") -> FeatureRow:
    """Return the row of the length of a range, in minutes."""
    return FeatureRow("length", (name,), f"{name}_length", group)


def missing(name: str, group: str = "missing") -> FeatureRow:
    """Return the row of a flag: 1 where a reading is missing, else 0."""
    return FeatureRow("missing", (name,), f"{name}_missing", group)


def clock(name: str, group: str = "clocks") -> FeatureRow:
    """Return the row of the time of day of a clock or of the start of a range, in minutes."""
    return FeatureRow("clock", (name,), f"{name}_clock", group)


def shift(name: str, meaning: str, group: str = "clocks") -> FeatureRow:
    """Return the row of the minutes from the last change of shift to a clock."""
    return FeatureRow("shift", (name,), f"{name}_in_shift", group, meaning)


def total(name: str, of: tuple[str, ...], meaning: str = "", group: str = "", *, known: bool = False) -> FeatureRow:
    """Return the row of a sum; with `known`, of the known terms, missing where there is none above 0."""
    return FeatureRow("sum_of_known" if known else "sum", of, name, group, meaning)


def id_number(meaning: str, group: str = "order") -> FeatureRow:
    """Return the row of the number at the end of the id, which orders the batches by time."""
    return FeatureRow("id_number", (), "id_number", group, meaning)


Warned = MutableMapping[int, list[CellWarning]]
"""Row -> its warnings so far; a default dict of lists."""

Repair = Callable[["npt.NDArray[np.float64]", Warned], None]
"""Corrects the numbers [number readings, n] in place and adds a warning for each repair."""


class RepairRule(Protocol):
    """Repair of numbers that other readings contradict.

    Attributes:
        kinds: kind of warning -> what was wrong and what was done.
        names: the readings that it uses.
        note: sentences for the data dictionary.
    """

    @property
    def kinds(self) -> dict[str, str]: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def note(self) -> str: ...

    def repair_of(self, at: Mapping[str, int], plausible: Mapping[str, Range]) -> Repair:
        """Return the repair, given the row of each reading in the matrix and the plausible ranges."""

    def fits_of(self, plausible: Mapping[str, Range]) -> Callable[..., bool]:
        """Return a function of the values of `names`, NaN where missing: whether the repair leaves them as they are."""


class Slice(NamedTuple):
    """An aspect by which the evaluation divides the test batches.

    Attributes:
        of: features that determine the label.
        label: returns the label for their values; NaN is missing.
    """

    name: str
    of: tuple[str, ...]
    label: Callable[..., str]


class Target(NamedTuple):
    """What the model predicts.

    Attributes:
        column: header in the plant's file.
        word: its name in texts, for example `yield`.
        word_zh: the same in Chinese.
        unit: as shown to people: `%`, `MPa`; empty for a pure number.
        factor: shown value per stored value: 100 for a fraction shown in percent.
        decimals: of a shown value.
        typical: a typical stored value, for messages.
        usual: range of most values.
        bounds: bounds of a measured value.
        limits: limits of every prediction interval.
        scale: spread of the measured values of good batches: what counts as a small or a large error derives from it.
    """

    column: str
    word: str
    word_zh: str
    unit: str
    factor: float
    decimals: int
    typical: float
    usual: Range
    bounds: Range
    limits: Range
    scale: float

    @property
    def order(self) -> int:
        """Decimal order of the scale, 0 for a scale of 0.01 to 0.1: decimals and tolerances move with it."""
        return math.floor(math.log10(self.scale)) + 2

    @property
    def score_power(self) -> int:
        """A score, half a mean squared error, is shown in this power of ten, so that its digits are not all zeros."""
        return min(0, 2 * self.order - 4)

    @property
    def score_factor(self) -> float:
        """Shown score per score in stored units."""
        return float(f"1e{-self.score_power}")

    @property
    def score_unit(self) -> str:
        """The unit of a shown score: `1e-4` for a fraction, `MPa²` for a strength."""
        power = f"1e{self.score_power}" if self.score_power else ""
        return f"{power} {self.unit}²".strip() if self.unit and self.factor == 1 else power

    @property
    def in_score_unit(self) -> str:
        """` in 1e-4` or ` in MPa²`, for texts; empty for a pure number."""
        return f" in {self.score_unit}" if self.score_unit else ""

    def shown_score(self, score: float) -> str:
        """Return a score in stored units as text with its unit, for example `1.139e-4` or `13.002 MPa²`."""
        unit = self.score_unit
        return f"{score * self.score_factor:.3f}{unit[1:] if unit.startswith('1e') else f' {unit}'.rstrip()}"

    @property
    def buckets(self) -> tuple[float, ...]:
        """Edges of the histogram of predictions: 18 even steps over the usual range, and wider ones below."""
        low, high = self.usual
        step = (high - low) / 18
        edges = (low + step * k for k in (-32, -22, -12, -7, -2, *range(19)))
        return tuple(round(edge, 2 - self.order) for edge in edges if edge >= self.bounds[0])

    @property
    def words(self) -> str:
        """The plural of the word."""
        if self.word.endswith("y") and self.word[-2:-1] not in "aeiou":
            return f"{self.word[:-1]}ies"
        return f"{self.word}{'e' * self.word.endswith(('s', 'x', 'ch', 'sh'))}s"

    @property
    def with_article(self) -> str:
        """The word with its article, for example `a yield`."""
        return f"a{'n' * (self.word[:1] in 'aeiou')} {self.word}"

    @property
    def is_fraction(self) -> bool:
        """Whether a value is stored as a fraction and shown in percent."""
        return self.factor == 100 and self.unit == "%"

    @property
    def stored(self) -> str:
        """The word with the unit of a stored value: `yield, as a fraction`, `strength [MPa]`."""
        if self.is_fraction:
            return f"{self.word}, as a fraction"
        return f"{self.word} [{self.unit}]" if self.unit and self.factor == 1 else self.word

    @property
    def expected(self) -> str:
        """What a stored value looks like, for messages: `a yield is a fraction near 0.92`."""
        unit = f" {self.unit}" * bool(self.unit and self.factor == 1)
        return f"{self.with_article} is a {'fraction' if self.is_fraction else 'number'} near {self.typical:g}{unit}"

    @property
    def difference_unit(self) -> str:
        """The unit of a shown difference: percentages differ by points."""
        return "points" if self.unit == "%" else self.unit

    def shown(self, value: float, decimals: int | None = None) -> str:
        """Return a stored value as text with its unit, for example `92.13 %`."""
        number = f"{value * self.factor:.{self.decimals if decimals is None else decimals}f}"
        return f"{number} {self.unit}" if self.unit else number
