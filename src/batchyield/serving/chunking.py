"""How many batches or outcomes one request may hold, and how more of them are divided."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import msgspec

from batchyield.errors import Violation

MAX_BATCHES = 10_000
"""Of one request."""

MAX_EXPLAINED_BATCHES = 100
"""Of one request for explanations: a second or two of work."""

MAX_CHUNK_BYTES = 8 * 2**20
"""Of one portion: half of what the service takes unless told otherwise."""

BLANK = b' \t\r\n,"'

_PLACE = re.compile(r"(\$\.(?:inputs|outcomes)\[|\bline )(\d+)")


class Chunk(NamedTuple):
    """Some of the batches as the body of a request; `before` as many came in earlier portions."""

    content: bytes
    before: int


def chunk_batches(
    inputs: Iterable[Any], most: int = MAX_BATCHES, most_bytes: int = MAX_CHUNK_BYTES, field: str = "inputs"
) -> Iterator[Chunk]:
    """`{"inputs": [...]}`, as often as it takes; a number that is none becomes null. No batches are one portion."""
    held: list[bytes] = []
    before = size = 0
    for given in inputs:
        encoded = msgspec.json.encode(given)
        if held and (len(held) == most or size + len(encoded) > most_bytes):
            yield Chunk(_request(field, held), before)
            before, size, held = before + len(held), 0, []
        held.append(encoded)
        size += len(encoded) + 1
    if held or not before:
        yield Chunk(_request(field, held), before)


def _request(field: str, encoded: list[bytes]) -> bytes:
    return b'{"%s":[%s]}' % (field.encode(), b",".join(encoded))


def chunk_csv(file: BinaryIO, most: int = MAX_BATCHES, most_bytes: int = MAX_CHUNK_BYTES) -> Iterator[Chunk]:
    """The plant's file, its header over each portion; read as it is asked for, so that any size will do.

    No line break stands inside a cell, and none of its bytes inside a character, in UTF-8 and GB18030 alike.
    """
    header = file.readline()
    held: list[bytes] = []
    blank: list[bytes] = []  # mean nothing at the end of a file, and are for the reader to refuse elsewhere
    before = size = 0
    for line in file:
        blank.append(line)
        if not line.strip(BLANK):
            continue
        if held and (len(held) + len(blank) > most or size + len(line) > most_bytes):
            yield Chunk(header + b"".join(held), before)
            before, size, held = before + len(held), 0, []
        held += blank
        size += sum(map(len, blank))
        blank = []
    if held or not before:
        yield Chunk(header + b"".join(held), before)


def rebase_position(text: str, before: int) -> str:
    """What was said of a place in a portion, said of the whole."""

    def moved(place: re.Match[str]) -> str:
        number = int(place[2])
        of_header = place[1] == "line " and number == 1
        return f"{place[1]}{number if of_header else number + before}"

    return _PLACE.sub(moved, text)


def rebase_violation(violation: Violation, before: int) -> Violation:
    """The same violation, placed in the whole."""
    return Violation(rebase_position(violation.where, before), violation.problem)
