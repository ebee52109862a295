"""Parses one cell of the plant's file: a clock or range into minutes after midnight, or a number.

A clean cell takes a fast path. Any other goes through `RULES`, one ordered table of repairs. A cell is repaired only
if its meaning is certain; an ambiguous cell is missing. Both give a warning. `docs/cells.md` shows the same table.
"""

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

DAY_MINUTES = 1440


class Clock(NamedTuple):
    """Minutes after midnight, 0..1439, or None if blank or unreadable; (kind, message) if the cell was not clean."""

    minutes: int | None
    warning: tuple[str, str] | None


class Span(NamedTuple):
    """Start and end, minutes after midnight, both None if unreadable; `end < start` crosses midnight."""

    start: int | None
    end: int | None
    warning: tuple[str, str] | None


class Number(NamedTuple):
    """A finite number, or None if blank or unreadable; (kind, message) if the cell was not clean."""

    value: float | None
    warning: tuple[str, str] | None


WARNING_KINDS: dict[str, str] = {
    "full_width": "full-width characters",
    "semicolon": "`;` for `:`",
    "quote": "a quote mark for `:`",
    "hour_mark": "时 or 点 for `:`",
    "dash": "another dash than `-`",
    "spacing": "blanks inside the cell",
    "excel_date": "an Excel date or day number instead of what was typed",
    "trailing": "a character after the clock",
    "double_colon": "two colons in a row",
    "no_hour": "the hour is lost",
    "stray_colon": "a colon after the clock",
    "no_minute": "the minute is lost",
    "short_minute": "a minute of one digit",
    "long_minute": "a minute of three digits",
    "no_colon": "no colon",
    "hour_24": "24:00 for midnight",
    "seconds": "seconds are dropped",
    "out_of_range": "no such time of day",
    "not_finite": "not a finite number",
    "unreadable": "no known form",
}
"""Stable kinds of cell warnings, and what each means."""

AMBIGUOUS = "?"
"""The result of a repair that has more than one possible meaning; no clean cell contains it."""


def _excel_day(year: int, month: int, day: int) -> int | None:
    """Excel's day number: 1 is 1900-01-01, 0 is shown as 1900-01-00, and 1900 counts as a leap year."""
    if (year, month, day) == (1900, 1, 0):
        return 0
    try:
        if year == 1900:
            return date(1904, month, day).toordinal() - date(1903, 12, 31).toordinal()
        return date(year, month, day).toordinal() - date(1899, 12, 30).toordinal() if year > 1900 else None
    except ValueError:
        return None


def _hour(day: int) -> str:
    # Excel turns both a typed `1` and a typed `24:00` into day 1.
    return f"{day}:00" if day <= 24 and day != 1 else AMBIGUOUS


def _clock_from_date(match: re.Match[str]) -> str:
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    number = _excel_day(year, month, day)
    if number is None:
        return AMBIGUOUS
    if not (hour or minute or second):
        return _hour(number)
    # Excel shows a mistyped `223:00` as 1900/1/9 7:00, so the hour shown is not the intended one.
    return AMBIGUOUS if year == 1900 and number else f"{hour}:{minute:02d}:{second:02d}"


def _clock_from_fraction(match: re.Match[str]) -> str:
    minutes = float(match[0]) * DAY_MINUTES
    whole = round(minutes)
    return f"{whole // 60}:{whole % 60:02d}" if abs(minutes - whole) < 1e-3 else AMBIGUOUS


def _number_from_date(match: re.Match[str]) -> str:
    """The only number of at most two decimals that Excel shows as this date; from 1910 on it is a real date."""
    year, month, day, hour, minute, _ = (int(part or 0) for part in match.groups())
    number = _excel_day(year, month, day)
    if number is None or year >= 1910 or hour > 23 or minute > 59:
        return AMBIGUOUS
    minutes = number * DAY_MINUTES + hour * 60 + minute
    hundredths = -(-minutes * 100 // DAY_MINUTES)
    return str(hundredths / 100) if hundredths * DAY_MINUTES // 100 == minutes else AMBIGUOUS


def _one_digit_less(match: re.Match[str]) -> str:
    digits = match[0]
    minutes = {left for i in range(3) if (left := digits[:i] + digits[i + 1 :]) < "60"}
    return minutes.pop() if len(minutes) == 1 else AMBIGUOUS


class Rule(NamedTuple):
    """A pattern in some columns and its replacement; examples are (column, cell, value or '' for missing)."""

    kind: str
    columns: str
    pattern: str
    repair: str | Callable[[re.Match[str]], str]
    examples: tuple[tuple[str, str, str], ...]


_DATE = r"\A([0-9]{4})[/-]([0-9]{1,2})[/-]([0-9]{1,2})(?:[ T]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.0+)?)?)?\Z"
_START, _END = r"(?<![^-])", r"(?![^-])"  # of a clock: an edge of the cell, or the range's dash
_BOTH, _ALL = "clock range", "clock range number"

RULES: tuple[Rule, ...] = (
    Rule("full_width", _ALL, "[！-～]", lambda match: chr(ord(match[0]) - 0xFEE0), (
        ("range", "20；00-22:00", "20:00-22:00"), ("clock", "１３：３０", "13:30"), ("number", "３．５", "3.5"))),
    Rule("full_width", "number", "(?<=[0-9])。(?=[0-9])", ".", (("number", "3。5", "3.5"),)),
    Rule("semicolon", _BOTH, ";", ":", (("range", "1:30-3;00", "1:30-3:00"),)),
    Rule("quote", _BOTH, "(?<=[0-9])[\"'“”‘’](?=[0-9])", ":", (("range", '22"00-0:00', "22:00-0:00"),)),
    Rule("hour_mark", _BOTH, "(?<=[0-9])[时時点點](?=[0-9])", ":", (("clock", "13点30", "13:30"),)),
    Rule("dash", "range", "-{2,}|[–—−~至到]", "-", (("range", "21:00—21:30", "21:00-21:30"),)),
    Rule("spacing", _BOTH, r"(?<=[:-])\s+|\s+(?=[:-])", "", (("range", "21:00 - 21:30", "21:00-21:30"),)),
    Rule("excel_date", "clock", _DATE, _clock_from_date, (
        ("clock", "1900/1/21 0:00", "21:00"), ("clock", "2018/12/27 7:00", "7:00"), ("clock", "1900/1/9 7:00", ""),
        ("clock", "1900/3/13 0:00", ""), ("clock", "1900/1/1 0:00", ""))),
    Rule("excel_date", "clock", r"\A[0-9]{1,2}\Z", lambda match: _hour(int(match[0])), (
        ("clock", "21", "21:00"), ("clock", "73", ""))),
    Rule("excel_date", "clock", r"\A0?\.[0-9]{3,}\Z", _clock_from_fraction, (("clock", "0.5625", "13:30"),)),
    Rule("excel_date", "number", _DATE, _number_from_date, (
        ("number", "1900/1/21 0:00", "21"), ("number", "1900/3/10 0:00", "70"), ("number", "1900/1/3 12:00", "3.5"),
        ("number", "2018/12/27 0:00", ""))),
    Rule("trailing", _BOTH, f"(?<=[0-9])[分秒.。,、]{_END}", "", (("range", "6:00-6:30分", "6:00-6:30"),)),
    Rule("no_minute", "clock", r"\A[0-9]+::00\Z", AMBIGUOUS, (("clock", "14::00", ""),)),
    Rule("double_colon", _BOTH, ":{2,}", ":", (
        ("range", "14::30-15:30", "14:30-15:30"), ("range", "2:00-4::00", "2:00-4:00"))),
    Rule("no_hour", _BOTH, f"{_START}:", AMBIGUOUS, (("clock", ":30:00", ""),)),
    Rule("stray_colon", _BOTH, f"(?<=:[0-9]{{2}}):{_END}", "", (("range", "18:00:-18:30", "18:00-18:30"),)),
    Rule("no_minute", _BOTH, f"(?<=[0-9]):{_END}", AMBIGUOUS, (("range", "19:-20:05", ""),)),
    Rule("short_minute", _BOTH, "(?<=:)0(?![0-9])", "00", (
        ("range", "10:00-11:0", "10:00-11:00"), ("range", "23:0-1:0", "23:00-1:00"))),
    Rule("short_minute", _BOTH, "(?<=:)[1-9](?![0-9])", AMBIGUOUS, (("range", "10:00-11:3", ""),)),
    Rule("long_minute", _BOTH, "(?<=:)[0-9]{3}(?![0-9])", _one_digit_less, (
        ("range", "16:00-17:000", "16:00-17:00"), ("range", "16:00-17:002", ""))),
    Rule("no_colon", _BOTH, f"{_START}([0-9]{{1,2}})([0-9]{{2}}){_END}", r"\1:\2", (
        ("clock", "700", "7:00"), ("range", "15:00-1600", "15:00-16:00"))),
    Rule("hour_24", _BOTH, rf"{_START}24:00(?=:00\Z|-|\Z)", "0:00", (("range", "23:00-24:00", "23:00-0:00"),)),
    Rule("out_of_range", _BOTH, f"{_START}(2[4-9]|[3-9][0-9]|[0-9]{{3,}}):|:[6-9][0-9]", AMBIGUOUS, (
        ("clock", "25:00:00", ""), ("range", "10:00-11:75", ""))),
    Rule("seconds", _BOTH, f"(:[0-5][0-9]):(?!00)[0-5][0-9]{_END}", r"\1", (("clock", "13:30:15", "13:30"),)),
    Rule("not_finite", "number", r"(?i)\A[+-]?(nan|inf(inity)?)\Z", AMBIGUOUS, (("number", "NaN", ""),)),
)  # fmt: skip
"""All repairs in the order they are applied; the first that matches gives the warning its kind."""

_TIME = r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::00)?"
_CLEAN = {
    "clock": re.compile(_TIME),
    "range": re.compile(f"{_TIME}-{_TIME}"),
    "number": re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"),
}
_LONGEST = 64  # longer cells cannot be repaired, and some patterns take quadratic time
_REPAIRS = {
    column: [(rule, re.compile(rule.pattern)) for rule in RULES if column in rule.columns.split()] for column in _CLEAN
}


def _match(column: str, text: str) -> tuple[re.Match[str] | None, str]:
    """The match of the clean form, None if uncertain; and the kind of the first repair, '' if clean or blank."""
    match, kind = _CLEAN[column].fullmatch(text), ""
    if match or not text:
        return match, kind
    if len(text) > _LONGEST:
        return None, "unreadable"
    for rule, pattern in _REPAIRS[column]:
        before, text = text, pattern.sub(rule.repair, text)
        if text != before:
            kind = kind or rule.kind
            if AMBIGUOUS in text:
                return None, rule.kind
    match = _CLEAN[column].fullmatch(text)
    return match, kind if match else "unreadable"


def _warning(kind: str, text: str, reading: str = "") -> tuple[str, str] | None:
    if not kind:
        return None
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text[:40]) + "…" * (len(text) > 40)
    return kind, f"'{shown}' {f'read as {reading}' if reading else 'taken as missing'}: {WARNING_KINDS[kind]}"


def format_time(minutes: int) -> str:
    """Return minutes after midnight as `H:MM`."""
    return f"{minutes // 60}:{minutes % 60:02d}"


@lru_cache(maxsize=4096)
def parse_clock(text: str) -> Clock:
    """Return the clock of a cell such as `13:30:00` or `13:30`, repaired if needed; blank gives no warning."""
    text = text.strip()
    match, kind = _match("clock", text)
    if not match:
        return Clock(None, _warning(kind, text))
    minutes = int(match[1]) * 60 + int(match[2])
    return Clock(minutes, _warning(kind, text, format_time(minutes)))


@lru_cache(maxsize=16384)
def parse_range(text: str) -> Span:
    """Return the range of a cell such as `21:00-21:30`, repaired if needed; blank gives no warning."""
    text = text.strip()
    match, kind = _match("range", text)
    if not match:
        return Span(None, None, _warning(kind, text))
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    return Span(start, end, _warning(kind, text, f"{format_time(start)}-{format_time(end)}"))


@lru_cache(maxsize=16384)
def parse_number(text: str) -> Number:
    """Return the number of a cell such as `405` or `3.5`, repaired if needed; blank gives no warning."""
    text = text.strip()
    match, kind = _match("number", text)
    value = float(match[0]) if match else None
    if value is None or not isfinite(value):
        return Number(None, _warning("not_finite" if match else kind, text))
    return Number(value, _warning(kind, text, f"{value:g}"))
