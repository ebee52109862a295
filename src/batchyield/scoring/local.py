"""Batch scoring: any number of the plant's CSV files to one CSV of predictions, with a local model.

Files are read in chunks of bounded size. `score_chunk` scores a chunk in this process or on a Dask worker
(`batchyield.scoring.dask`), and chunks are joined in the order of the files, so the bytes are the same.
"""

import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from batchyield.errors import ConfigError, InputError, Violation
from batchyield.plant.csv_reader import read_sheet
from batchyield.serving.chunking import MAX_BATCHES, Chunk, chunk_csv, rebase_position
from batchyield.serving.predictor import Predictor
from batchyield.serving.responses import CSV_HEADER, encode_predictions_csv


class FileChunk(NamedTuple):
    """Some batches of a file, with the file's header."""

    file: str
    chunk: Chunk


def read_chunks(files: Iterable[Path], max_batches: int = MAX_BATCHES) -> Iterator[FileChunk]:
    """Yield the chunks of CSV files (GB18030 or UTF-8, with headers), read lazily; ConfigError: one is unreadable."""
    for path in files:
        try:
            with path.open("rb") as file:
                for chunk in chunk_csv(file, max_batches):
                    yield FileChunk(str(path), chunk)
        except OSError as error:
            raise _unreadable(path, error) from None


def open_csv(path: Path) -> BinaryIO:
    """Open a CSV file; raise ConfigError if it cannot be read, as a folder cannot."""
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None


def total_bytes(files: Iterable[Path]) -> int:
    """Return the size of the files, where a pipe counts as 0; raise ConfigError if one is missing."""
    try:
        return sum(status.st_size for path in files if stat.S_ISREG((status := path.stat()).st_mode))
    except OSError as error:
        raise _unreadable(Path(error.filename), error) from None


def score_chunk(predictor: Predictor, file_chunk: FileChunk) -> bytes:
    """Return CSV lines `id,yield,lower,upper`, one for each batch of the chunk, without the header.

    Raises:
        InputError: the chunk cannot be read as batches; carries file, line and reason.
    """
    file, chunk = file_chunk
    try:
        sheet = read_sheet(chunk.content)
    except InputError as error:
        raise InputError(
            *(Violation(f"{file}, {rebase_position(v.where, chunk.before)}", v.problem) for v in error.violations)
        ) from None
    return encode_predictions_csv(predictor.predict(sheet.batches, sheet.warnings)).removeprefix(CSV_HEADER)


def with_header(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the CSV; the header comes with the first lines, so there is no output if those are invalid."""
    for index, chunk_lines in enumerate(lines):
        yield chunk_lines if index else CSV_HEADER + chunk_lines


class Progress:
    """Progress bar on standard error, if that is a terminal; `total` is in bytes (0: unknown).

    `batches` is the number of batches scored so far.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        self._total, self._quiet = total, quiet
        self._sizes: deque[int] = deque()
        self.batches = 0

    def count_chunks(self, chunks: Iterable[FileChunk]) -> Iterator[FileChunk]:
        """Yield the same chunks, recording the size of each until it is scored."""
        for file_chunk in chunks:
            self._sizes.append(len(file_chunk.chunk.content))
            yield file_chunk

    def count_lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the same lines, which are in the order of the chunks, and update the bar."""
        from tqdm import tqdm

        with tqdm(total=self._total or None, unit="B", unit_scale=True, disable=self._quiet or None) as bar:
            for chunk_lines in lines:
                self.batches += chunk_lines.count(b"\n")
                bar.set_postfix_str(f"{self.batches:,} batches", refresh=False)
                bar.update(self._sizes.popleft() if self._sizes else 0)
                yield chunk_lines


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be read: {error.strerror}", "pass the path of the plant's CSV")
