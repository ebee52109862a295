"""Chunks of the files to score, CSV or Parquet, read lazily and of bounded size."""

import io
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from batchyield.errors import InputError, Violation
from batchyield.plant.csv_reader import Sheet, read_sheet
from batchyield.scoring.storage import is_parquet, open_file, unreadable
from batchyield.serving.chunking import BLANK, MAX_BATCHES, MAX_CHUNK_BYTES, Chunk, chunk_lines, rebase_position

BULK_BATCHES = 3 * MAX_BATCHES
"""Batches read by column together: each chunk has a fixed cost for its columns and their distinct cells."""

BULK_BYTES = 3 * MAX_CHUNK_BYTES
BLOCK_BYTES = 1 << 23
LINE_FEED = ord("\n")
BLANK_BYTES = np.frombuffer(BLANK, np.uint8)


class FileChunk(NamedTuple):
    """Some batches of a file.

    Attributes:
        file: path or URL, for messages.
        chunk: lines of a CSV with its header, or an Arrow stream of a Parquet file's rows.
        size: bytes of the file that it stands for.
        kind: of the content.
    """

    file: str
    chunk: Chunk
    size: int
    kind: Literal["csv", "arrow"] = "csv"


def read_chunks(files: Iterable[str | Path], max_batches: int = BULK_BATCHES) -> Iterator[FileChunk]:
    """Yield the chunks of CSV files (GB18030 or UTF-8, with headers) and Parquet files, by path or URL, read lazily.

    Raises:
        ConfigError: a file is unreadable.
        InputError: a Parquet file is none, or has other columns.
        StorageError: S3 is out of reach, or refuses.
    """
    for name in map(str, files):
        with open_file(name) as file:
            yield from chunks_of(file, name, max_batches)


def chunks_of(file: "io.BufferedReader[Any]", name: str, max_batches: int = BULK_BATCHES) -> Iterator[FileChunk]:
    """Yield the chunks of an open file with a name; raise as `read_chunks` does."""
    try:
        if not is_parquet(name):
            for chunk in _chunk_csv(file, max_batches):
                yield FileChunk(name, chunk, len(chunk.content))
            return
        from batchyield.scoring.columns.parquet import read_parquet_chunks

        size = file.seek(0, io.SEEK_END)
        for chunk, share in read_parquet_chunks(file, max_batches):
            yield FileChunk(name, chunk, round(share * size), "arrow")
    except InputError as error:
        raise in_file(error, name) from None
    except OSError as error:
        raise unreadable(name, error) from None


def _chunk_csv(file: "io.BufferedReader[Any]", max_lines: int) -> Iterator[Chunk]:
    """Yield the chunks that `chunk_csv` yields, without splitting lines as long as none looks blank."""
    header, before, data = file.readline(), 0, b""
    while pieces := _read_pieces(file):
        data = b"".join((data, *pieces))
        raw = np.frombuffer(data, np.uint8)
        ends = (raw == LINE_FEED).nonzero()[0] + 1
        if not len(ends) or np.isin(raw[np.append(0, ends[:-1])], BLANK_BYTES).any():
            break
        start, view = 0, memoryview(data)  # whose slices are no copies
        for end in ends[max_lines - 1 :: max_lines].tolist():
            if end - start > BULK_BYTES:
                break
            yield Chunk(b"".join((header, view[start:end])), before)
            before, start = before + max_lines, end
        data = bytes(view[start:])
        if len(data) > BULK_BYTES:
            break
    data += file.readline()  # the rest of a line that was read in part
    if data or not before:
        yield from chunk_lines(header, chain(io.BytesIO(data), file), max_lines, BULK_BYTES, before)


def _read_pieces(file: "io.BufferedReader[Any]") -> list[bytes]:
    """Read a block in pieces: between those of a pipe Python handles Ctrl-C, which it may miss within one `read`."""
    pieces, missing = [], BLOCK_BYTES
    while missing and (piece := file.read1(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return pieces


def read_sheets_of(file_chunk: FileChunk) -> Iterator[Sheet]:
    """Yield a chunk of CSV as batches, at most `MAX_BATCHES` at a time.

    Raises:
        InputError: they cannot be read as such; with file and line.
    """
    lines = io.BytesIO(file_chunk.chunk.content)
    for content, before in chunk_lines(lines.readline(), lines):
        try:
            yield read_sheet(content, sparse=True)
        except InputError as error:
            raise in_file(error, file_chunk.file, file_chunk.chunk.before + before) from None


def in_file(error: InputError, file: str, before: int = 0) -> InputError:
    """Return an error in a chunk of a file, after so many batches, as an error in the file."""
    return InputError(*(Violation(f"{file}, {rebase_position(v.where, before)}", v.problem) for v in error.violations))
