"""Raw data in a folder: one table in the order of the names, parsed once, and errors that name file and line."""

import shutil

import pytest

from batchyield.errors import ConfigError, InputError
from batchyield.modelling.parquet import format_table
from batchyield.pipeline.raw_files import read_raw
from batchyield.plant.batch import ENCODING
from batchyield.plant.contract import check_contract, render_report
from batchyield.plant.contract_params import ContractParams
from batchyield.plant.csv_reader import join_files, read_sheet
from batchyield.plant.raw_table import to_table
from batchyield.plant.simulator import simulate

DAYS, BATCHES = 4, 60
FILE = simulate(rows=DAYS * BATCHES).csv().decode(ENCODING).encode()
HEADER, *LINES = FILE.splitlines(keepends=True)


def day(number):
    return HEADER + b"".join(LINES[number * BATCHES : (number + 1) * BATCHES])


def reversed_columns(data):
    return b"\n".join(b",".join(reversed(line.split(b","))) for line in data.splitlines()) + b"\n"


@pytest.fixture
def folder(tmp_path):
    """Three days, each in another form, written in another order than that of their names."""
    made = tmp_path / "days"
    made.mkdir()
    (made / "2026-11-23.csv").write_bytes(day(2).replace(b"\n", b"\r\n"))
    (made / "2026-11-21.csv").write_bytes(reversed_columns(day(0)))
    (made / "2026-11-22.csv").write_bytes(day(1).decode().encode(ENCODING))
    return made


@pytest.fixture
def read(folder, tmp_path):
    """Reads the folder; returns the table and the line about what was parsed."""

    def reader():
        messages = []
        table = read_raw(folder, tmp_path / "cache", messages.append)
        return table, messages[-1].partition(": ")[2]

    return reader


def same(one, other):
    return (format_table(one.frame), one.dirty) == (format_table(other.frame), other.dirty)


def refused(read):
    with pytest.raises(InputError) as caught:
        read()
    return [str(violation) for violation in caught.value.violations]


class TestReadRaw:
    def test_one_file(self, folder, read):
        """A folder is read as the one file with the same rows."""
        table, _ = read()
        whole = to_table(read_sheet(HEADER + b"".join(LINES[: 3 * BATCHES])))
        assert same(table, whole)
        assert whole.dirty
        assert table.encodings == ("UTF-8", ENCODING)
        assert table.files == tuple((f"2026-11-2{n}.csv", BATCHES) for n in (1, 2, 3))
        assert same(to_table(read_sheet(join_files(path.read_bytes() for path in sorted(folder.iterdir())))), whole)

    def test_only_new_files_are_parsed(self, folder, read, tmp_path):
        """What was parsed before is not parsed again, and without it the table is the same."""
        first, message = read()
        assert message == f"3 files, 3 parsed, 0 from {tmp_path}/cache"
        assert read()[1].startswith("3 files, 0 parsed")
        (folder / "2026-11-24.csv").write_bytes(day(3))
        grown, message = read()
        assert message.startswith("4 files, 1 parsed")
        shutil.rmtree(tmp_path / "cache")
        rebuilt, message = read()
        assert message.startswith("4 files, 4 parsed")
        assert same(grown, rebuilt)
        assert same(grown, to_table(read_sheet(FILE)))
        (folder / "2026-11-24.csv").unlink()
        assert same(read()[0], first)
        assert len(list((tmp_path / "cache").glob("*/*"))) == 3, "a file that is gone is not kept"

    def test_damaged_cache(self, read, tmp_path):
        """A kept file with a flipped byte is parsed again; what other code parsed is removed."""
        first, _ = read()
        (tmp_path / "cache/0123").mkdir()
        kept = sorted((tmp_path / "cache").glob("*/*"))[0]
        data = bytearray(kept.read_bytes())
        data[len(data) // 2] ^= 1
        kept.write_bytes(data)
        again, message = read()
        assert message.startswith("3 files, 1 parsed")
        assert same(first, again)
        assert len(list((tmp_path / "cache").iterdir())) == 1

    def test_cache_that_cannot_be_written(self, folder, tmp_path):
        """Without a place for the cache, the files are parsed each time."""
        (tmp_path / "cache").write_bytes(b"")
        messages = []
        assert len(read_raw(folder, tmp_path / "cache", messages.append).frame) == 3 * BATCHES
        assert messages[0].startswith("a parsed file is not kept")
        assert "3 parsed" in messages[-1]

    def test_file_and_line(self, folder, read):
        """Files that are no tables of batches are all named, with the line."""
        (folder / "2026-11-24.csv").write_bytes(b"")
        (folder / "2026-11-25.csv").write_bytes(day(3).replace(b"A10,", b"C10,"))
        (folder / "2026-11-26.csv").write_bytes(day(3) + b"1,2\n")
        (folder / "2026-11-27.csv").write_bytes(b"\n".join(line.rpartition(b",")[0] for line in day(3).splitlines()))
        violations = refused(read)
        assert "2026-11-24.csv, line 1: the file is empty" in violations
        assert "2026-11-25.csv, line 1: missing column A10" in violations
        assert f"2026-11-26.csv, line {BATCHES + 2}: expected 44 cells, found 2" in violations
        assert [v for v in violations if v.startswith("2026-11-27.csv, line 1: missing column")]

    def test_not_a_folder_of_files(self, folder, read):
        """A folder without files, or with others, is refused; hidden files do not count."""
        (folder / ".DS_Store").write_bytes(b"\0")
        read()
        (folder / "notes.txt").write_text("?")
        with pytest.raises(ConfigError, match=r"notes\.txt, which is no \.csv file"):
            read()
        shutil.rmtree(folder)
        folder.mkdir()
        with pytest.raises(ConfigError, match=r"has no \.csv file"):
            read()


class TestContract:
    def test_repeated_id(self, folder, read):
        """A batch in two files is named with both files and lines; the report counts the files."""
        (folder / "2026-11-24.csv").write_bytes(HEADER + LINES[BATCHES + 3])
        name = LINES[BATCHES + 3].split(b",")[0].decode()
        table, _ = read()
        result = check_contract(table, ContractParams())
        places = ("2026-11-22.csv, line 5", "2026-11-24.csv, line 2")
        assert [str(violation) for violation in result.violations] == [
            f"{place} ({name}), column id: {name} comes more than once: {' and '.join(places)}" for place in places
        ]
        report = render_report(result, table)
        assert "- files: 4\n" in report
        dirty = table.dirty[-1]
        assert table.place(dirty.row).startswith("2026-11-2")

    def test_unusual_reading(self, folder, read):
        """A reading is named with its file and line."""
        lines = day(3).splitlines(keepends=True)
        cells = lines[2].split(b",")
        cells[HEADER.split(b",").index(b"B14")] = b"785"
        (folder / "2026-11-24.csv").write_bytes(b"".join([*lines[:2], b",".join(cells), *lines[3:]]))
        unusual = check_contract(read()[0], ContractParams()).unusual
        assert f"2026-11-24.csv, line 3 ({cells[0].decode()}), column B14: 785 is outside 250..460" in map(str, unusual)
