"""Parsing of cells: clean cells, dirty cells and the table of repairs."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchyield.plant.cells import RULES, WARNING_KINDS, parse_clock, parse_number, parse_range

READERS = {"clock": parse_clock, "range": parse_range, "number": parse_number}
CATALOGUE = Path(__file__).parents[2] / "docs" / "cells.md"

minutes = st.integers(0, 1439)
clocks = minutes.map(lambda m: f"{m // 60}:{m % 60:02d}")
FORMATS = (lambda c: c, lambda c: f"{c}:00", lambda c: c.zfill(5), lambda c: f"{c}:00".zfill(8), lambda c: f" {c}\t")


def read(column, text):
    """The reading without its warning, always as a tuple, and the warning's kind."""
    *reading, warning = READERS[column](text)
    return tuple(reading), warning and warning[0]


# A corruption takes a clock such as `7:05` and returns what the plant might have written instead.
def _insert_digit(clock, draw):
    hour, minute = clock.split(":")
    at = draw(st.integers(0, 2))
    return f"{hour}:{minute[:at]}{draw(st.integers(0, 9))}{minute[at:]}"


def _drop_zero(clock, draw):
    zeros = [i for i in range(clock.index(":") + 1, len(clock)) if clock[i] == "0"]
    if not zeros:
        return clock
    at = draw(st.sampled_from(zeros))
    return clock[:at] + clock[at + 1 :]


def _full_width(clock, draw):
    wide = clock.translate({ord(c): chr(ord(c) + 0xFEE0) for c in "0123456789"})
    return wide.replace(":", draw(st.sampled_from("：；:")))


CORRUPTIONS = {
    "full_width": _full_width,
    "semicolon": lambda clock, draw: clock.replace(":", draw(st.sampled_from(";；"))),
    "quote": lambda clock, draw: clock.replace(":", draw(st.sampled_from("\"'“”‘’"))),
    "hour_mark": lambda clock, draw: clock.replace(":", draw(st.sampled_from("时時点點"))),
    "spacing": lambda clock, draw: clock.replace(":", draw(st.sampled_from([" :", ": ", " : ", ":\u3000"]))),
    "trailing": lambda clock, draw: clock + draw(st.sampled_from("分秒.。,、，．")),
    "double_colon": lambda clock, draw: clock.replace(":", draw(st.sampled_from(["::", ":::"]))),
    "no_hour": lambda clock, _: clock[clock.index(":") :],
    "stray_colon": lambda clock, _: clock + ":",
    "no_minute": lambda clock, _: clock[: clock.index(":") + 1],
    "short_minute": _drop_zero,
    "long_minute": _insert_digit,
    "no_colon": lambda clock, _: clock.replace(":", ""),
    "hour_24": lambda clock, _: re.sub("^0:00", "24:00", clock),
    "seconds": lambda clock, draw: f"{clock}:{draw(st.integers(0, 59)):02d}",
}


def excel(clock, draw):
    """A clock column's cell as Excel shows it: a typed hour as a day, a clock with a day before it, or a fraction."""
    hour, minute = map(int, clock.split(":"))
    forms = [f"{(hour * 60 + minute) / 1440:.9f}"]
    if minute == 0:
        forms += [f"1900/1/{hour} 0:00", f"1900-01-{hour:02d} 00:00:00", str(hour)]
    if (hour, minute) != (0, 0):
        forms += [f"1900/{draw(st.integers(1, 12))}/{draw(st.integers(1, 28))} {clock}", f"2018-12-27 {clock}:00"]
    return draw(st.sampled_from(forms))


def _excel_calendar(day):
    """Excel's own day -> `year/month`, day of month, by counting through the calendar it believes in."""
    year, month = 1900, 1
    while True:
        leap = year == 1900 or (year % 4 == 0 and year % 100 != 0)
        length = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
        if day <= length:
            return f"{year}/{month}", day
        day, month = day - length, month + 1
        if month > 12:
            year, month = year + 1, 1


def examples():
    return [(rule.kind, *e) for rule in RULES for e in rule.examples]


class TestClean:
    @given(minutes, st.sampled_from(FORMATS))
    def test_clock(self, minute, form):
        """A clean clock is read without a warning."""
        assert parse_clock(form(f"{minute // 60}:{minute % 60:02d}")) == (minute, None)

    @given(minutes, minutes, st.sampled_from(FORMATS[:4]))
    def test_range(self, start, end, form):
        """A clean range is read without a warning, also across midnight."""
        text = "-".join(form(f"{m // 60}:{m % 60:02d}") for m in (start, end))
        assert parse_range(text) == (start, end, None)

    @given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["{}", "{:.2f}", " {} ", "{:+e}"]))
    def test_number(self, value, form):
        """A clean number is read without a warning."""
        assert parse_number(form.format(value)) == (float(form.format(value)), None)


class TestDirty:
    @settings(deadline=None)
    @given(st.sampled_from(sorted(READERS)), st.text() | st.text("0123456789:;-/ .分"))
    @example("number", "1" * 5000)
    @example("clock", "1" + " " * 200_000 + "1")
    @example("range", "9999/99/99 99:99")
    def test_any_text(self, column, text):
        """Any text gives a valid value, or None with a warning."""
        *reading, warning = READERS[column](text)
        if column == "number":
            assert all(value is None or abs(value) < float("inf") for value in reading)
        else:
            assert len({value is None for value in reading}) == 1
            assert all(value is None or 0 <= value <= 1439 for value in reading)
        if not text.strip():
            assert warning is None
        elif None in reading:
            assert warning is not None
        if warning:
            assert warning[0] in WARNING_KINDS
            assert warning[1].isprintable()
            assert len(warning[1]) < 150

    @pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)
    @given(data=st.data())
    def test_corrupted_clock(self, corruption, data):
        """A corrupted clock is the original or missing, never another time."""
        clock = data.draw(clocks)
        dirty = corruption(clock, data.draw)
        reading, kind = read("clock", dirty)
        assert reading in (read("clock", clock)[0], (None,))
        assert dirty == clock or kind or reading == read("clock", clock)[0]
        assert reading != (None,) or kind

    @pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)
    @given(data=st.data())
    def test_corrupted_range(self, corruption, data):
        """A corrupted range is the original or missing, never another range."""
        ends = [data.draw(clocks), data.draw(clocks)]
        dirty = [corruption(end, data.draw) if data.draw(st.booleans()) else end for end in ends]
        dash = data.draw(st.sampled_from(["-", "－", "—", " - ", "--", "~", "至"]))
        reading, kind = read("range", dash.join(dirty))
        assert reading in (read("range", "-".join(ends))[0], (None, None))
        assert reading != (None, None) or kind

    @given(clocks, st.data())
    def test_excel_clock(self, clock, data):
        """A clock as Excel shows it is the original or missing."""
        reading, kind = read("clock", excel(clock, data.draw))
        assert reading in (read("clock", clock)[0], (None,))
        assert kind == "excel_date" or (reading, kind) == ((None,), "unreadable")

    @given(st.integers(0, 360_000))
    def test_excel_number(self, hundredths):
        """A number of two decimals is read back from its Excel date."""
        day, minute = divmod(hundredths * 1440 // 100, 1440)
        month, of_month = _excel_calendar(day)
        text = f"{month} {of_month} {minute // 60}:{minute % 60:02d}".replace(" ", "/", 1)
        assert read("number", text) == ((hundredths / 100,), "excel_date")

    @given(st.sampled_from(["30", "00"]), st.characters(exclude_characters="0123456789"), clocks)
    def test_trailing_character(self, minute, character, start):
        """Only a character without meaning is dropped after a clock."""
        (_, end), _ = read("range", f"{start}-6:{minute}{character}")
        harmless = character.isspace() or character in "分秒.。,、:;；：，．"
        assert end == (360 + int(minute) if harmless else None)

    @pytest.mark.parametrize(
        "text", ["0.5", "13.30", "9.291666", "15:0016:00", "6:30pm", "1²:00", "٣:30", "1900/2/30 7:00"]
    )
    def test_ambiguous_clock(self, text):
        """An ambiguous clock is missing."""
        assert read("clock", text)[0] == (None,)

    @pytest.mark.parametrize(
        "text", ["1,200", "3,5", "1_0", "٣", "13:30", "1e999", "-inf", "#N/A", "1910/1/1 0:00", "٣.5"]
    )
    def test_ambiguous_number(self, text):
        """An ambiguous number is missing."""
        assert read("number", text)[0] == (None,)


class TestRules:
    @pytest.mark.parametrize(("kind", "column", "cell", "reading"), examples())
    def test_examples(self, kind, column, cell, reading):
        """Every example of RULES gives its value and its warning."""
        found, found_kind = read(column, cell)
        assert found == read(column, reading)[0]
        assert found_kind == kind
        message = READERS[column](cell).warning[1]
        assert message.startswith(f"'{cell}' {f'read as {reading}' if reading else 'taken as missing'}")

    def test_kinds(self):
        """Every kind of warning has an example."""
        assert set(WARNING_KINDS) == {kind for kind, *_ in examples()} | {"unreadable"}

    def test_docs(self):
        """The table of docs/cells.md equals RULES and has a reason in each row."""
        rows = [
            line.strip("|").split(" | ") for line in CATALOGUE.read_text("utf-8").splitlines() if line.startswith("| `")
        ]
        written = [tuple(cell.strip().strip("`").strip() for cell in row[:4]) for row in rows]
        assert written == [(kind, column, cell, reading or "missing") for kind, column, cell, reading in examples()]
        assert all(len(row) == 5 and row[4].strip() for row in rows)
