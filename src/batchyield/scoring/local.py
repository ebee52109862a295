"""Batch scoring in this process: chunks of files to predictions, with a local model.

`score_chunk` scores a chunk here or on a Dask worker (`batchyield.scoring.dask`), and chunks are joined in the order of
the files, so the bytes are the same.
"""

import contextlib
import ctypes
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from batchyield.errors import InputError, Violation
from batchyield.scoring.chunks import FileChunk, in_file, read_sheets_of
from batchyield.scoring.predicted import ENCODERS, Form, Predicted, count_rows, from_predictions, has_arrow
from batchyield.serving.bias import BiasState
from batchyield.serving.prediction import Prediction
from batchyield.serving.predictor import Predictor
from batchyield.serving.responses import CSV_HEADER

Item = TypeVar("Item")

MALLOC_OPTIONS = {-1: 2**28, -3: 2**25}
"""`M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of glibc's malloc.h, in bytes: more than the memory of a chunk."""


@dataclass(frozen=True)
class ChunkFailure:
    """What is wrong with a chunk that cannot be read; in place of its predictions, as a run over many files goes on."""

    violations: tuple[Violation, ...]

    def error(self) -> InputError:
        """Return the exception to raise."""
        return InputError(*self.violations)


def keep_freed_memory() -> None:
    """Let this process keep the memory of a chunk for the next one: to return and map it again costs 5 % of the time.

    Other C libraries than glibc have no such options, and manage without.
    """
    with contextlib.suppress(AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in MALLOC_OPTIONS.items():
            mallopt(option, size)


def score_chunk(
    predictor: Predictor, file_chunk: FileChunk, bias: BiasState | None = None, form: Form = "csv"
) -> bytes:
    """Return the predictions of a chunk: CSV lines `id,yield,lower,upper` without the header, or an Arrow stream.

    The measured batches of `bias` correct the predictions of later ones.

    Raises:
        InputError: the chunk cannot be read as batches; carries file, line and reason.
    """
    return ENCODERS[form](predict_chunk(predictor, file_chunk, bias))


def score_items(
    predictor: Predictor, form: Form, bias: BiasState | None, items: Iterable[FileChunk | Any]
) -> Iterator[Any]:
    """Yield the predictions of each chunk, a `ChunkFailure` for one that is bad, and items that are no chunk as is."""
    for item in items:
        try:
            yield score_chunk(predictor, item, bias, form) if isinstance(item, FileChunk) else item
        except InputError as error:
            yield ChunkFailure(error.violations)


def predict_chunk(predictor: Predictor, file_chunk: FileChunk, bias: BiasState | None = None) -> Predicted:
    """Return the predictions of a chunk, by column if Arrow can read it as the strict reader does."""
    if file_chunk.kind == "arrow":
        from batchyield.scoring.columns.parquet import read_stream_columns

        try:
            columns = read_stream_columns(file_chunk.chunk)
        except InputError as error:
            raise in_file(error, file_chunk.file) from None
        return Predicted(columns.ids, predictor.predict_columns(columns.columns)[0])
    if bias is None and has_arrow():
        from batchyield.scoring.columns.csv import read_csv_columns

        if found := read_csv_columns(file_chunk.chunk.content):
            return Predicted(found.ids, predictor.predict_columns(found.columns)[0])
    predictions: list[Prediction] = []
    for sheet in read_sheets_of(file_chunk):
        made = predictor.predict(sheet.batches, sheet.warnings)
        predictions += made if bias is None else bias.correct_all(sheet.batches, made)
    return from_predictions(predictions)


def with_header(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the CSV; the header comes with the first lines, so there is no output if those are invalid."""
    for index, chunk_lines in enumerate(lines):
        yield chunk_lines if index else CSV_HEADER + chunk_lines


class Progress:
    """Progress bar on standard error, if that is a terminal: bytes read, rate and time left, batches scored.

    Args:
        total: bytes to read; 0 if unknown.
        quiet: show nothing.
        form: of the parts that are counted.

    Attributes:
        batches: number of batches scored so far.
    """

    def __init__(self, total: int, quiet: bool, form: Form = "csv") -> None:
        self._total, self._quiet, self._form = total, quiet, form
        self._sizes: deque[int] = deque()
        self.batches = 0

    def count_chunks(self, chunks: Iterable[Item]) -> Iterator[Item]:
        """Yield the same chunks, or other items, recording the size of each until it is scored."""
        for item in chunks:
            self._sizes.append(item.size if isinstance(item, FileChunk) else 0)
            yield item

    def count_parts(self, parts: Iterable[Item]) -> Iterator[Item]:
        """Yield the same results, which are in the order of the chunks, and update the bar."""
        from tqdm import tqdm

        with tqdm(total=self._total or None, unit="B", unit_scale=True, disable=self._quiet or None) as bar:
            for part in parts:
                if isinstance(part, bytes):
                    self.batches += count_rows(part, self._form)
                bar.set_postfix_str(f"{self.batches:,} batches", refresh=False)
                bar.update(self._sizes.popleft() if self._sizes else 0)
                yield part
