"""Any number of the plant's files to one CSV of predictions, by a model at hand: what a service answers, without it.

Files are cut into parts of bounded size, and one function answers a part, whoever calls it: this process, or workers on
other machines (`batchyield.scoring.dask`). Parts are put together in the order of the files, so the bytes are the same.
"""

import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from batchyield.errors import InputError, SetupError, Violation
from batchyield.plant.csv_reader import read_sheet
from batchyield.serving.chunking import MAX_BATCHES, Chunk, chunk_csv, rebase_violation
from batchyield.serving.predictor import Predictor
from batchyield.serving.responses import CSV_HEADER, encode_predictions_csv


class FileChunk(NamedTuple):
    """Some batches of a file, under the file's header."""

    file: str
    portion: Chunk


def read_chunks(files: Iterable[Path], most: int = MAX_BATCHES) -> Iterator[FileChunk]:
    """Parts of the plant's CSVs, each of any size, in order; read as they are asked for.

    Args:
        files: the CSVs, GB18030 or UTF-8, each with a header of its own.
        most: batches of a part.

    Raises:
        SetupError: a file cannot be read.
    """
    for path in files:
        try:
            with path.open("rb") as file:
                for portion in chunk_csv(file, most):
                    yield FileChunk(str(path), portion)
        except OSError as error:
            raise _unreadable(path, error) from None


def total_bytes(files: Iterable[Path]) -> int:
    """How much there is to read; a pipe counts as nothing.

    Raises:
        SetupError: a file is missing.
    """
    try:
        return sum(status.st_size for path in files if stat.S_ISREG((status := path.stat()).st_mode))
    except OSError as error:
        raise _unreadable(Path(error.filename), error) from None


def score_chunk(predictor: Predictor, part: FileChunk) -> bytes:
    """`id,yield,lower,upper`, a line for each batch of the part, without the header.

    Raises:
        InputError: the part cannot be read as batches; says in which line of which file, and why.
    """
    try:
        sheet = read_sheet(part.portion.content)
    except InputError as error:
        placed = (rebase_violation(v, part.portion.before) for v in error.violations)
        raise InputError(*(Violation(f"{part.file}, {v.where}", v.problem) for v in placed)) from None
    return encode_predictions_csv(predictor.predict(sheet.batches, sheet.warnings)).removeprefix(CSV_HEADER)


def score_chunks(predictor: Predictor, parts: Iterable[FileChunk]) -> Iterator[bytes]:
    """The lines of each part, in order.

    Raises:
        InputError: as `score_chunk`.
    """
    return (score_chunk(predictor, part) for part in parts)


def with_header(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The CSV: its header comes with the first lines, so that there is none where those are refused."""
    for number, given in enumerate(lines):
        yield given if number else CSV_HEADER + given


class Progress:
    """Shows the progress of a long scoring on standard error, if that is a terminal.

    Args:
        total: bytes of all files; 0 where that is not known.
        quiet: show nothing.

    Attributes:
        batches: predicted so far.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        self._total, self._quiet = total, quiet
        self._sizes: deque[int] = deque()
        self.batches = 0

    def taken(self, parts: Iterable[FileChunk]) -> Iterator[FileChunk]:
        """Yield the same parts, noting the size of each until it is answered."""
        for part in parts:
            self._sizes.append(len(part.portion.content))
            yield part

    def answered(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the same lines, in the order of the parts."""
        from tqdm import tqdm

        with tqdm(total=self._total or None, unit="B", unit_scale=True, disable=self._quiet or None) as bar:
            for given in lines:
                self.batches += given.count(b"\n")
                bar.set_postfix_str(f"{self.batches:,} batches", refresh=False)
                bar.update(self._sizes.popleft() if self._sizes else 0)
                yield given


def _unreadable(path: Path, error: OSError) -> SetupError:
    return SetupError(f"{path} cannot be read: {error.strerror}", "name the plant's CSV")
