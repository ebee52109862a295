"""Cells: clean ones go through, dirty ones are recovered or missing with a warning, and no text is ever refused."""

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


@settings(deadline=None)
@given(st.sampled_from(sorted(READERS)), st.text() | st.text("0123456789:;-/ .分"))
@example("number", "1" * 5000)
@example("clock", "1" + " " * 200_000 + "1")
@example("range", "9999/99/99 99:99")
def test_any_text_is_answered_within_range(column, text):
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


@given(minutes, st.sampled_from(FORMATS))
def test_a_clean_clock_reads_as_written(minute, form):
    assert parse_clock(form(f"{minute // 60}:{minute % 60:02d}")) == (minute, None)


@given(minutes, minutes, st.sampled_from(FORMATS[:4]))
def test_a_clean_range_reads_as_written_across_midnight_too(start, end, form):
    text = "-".join(form(f"{m // 60}:{m % 60:02d}") for m in (start, end))
    assert parse_range(text) == (start, end, None)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["{}", "{:.2f}", " {} ", "{:+e}"]))
def test_a_clean_number_reads_as_written(value, form):
    assert parse_number(form.format(value)) == (float(form.format(value)), None)


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)
@given(data=st.data())
def test_a_corrupted_clock_is_recovered_or_missing_never_another(corruption, data):
    clock = data.draw(clocks)
    dirty = corruption(clock, data.draw)
    reading, kind = read("clock", dirty)
    assert reading in (read("clock", clock)[0], (None,))
    assert dirty == clock or kind or reading == read("clock", clock)[0]
    assert reading != (None,) or kind


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)
@given(data=st.data())
def test_a_corrupted_range_is_recovered_or_missing_never_another(corruption, data):
    ends = [data.draw(clocks), data.draw(clocks)]
    dirty = [corruption(end, data.draw) if data.draw(st.booleans()) else end for end in ends]
    dash = data.draw(st.sampled_from(["-", "－", "—", " - ", "--", "~", "至"]))
    reading, kind = read("range", dash.join(dirty))
    assert reading in (read("range", "-".join(ends))[0], (None, None))
    assert reading != (None, None) or kind


@given(clocks, st.data())
def test_an_excel_clock_is_recovered_or_missing_never_another(clock, data):
    reading, kind = read("clock", excel(clock, data.draw))
    assert reading in (read("clock", clock)[0], (None,))
    assert kind == "excel_date" or (reading, kind) == ((None,), "unreadable")


@given(st.integers(0, 360_000))
def test_an_excel_number_of_two_decimals_is_recovered(hundredths):
    day, minute = divmod(hundredths * 1440 // 100, 1440)
    month, of_month = _excel_calendar(day)
    text = f"{month} {of_month} {minute // 60}:{minute % 60:02d}".replace(" ", "/", 1)
    assert read("number", text) == ((hundredths / 100,), "excel_date")


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


@given(st.sampled_from(["30", "00"]), st.characters(exclude_characters="0123456789"), clocks)
def test_what_follows_a_clock_is_dropped_only_where_it_can_mean_nothing(minute, character, start):
    (_, end), _ = read("range", f"{start}-6:{minute}{character}")
    harmless = character.isspace() or character in "分秒.。,、:;；：，．"
    assert end == (360 + int(minute) if harmless else None)


@pytest.mark.parametrize(
    "text", ["0.5", "13.30", "9.291666", "15:0016:00", "6:30pm", "1²:00", "٣:30", "1900/2/30 7:00"]
)
def test_a_clock_that_could_be_two_things_or_none_is_missing(text):
    assert read("clock", text)[0] == (None,)


@pytest.mark.parametrize("text", ["1,200", "3,5", "1_0", "٣", "13:30", "1e999", "-inf", "#N/A", "1910/1/1 0:00", "٣.5"])
def test_a_number_that_could_be_two_things_or_none_is_missing(text):
    assert read("number", text)[0] == (None,)


def examples():
    return [(rule.kind, *e) for rule in RULES for e in rule.examples]


@pytest.mark.parametrize(("kind", "column", "cell", "reading"), examples())
def test_every_example_of_the_table_reads_as_it_says(kind, column, cell, reading):
    found, found_kind = read(column, cell)
    assert found == read(column, reading)[0]
    assert found_kind == kind
    message = READERS[column](cell).warning[1]
    assert message.startswith(f"'{cell}' {f'read as {reading}' if reading else 'taken as missing'}")


def test_every_kind_has_an_example_and_every_rule_a_kind():
    assert set(WARNING_KINDS) == {kind for kind, *_ in examples()} | {"unreadable"}


def test_the_catalogue_for_readers_is_the_table():
    rows = [
        line.strip("|").split(" | ") for line in CATALOGUE.read_text("utf-8").splitlines() if line.startswith("| `")
    ]
    written = [tuple(cell.strip().strip("`").strip() for cell in row[:4]) for row in rows]
    assert written == [(kind, column, cell, reading or "missing") for kind, column, cell, reading in examples()]
    assert all(len(row) == 5 and row[4].strip() for row in rows)
