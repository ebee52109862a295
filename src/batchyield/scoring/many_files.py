"""Scoring of many files to one output each: streaming, resumable after a kill, with a manifest.

The chunks of all files are one stream, so that workers never wait between two files. A bad file is set aside with its
problem, and the run goes on. Each output appears when it is complete, and then is recorded in the manifest.
"""

import contextlib
import io
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from batchyield.errors import ConfigError, InputError
from batchyield.files import PARTIAL_SUFFIX, exclusive_lock, md5_of_file
from batchyield.scoring.chunks import FileChunk, chunks_of
from batchyield.scoring.local import ChunkFailure
from batchyield.scoring.manifest import FileRecord, Manifest, manifest_url, read_manifest, write_manifest
from batchyield.scoring.predicted import Form, write_parts
from batchyield.scoring.storage import (
    HashedFile,
    InputFile,
    current_identity,
    describe,
    is_parquet,
    is_remote,
    list_sizes,
    new_file,
    open_file,
    remove,
    text_of,
)

READ_BYTES = 1 << 20
SAVE_SECONDS = 1.0
"""The manifest is written at most this often: a killed run repeats the files of its last second."""


class FileEnd(NamedTuple):
    """The end of a file in the stream of chunks; `problem` if it cannot be read to its end."""

    file: InputFile
    md5: str = ""
    problem: str = ""


class Summary(NamedTuple):
    """What became of the files of a run.

    Attributes:
        manifest: its path or URL.
        done, skipped: number of files scored by this run, and by earlier ones.
        failed: the records of those that were set aside.
        batches: scored by this run.
    """

    manifest: str
    done: int
    skipped: int
    failed: list[FileRecord]
    batches: int

    def __str__(self) -> str:
        """The numbers, and a line for each file that was set aside."""
        counts = f"files scored: {self.done} ({self.batches:,} batches), done before: {self.skipped}"
        bad = [f"  set aside: {record.problem}" for record in self.failed]
        return "\n".join([f"{counts}; see {self.manifest}", *bad])


def outputs_of(files: Iterable[InputFile], folder: str, form: Form) -> dict[str, InputFile]:
    """Return output -> input; raise ConfigError if two inputs would have the same output."""
    outputs: dict[str, InputFile] = {}
    for file in files:
        output = f"{folder.rstrip('/')}/{PurePosixPath(file.name).with_suffix(f'.{form}')}"
        if other := outputs.get(output):
            problem = f"{other.url} and {file.url} would both become {output}"
            raise ConfigError(problem, "score them into different folders")
        if output == manifest_url(folder):
            raise ConfigError(f"{file.url} would overwrite the manifest", "rename it")
        outputs[output] = file
    return outputs


class Run:
    """One run over many files.

    Args:
        files: the inputs.
        folder: path or URL of the folder of the outputs.
        form: of the outputs.
        model: md5 of the model.

    Attributes:
        waiting: output -> input of the files that are not done yet.

    Raises:
        ConfigError: two inputs would have the same output.
        ConflictError: the folder has a manifest that is none.
        StorageError: S3 is out of reach, or refuses.
    """

    def __init__(self, files: list[InputFile], folder: str, form: Form, model: str) -> None:
        self._folder, self._form, self._model = folder, form, model
        self._outputs = outputs_of(files, folder, form)
        sizes = {text_of(name): size for name, size in list_sizes(folder).items()}
        earlier = read_manifest(folder) if text_of(manifest_url(folder)) in sizes else None
        same_model = earlier is not None and earlier.model == model
        done = {(r.input, r.identity, r.output): r for r in earlier.files if r.status == "done"} if earlier else {}
        self._stale = {record.output for record in done.values()} & sizes.keys()
        self._records: dict[str, FileRecord] = {}
        for output, file in self._outputs.items() if same_model else ():
            record = done.get((text_of(file.url), file.identity, text_of(output)))
            if record and sizes.get(record.output) == record.output_bytes:
                self._records[file.url] = record
        self._skipped = len(self._records)
        self.waiting = {output: file for output, file in self._outputs.items() if file.url not in self._records}
        self._failed: set[str] = set()
        self._saved = -SAVE_SECONDS

    def items(self) -> Iterator[FileChunk | FileEnd]:
        """Yield the chunks of each waiting file, and its end; the rest of a file that failed is left out."""
        for file in self.waiting.values():
            try:
                yield from self._chunks(file)
            except (ConfigError, InputError) as error:
                yield FileEnd(file, problem=str(error).splitlines()[0])

    def _chunks(self, file: InputFile) -> Iterator[FileChunk | FileEnd]:
        with open_file(file.url) as opened:
            hashed = None if is_parquet(file.url) else HashedFile(opened)
            source = opened if hashed is None else io.BufferedReader(hashed, READ_BYTES)
            for chunk in chunks_of(source, file.url):
                if file.url in self._failed:
                    break
                yield chunk
            md5 = hashed.md5() if hashed else md5_of_file(Path(opened.name))
        changed = current_identity(file) != file.identity
        yield FileEnd(file, md5, f"{file.url} was changed while it was read" if changed else "")

    def write(self, results: Iterator[Any]) -> Summary:
        """Write the outputs from the scored items, and the manifest; return what became of the files.

        Raises:
            BatchyieldError: a worker failed, or the outputs cannot be written; what is done stays done.
        """
        batches = 0
        try:
            for output in self.waiting:
                record = self._write_file(output, results)
                self._records[self.waiting[output].url] = record
                batches += record.rows
                if time.monotonic() - self._saved >= SAVE_SECONDS:
                    self._save()
        finally:
            self._save()
        failed = [record for record in self._records.values() if record.status == "failed"]
        done = len(self.waiting) - len(failed)
        return Summary(manifest_url(self._folder), done, self._skipped, failed, batches)

    def _write_file(self, output: str, results: Iterator[Any]) -> FileRecord:
        file, problem, md5 = self.waiting[output], "", ""
        names = text_of(file.url), file.identity, text_of(output)

        def parts() -> Iterator[bytes]:
            nonlocal problem, md5
            for result in results:
                if isinstance(result, FileEnd):
                    problem, md5 = problem or result.problem, result.md5
                    break
                if isinstance(result, ChunkFailure):
                    self._failed.add(file.url)
                    problem = problem or str(result.error())
                elif not problem:
                    yield result
            if problem:
                raise _BadFile

        try:
            with new_file(output) as path:
                rows = write_parts(parts(), self._form, path)
                written = describe(path)
        except _BadFile:
            if text_of(output) in self._stale:  # of an earlier run, with other predictions
                remove(output)
            return FileRecord(*names, "failed", problem=text_of(problem))
        return FileRecord(*names, "done", rows, md5, file.size, *written)

    def _save(self) -> None:
        records = [self._records[file.url] for file in self._outputs.values() if file.url in self._records]
        write_manifest(self._folder, Manifest(self._model, self._form, records))
        self._saved = time.monotonic()


class _BadFile(Exception):  # noqa: N818 - ends the output of a bad file
    pass


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold the lock on a local folder of outputs, so that a second run waits; remove what killed runs left there.

    A folder on S3 has no lock: two runs of the same model write the same objects.
    """
    if is_remote(folder):
        yield
        return
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(path):
        for partial in path.rglob(f".*{PARTIAL_SUFFIX}"):
            partial.unlink()
        yield
