"""Limits of one request, and chunking of longer inputs into several requests."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import msgspec

MAX_BATCHES = 10_000
"""Limit of one request for predictions."""

MAX_EXPLAINED_BATCHES = 100
"""Limit of one request for explanations: about half a second of work."""

MAX_CHUNK_BYTES = 8 * 2**20
"""Limit of one chunk: half of the service's default limit of a body."""

BLANK = b' \t\r\n,"'

_POSITION = re.compile(r"(\$\.(?:inputs|outcomes)\[|\bline )(\d+)")


class Chunk(NamedTuple):
    """The body of one request; `before`: number of batches (or lines of a file) in earlier chunks."""

    content: bytes
    before: int


def chunk_batches(
    items: Iterable[Any], max_items: int = MAX_BATCHES, max_bytes: int = MAX_CHUNK_BYTES, field: str = "inputs"
) -> Iterator[Chunk]:
    """Yield bodies `{"inputs": [...]}` with at most so many items and bytes each; NaN becomes null.

    No items give one empty chunk.
    """
    pending: list[bytes] = []
    before = size = 0
    for item in items:
        encoded = msgspec.json.encode(item)
        if pending and (len(pending) == max_items or size + len(encoded) > max_bytes):
            yield Chunk(_json_body(field, pending), before)
            before, size, pending = before + len(pending), 0, []
        pending.append(encoded)
        size += len(encoded) + 1
    if pending or not before:
        yield Chunk(_json_body(field, pending), before)


def _json_body(field: str, encoded: list[bytes]) -> bytes:
    return b'{"%s":[%s]}' % (field.encode(), b",".join(encoded))


def chunk_csv(file: BinaryIO, max_lines: int = MAX_BATCHES, max_bytes: int = MAX_CHUNK_BYTES) -> Iterator[Chunk]:
    """Yield the lines of the plant's CSV in chunks, each with the file's header; reads the file lazily.

    The plant's cells contain no line break, and neither UTF-8 nor GB18030 uses its byte inside a character.
    """
    return chunk_lines(file.readline(), file, max_lines, max_bytes)


def chunk_lines(
    header: bytes, lines: Iterable[bytes], max_lines: int = MAX_BATCHES, max_bytes: int = MAX_CHUNK_BYTES, done: int = 0
) -> Iterator[Chunk]:
    """Yield the lines of a CSV in chunks, each with the header; `done` lines went before."""
    pending: list[bytes] = []
    unflushed: list[bytes] = []  # blank lines: ignored at the end of the file, left to the CSV reader elsewhere
    before, size = done, 0
    for line in lines:
        unflushed.append(line)
        if not line.strip(BLANK):
            continue
        if pending and (len(pending) + len(unflushed) > max_lines or size + len(line) > max_bytes):
            yield Chunk(header + b"".join(pending), before)
            before, size, pending = before + len(pending), 0, []
        pending += unflushed
        size += sum(map(len, unflushed))
        unflushed = []
    if pending or not before:
        yield Chunk(header + b"".join(pending), before)


def rebase_position(text: str, before: int) -> str:
    """Rewrite the row and line numbers of an error message from chunk-relative to input-relative."""

    def rebase(match: re.Match[str]) -> str:
        is_header = match[0] == "line 1"
        return match[0] if is_header else f"{match[1]}{int(match[2]) + before}"

    return _POSITION.sub(rebase, text)
