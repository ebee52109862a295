"""The language of the drift report: its texts, numbers with their nouns, and the names of readings and target."""

from collections.abc import Callable, Sequence
from typing import Literal

from batchyield.monitoring.live_error import EstimateWithLimits
from batchyield.monitoring.report.chinese import NOUNS, TEXTS
from batchyield.plant.features.catalogue import ROWS, Feature
from batchyield.plant.rows import Reading
from batchyield.plant.table import READINGS, TARGET

Language = Literal["en", "zh"]

MAX_NAMES = 6
"""Names in a sentence; the page lists all."""

THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"

_READINGS = {reading.name: reading for reading in READINGS}
_ROWS = {row.name: row for row in ROWS}


class Words:
    """The report's words in a language; an instance translates when it is called."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._chinese = language == "zh"
        self.target = TARGET.word_zh or TARGET.word if self._chinese else TARGET.word
        self.targets = self.target if self._chinese else TARGET.words

    def __call__(self, english: str, **values: object) -> str:
        """Return a text with its values; `{target}` and `{targets}` are the words of the target."""
        return self.template(english).format(target=self.target, targets=self.targets, **values)

    def template(self, english: str) -> str:
        """Return a text whose values are still names in braces."""
        return TEXTS[english] if self._chinese else english

    @property
    def stored_target(self) -> str:
        """The word of the target with the unit of a stored value."""
        return self("{target}, as a fraction") if TARGET.is_fraction else TARGET._replace(word=self.target).stored

    def reading(self, reading: Reading) -> str:
        """Return what a reading is, with its unit."""
        return reading._replace(meaning=self._meaning(reading)).description

    def feature(self, feature: Feature) -> str:
        """Return what a feature that is tested for a reading is."""
        return self._describe(feature, self._meaning) if self._chinese else feature.description

    def axis(self, feature: Feature) -> str:
        """Return the name of a feature that is tested for a reading, with its unit."""
        name = self._describe(feature, lambda reading: reading.name) if self._chinese else feature.name
        return f"{name} [{feature.unit}]" if feature.unit else name

    def _describe(self, feature: Feature, named: Callable[[Reading], str]) -> str:
        row = _ROWS[feature.name]
        return self(f"feature {row.kind}", of=[named(_READINGS[name]) for name in row.of])

    def _meaning(self, reading: Reading) -> str:
        return reading.meaning_zh or reading.meaning if self._chinese else reading.meaning

    def interval(self, estimate: EstimateWithLimits, share: bool) -> str:
        """Format a figure with its confidence limits, as shares or as points."""
        form = self.percent if share else self.points
        value, lower, upper = (form(figure) for figure in (estimate.value, estimate.lower, estimate.upper))
        return self("{value} ({lower} to {upper})", value=value, lower=lower, upper=upper)

    def percent(self, share: float) -> str:
        """Format a share."""
        return f"{100 * share:.1f}{THIN_SPACE}%"

    def duration(self, seconds: float) -> str:
        """Format a time as seconds, minutes or hours."""
        if seconds >= 3600:
            return self("{number} hours", number=f"{seconds / 3600:.1f}")
        if seconds >= 60:
            return self("{number} minutes", number=f"{seconds / 60:.1f}")
        return self("{number} seconds", number=f"{seconds:.1f}")

    def predicted(self, value: float) -> str:
        """Format a mean of the target with its unit."""
        return TARGET.shown(value, max(0, TARGET.decimals - 1)).replace(" ", THIN_SPACE)

    def points(self, difference: float) -> str:
        """Format a difference of targets in its unit, of percentages in points."""
        value = round(difference * TARGET.factor, TARGET.decimals) + 0.0  # + 0.0: no "-0.00"
        number = f"{value:.{TARGET.decimals}f}"
        return self("{number} points", number=number) if TARGET.unit == "%" else f"{number} {TARGET.unit}".rstrip()

    def number(self, value: float | None) -> str:
        """Format a reading; a dash if there is none."""
        return "–" if value is None else f"{value:.4g}"

    def count(self, quantity: int, noun: str) -> str:
        """Format a number with its noun: `1 batch`, `2 batches`."""
        if self._chinese:
            return NOUNS[noun].format(f"{quantity:,}")
        ending = "" if quantity == 1 else "es" if noun.endswith("ch") else "s"
        return f"{quantity:,} {noun}{ending}"

    def join(self, names: Sequence[str], limit: int = MAX_NAMES) -> str:
        """Return names as a list in a sentence, those after `limit` as their number."""
        shown, comma = list(names[:limit]), self(", ")
        if len(names) > limit:
            return self("{names} and {count} more", names=comma.join(shown), count=len(names) - limit, all=len(names))
        return self(" and ").join([comma.join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


ENGLISH = Words("en")
