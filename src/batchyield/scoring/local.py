"""Batch scoring: any number of the plant's CSV files to one CSV of predictions, with a local model.

Files are read in chunks of bounded size. `score_chunk` scores a chunk in this process or on a Dask worker
(`batchyield.scoring.dask`), and chunks are joined in the order of the files, so the bytes are the same.
"""

import csv
import io
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from batchyield.errors import ConfigError, InputError, Violation
from batchyield.plant.csv_reader import Sheet, read_sheet
from batchyield.plant.place import find_place
from batchyield.serving.artifact import Artifact
from batchyield.serving.bias import BiasParams, BiasState, Residual
from batchyield.serving.chunking import MAX_BATCHES, Chunk, chunk_csv, rebase_position
from batchyield.serving.outcomes import Outcome
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


def score_chunk(predictor: Predictor, file_chunk: FileChunk, bias: BiasState | None = None) -> bytes:
    """Return CSV lines `id,yield,lower,upper`, one for each batch of the chunk, without the header.

    The measured batches of `bias` correct the predictions of later ones.

    Raises:
        InputError: the chunk cannot be read as batches; carries file, line and reason.
    """
    sheet = _read_chunk(file_chunk)
    predictions = predictor.predict(sheet.batches, sheet.warnings)
    if bias is not None:
        predictions = bias.correct_all(sheet.batches, predictions)
    return encode_predictions_csv(predictions).removeprefix(CSV_HEADER)


def read_outcomes(path: Path) -> dict[str, float]:
    """Return the measured yields of a CSV `id,yield` or `id,yield,measured_at`, with its header, by the batch's id.

    Raises:
        ConfigError: the file cannot be read.
        InputError: a line is no outcome; of two lines for one batch, the last counts.
    """
    measured: dict[str, float] = {}
    with open_csv(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        reader = csv.DictReader(text)
        try:
            for row in reader:
                given = {name: cell for name, cell in row.items() if cell or name != "measured_at"}
                outcome = msgspec.convert(given, Outcome, strict=False)
                measured[outcome.id] = outcome.yield_
        except msgspec.ValidationError as error:
            raise InputError(
                Violation(f"{path}, line {reader.line_num}", f"{error}; expected id,yield[,measured_at]")
            ) from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"{path} cannot be read: {error}", "pass a CSV id,yield[,measured_at] in UTF-8") from None
    return measured


def measure_bias(
    artifact: Artifact, params: BiasParams, files: Sequence[Path], measured: dict[str, float]
) -> BiasState:
    """Return the state of the bias update from the batches of CSV files whose yields are known, by id.

    Raises:
        ConfigError: a file is no regular one, so that it cannot be read twice, or no batch is measured.
        InputError: a file cannot be read as batches.
    """
    if pipes := [path for path in files if path.exists() and not path.is_file()]:
        raise ConfigError(f"{pipes[0]} can be read only once", "with outcomes, pass regular files")
    residuals = []
    for file_chunk in read_chunks(files):
        batches = _read_chunk(file_chunk).batches
        known = [(b, place, measured[b.id]) for b in batches if b.id in measured and (place := find_place(b))]
        made = artifact.predictor.predict([batch for batch, _, _ in known])
        residuals += [
            Residual(str(batch.id), *place, actual, p.yield_, p.lower, p.upper)
            for (batch, place, actual), p in zip(known, made, strict=True)
        ]
    if not residuals:
        raise ConfigError("none of the outcomes is of a batch in the files", "use the same ids in both")
    return BiasState(artifact.md5, artifact.card.level, params, residuals, keep_all=True)


def _read_chunk(file_chunk: FileChunk) -> Sheet:
    file, chunk = file_chunk
    try:
        return read_sheet(chunk.content, sparse=True)
    except InputError as error:
        raise InputError(
            *(Violation(f"{file}, {rebase_position(v.where, chunk.before)}", v.problem) for v in error.violations)
        ) from None


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
