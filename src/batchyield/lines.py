"""The bytes of the plant's file -> its lines as cells, and how a file that cannot be read is refused."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import NoReturn

from batchyield.batch import ENCODING
from batchyield.errors import InputError, Violation

BOM = "\ufeff"
SHOWN = 20
"""So many violations are told; a file that is wrong in more places is wrong as a whole."""

Problem = tuple[int, str, str]
"""Line, column or '', and what is wrong there."""


def refuse(problems: Iterable[Problem]) -> NoReturn:
    """Refuses a file.

    Raises:
        InputError: always; tells the first `SHOWN` of the problems in the order of their lines.
    """
    listed = sorted(problems, key=lambda problem: problem[0])
    told = [Violation(f"line {line}{column and f', column {column}'}", problem) for line, column, problem in listed]
    more = [Violation("file", f"{len(told) - SHOWN} more like these")] if len(told) > SHOWN else []
    raise InputError(*told[:SHOWN], *more)


def decode(data: bytes) -> tuple[str, str]:
    """The text of a file, and its encoding: `UTF-8`, `UTF-8-SIG` (with a byte order mark) or `GB18030`.

    Raises:
        InputError: it is no text in one of them.
    """
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        refuse([(line, "", "a NUL byte: this is no text file; save it as CSV in UTF-8 or GB18030")])
    text = data.removeprefix(BOM.encode())
    marked = len(text) < len(data)
    for encoding in ("UTF-8",) if marked else ("UTF-8", ENCODING):
        try:
            return text.decode(encoding).removeprefix(BOM), "UTF-8-SIG" if marked else encoding
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
    found = "a byte order mark but no UTF-8" if marked else f"neither UTF-8 nor {ENCODING}"
    refuse([(line, "", f"{found}: save the file as CSV in UTF-8 or {ENCODING}")])


def lines_of(text: str) -> Iterator[list[str]]:
    """The cells of each line, one after the other: all of them would take ten times what the file does.

    Blank lines at the end are left out.

    Raises:
        InputError: once all lines were read, as only then all is known of them: there are none, or one is no row.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    blank: list[list[str]] = []
    read = broken = 0
    problem = ""
    try:
        for read, row in enumerate(reader, 1):
            if reader.line_num != read and not broken:
                broken = read
            if any(map(str.strip, row)):
                yield from blank
                blank.clear()
                yield row
            else:
                blank.append(row)
    except csv.Error as error:
        problem = f"cannot be split into cells ({error}): a quote that is not closed?"
    if broken or problem:
        refuse([(broken or read + 1, "", problem or "a line break inside a cell: a quote too many?")])
    if read == len(blank):
        refuse([(1, "", "the file is empty")])
