"""Reads the raw data: one file, or a folder that grows by a file a day, of which only new files are parsed.

A parsed file is kept in `.cache/raw/` under the md5 of its bytes, below that of the code that parsed it. Its table is
the same whether it is read from there or parsed again, so that folder may be deleted at any time.
"""

import importlib.metadata
import platform
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from batchyield import plant
from batchyield.errors import ConfigError, InputError, Violation, WriteError
from batchyield.files import md5_of, write_atomic
from batchyield.modelling.parquet import format_table, parse_table
from batchyield.plant.batch import CellWarning
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.raw_table import DirtyCell, RawTable, join_tables, to_table

CACHE = Path(".cache/raw")
SUFFIX = ".csv"
LIBRARIES = ("msgspec", "numpy", "pandas", "pyarrow")
DIGEST_CHARACTERS = 32


class _ParsedFile(msgspec.Struct):
    """A table as it is kept; `frame` is Parquet."""

    frame: bytes
    dirty: list[DirtyCell]
    encodings: tuple[str, ...]
    columns: tuple[CellWarning, ...]


def list_files(folder: Path) -> list[Path]:
    """Return the raw files of a folder in their order, by name; hidden files do not count.

    Raises:
        ConfigError: there is none, or something that is no CSV file.
    """
    found = sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)
    if others := [path.name for path in found if path.suffix != SUFFIX or not path.is_file()]:
        raise ConfigError(f"{folder} has {', '.join(others[:5])}, which is no {SUFFIX} file", "move it elsewhere")
    if not found:
        raise ConfigError(f"{folder} has no {SUFFIX} file", "name the folder with the plant's CSV files")
    return found


def read_raw(raw: Path, cache: Path = CACHE, progress: Callable[[str], object] = lambda _: None) -> RawTable:
    """Return the batches of a raw file, or of all files of a folder, which must have yields.

    Args:
        raw: the file or folder.
        cache: where parsed files of a folder are kept.
        progress: called with the number of files that were parsed.

    Raises:
        InputError: files cannot be read as batches; lists file, line, column and problem.
        ConfigError: as `list_files`.
    """
    if not raw.is_dir():
        return to_table(read_sheet(raw.read_bytes()))
    folder = cache / _code_digest()
    tables: dict[str, RawTable] = {}
    used: set[str] = set()
    problems: list[Violation] = []
    parsed = 0
    for file in list_files(raw):
        data = file.read_bytes()
        kept = folder / md5_of(data)
        used.add(kept.name)
        table = _load(kept)
        if table is None:
            try:
                table = to_table(read_sheet(data, with_yield=True))
            except InputError as error:
                problems += [Violation(f"{file.name}, {v.where}", v.problem) for v in error.violations]
                continue
            parsed += 1
            _keep(kept, table, progress)
        tables[file.name] = table
    if problems:
        raise InputError(*problems)
    _remove_unused(folder, used)
    progress(f"{raw}: {len(tables)} files, {parsed} parsed, {len(tables) - parsed} from {cache}")
    return join_tables(tables)


def _code_digest() -> str:
    """Return the md5 of all that a parsed file depends on besides its bytes: code, libraries, Python."""
    files = sorted([*Path(plant.__path__[0]).rglob("*.py"), Path(__file__)])
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    parts = [file.read_bytes() for file in files] + [f"{platform.python_version()} {versions}".encode()]
    return md5_of(b"".join(md5_of(part).encode() for part in parts))


def _load(kept: Path) -> RawTable | None:
    """Return a table that was kept; None if there is none, or its bytes are not those that were written."""
    try:
        content = kept.read_bytes()
    except OSError:
        return None
    digest, data = content[:DIGEST_CHARACTERS], content[DIGEST_CHARACTERS:]
    if digest != md5_of(data).encode():
        return None
    found = msgspec.msgpack.decode(data, type=_ParsedFile)
    return RawTable(parse_table(found.frame), found.dirty, found.encodings, found.columns)


def _keep(kept: Path, table: RawTable, progress: Callable[[str], object]) -> None:
    made = _ParsedFile(format_table(table.frame), table.dirty, table.encodings, table.columns)
    data = msgspec.msgpack.encode(made)
    try:
        write_atomic(kept, [md5_of(data).encode(), data])
    except WriteError as error:  # it only saves time
        progress(f"a parsed file is not kept: {error}")


def _remove_unused(folder: Path, used: Iterable[str]) -> None:
    """Remove what other code has parsed, and files that the raw data no longer have."""
    for other in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    for kept in folder.iterdir() if folder.is_dir() else ():
        if kept.name not in used:
            kept.unlink(missing_ok=True)
