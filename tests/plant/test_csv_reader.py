"""Reading of CSV files in every form, and refusal with line and column."""

import csv
import io
from codecs import BOM_UTF8
from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchyield.errors import InputError
from batchyield.plant import cells as clock
from batchyield.plant.batch import ID_COLUMN, MAX_READING, READING_NAMES, READINGS, YIELD_COLUMN, Batch
from batchyield.plant.csv_reader import CHUNK_ROWS, MAX_VIOLATIONS, WARNING_KINDS, read_sheet

HEADER = [ID_COLUMN, *READING_NAMES, YIELD_COLUMN]
KIND = {r.name: r.kind for r in READINGS}
ENCODINGS = ["UTF-8", "UTF-8-SIG", "GB18030"]


def written(rows, header=HEADER, encoding="UTF-8", ending="\n"):
    text = io.StringIO()
    csv.writer(text, lineterminator=ending).writerows([header, *rows])
    return text.getvalue().encode(encoding)


def row(**cells):
    """A blank row but for its id, yield and the given cells, in the order of the header."""
    cells = {ID_COLUMN: "sample_1", YIELD_COLUMN: "0.92"} | cells
    return [cells.get(name, "") for name in HEADER]


def refused(data, reader=read_sheet, **options):
    with pytest.raises(InputError) as caught:
        reader(data, **options)
    return [str(v) for v in caught.value.violations]


times = st.integers(0, 1439).map(lambda m: f"{m // 60}:{m % 60:02d}")
names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20).filter(lambda s: s == s.strip())
VALUES = {
    "number": st.integers(-10_000, 10_000).map(lambda n: n / 8),
    "clock": times.map("{}:00".format) | st.sampled_from(["1900/1/21 0:00", '22"00', "7点30", "70,5"]),
    "range": st.tuples(times, times).map("-".join) | st.sampled_from(["20；00-22:00", '22"00-0:00']),
}
batches = st.builds(Batch, id=names, **{n: st.none() | VALUES[KIND[n]] for n in READING_NAMES})
yields = st.none() | st.integers(0, 1200).map(lambda n: n / 1000)


def violations(reader, data):
    try:
        reader(data)
    except InputError as error:
        return error.violations
    return ()


def _spoil(at, length, instead):
    data = written([row(A5="7:00:00", A20='22"00-0:00'), row(B14="400")])
    at %= len(data)
    return data[:at] + instead + data[at + length :]


spoiled = st.builds(
    _spoil,
    st.integers(0, 10_000),
    st.sampled_from([0, 1, 2, 3, 40, 400]),
    st.lists(st.sampled_from([b",", b'"', b"\n", b"\r", b";", b"\0", b"\xff", b"\x81", b"7", BOM_UTF8])).map(b"".join),
)


GOOD = written([row()])


MANY = 3 * CHUNK_ROWS + 5


READERS = {"clock": clock.parse_clock, "range": clock.parse_range, "number": clock.parse_number}


class TestRead:
    @settings(deadline=None)
    @given(
        st.lists(st.tuples(batches, yields), min_size=1, max_size=4),
        st.permutations(HEADER),
        st.sampled_from(ENCODINGS),
        st.sampled_from(["\n", "\r\n", "\r"]),
        st.sampled_from([True, False, None]),
        st.integers(0, 3),
    )
    def test_round_trip(self, written_rows, header, encoding, ending, with_yield, blank_lines):
        """Batches survive every encoding, line ending, order of columns and blank lines at the end."""
        rows = []
        for batch, measured in written_rows:
            cells = msgspec.structs.asdict(batch) | {ID_COLUMN: batch.id, YIELD_COLUMN: measured}
            rows.append(["" if cells[name] is None else str(cells[name]) for name in header])
        padded = [f" {name}\t" for name in header]
        data = written(rows, padded, encoding, ending) + ending.encode() * blank_lines
        read = read_sheet(data, with_yield)
        assert read.batches == [batch for batch, _ in written_rows]
        assert read.yields == (None if with_yield is False else [measured for _, measured in written_rows])
        assert read.warnings == [()] * len(rows)
        assert read.encoding == encoding

    @given(
        st.dictionaries(st.sampled_from(READING_NAMES), st.text(max_size=80), max_size=5), st.sampled_from(ENCODINGS)
    )
    @example({"A1": "٣", "B14": "1e309", "A20": "\ufeff", "A5": "x" * 65}, "GB18030")
    def test_any_cell(self, cells, encoding):
        """Any cell is a reading of the schema, or missing with a warning."""
        clean = {n: "".join(c for c in text if c not in "\0\r\n") for n, text in cells.items()}
        sheet = read_sheet(written([row(**clean), row(A1="300")], encoding=encoding))
        first, second = sheet.batches
        assert msgspec.convert(msgspec.to_builtins(first), Batch) == first
        assert second == Batch(id="sample_1", A1=300.0)
        assert sheet.warnings[1] == ()
        warned = {w.field: w.kind for w in sheet.warnings[0]}
        assert set(warned.values()) <= set(clock.WARNING_KINDS) | set(WARNING_KINDS)
        for name, text in clean.items():
            value = getattr(first, name)
            assert not text.strip() or value is not None or name in warned
            assert text.strip() or (value is None and name not in warned)
            assert KIND[name] == "number" or value in (None, text.strip())

    def test_limits(self):
        """Cells have the limits of the schema of Batch."""
        longest = "x" * 64
        cells = {"A5": longest, "A7": f"{longest}y", "A20": f"  {longest} ", "A1": "1000000", "A2": "-1000000.5"}
        sheet = read_sheet(written([row(**cells, B1="nan", B2="Infinity", B3="0." + "1" * 64)]))
        batch = sheet.batches[0]
        assert [longest, None, longest, MAX_READING] == [batch.A5, batch.A7, batch.A20, batch.A1]
        assert (batch.A2, batch.B1, batch.B2, batch.B3) == (None,) * 4
        kinds = [(w.field, w.kind) for w in sheet.warnings[0]]
        assert kinds == [("A2", "too_large"), ("A7", "too_long"), ("B1", "not_finite"), ("B2", "not_finite"),
                         ("B3", "too_long")]  # fmt: skip

    def test_order_of_warnings(self):
        """Warnings are in the order of the readings, in any order of columns."""
        cells = row(B14="1900/3/10 0:00", A1="３００")
        sheet = read_sheet(written([cells[::-1]], HEADER[::-1]))
        assert [(w.field, w.kind) for w in sheet.warnings[0]] == [("A1", "full_width"), ("B14", "excel_date")]
        assert (sheet.batches[0].A1, sheet.batches[0].B14) == (300.0, 70.0)

    def test_yield_column(self):
        """The yield column is optional, required or ignored."""
        without = written([row()[:-1]], HEADER[:-1])
        assert read_sheet(without).yields is None
        assert refused(without, with_yield=True) == [f"line 1: missing column {YIELD_COLUMN}"]
        assert read_sheet(written([row(**{YIELD_COLUMN: "lost"})]), with_yield=False).yields is None
        assert read_sheet(written([row(**{YIELD_COLUMN: " "})])).yields == [None]

    def test_chunks(self):
        """A file of several chunks gives the same batches as its rows."""
        rows = [row(**{ID_COLUMN: f"sample_{n}"}, A1=str(n), B14="７" if n % 50 == 0 else "") for n in range(1, MANY)]
        rows[CHUNK_ROWS - 2 : CHUNK_ROWS + 1] = [row(A5="x" * 65)] * 3
        sheet = read_sheet(written(rows) + b"\n" * 2 * CHUNK_ROWS)
        alone = [read_sheet(written([cells])) for cells in rows]
        assert sheet.batches == [one.batches[0] for one in alone]
        assert sheet.yields == [0.92] * len(rows)
        assert sheet.warnings == [one.warnings[0] for one in alone]

    def test_sparse(self):
        """To predict, all columns of readings but one may be absent; each is then missing, with a warning."""
        content = written([["sample_1", "300"]], [ID_COLUMN, "A1"])
        assert refused(content)[0].startswith("line 1: missing column ")
        sheet = read_sheet(content, sparse=True)
        assert sheet.batches == [Batch(id="sample_1", A1=300.0)]
        assert [warning.field for warning in sheet.row_warnings()[0]] == [n for n in READING_NAMES if n != "A1"]
        assert "missing column" in refused(written([["sample_1"]], [ID_COLUMN]), sparse=True)[0]

    def test_equal_ids(self):
        """Rows with the same id are separate batches."""
        sheet = read_sheet(written([row(A1="300"), row(A1="200")]))
        assert [(b.id, b.A1) for b in sheet.batches] == [("sample_1", 300.0), ("sample_1", 200.0)]


class TestRefused:
    @settings(deadline=None)
    @given(spoiled | st.binary() | st.text().map(str.encode))
    @example(written([row()])[:-3] + b'"')
    @example(",".join(HEADER).encode() + b"\r\r\n")
    @example("样".encode("gb18030") + "样".encode())
    @example(b",".join([b"A1"] * 100_000))
    def test_any_bytes(self, data):
        """Any bytes give a sheet or an InputError with places."""
        found = violations(read_sheet, data)
        assert len(found) <= MAX_VIOLATIONS + 1
        assert all(v.where and v.problem for v in found)

    @given(spoiled)
    def test_corrupted_file(self, data):
        """A corrupted file keeps every row on its line or is refused."""
        if violations(read_sheet, data):
            return
        sheet = read_sheet(data)
        text = data.decode(sheet.encoding)
        lines = [cells for cells in csv.reader(io.StringIO(text, newline="")) if any(map(str.strip, cells))]
        assert len(sheet.batches) == len(sheet.yields) == len(sheet.warnings) == len(lines) - 1
        assert [batch.id for batch in sheet.batches] == [cells[0].strip() for cells in lines[1:]]

    @pytest.mark.parametrize(
        ("data", "where", "problem"),
        [
            (b"", "line 1", "empty"),
            (b" \r\n\r\n", "line 1", "empty"),
            (written([]), "line 1", "no batches"),
            (written([], encoding="UTF-8-SIG") + b"\n,,\n", "line 1", "no batches"),
            (written([row()], encoding="UTF-16"), "line 1", "NUL byte"),
            (GOOD + b"\0", "line 3", "NUL byte"),
            (GOOD + b"\xff\xff", "line 3", "neither UTF-8 nor GB18030"),
            (written([row()], encoding="UTF-8-SIG") + "样".encode("gb18030"), "line 3", "byte order mark"),
            (written([row()[:-2]], [n for n in HEADER if n not in ("A7", "B2")]), "line 1", "missing column A7, B2"),
            (
                written([[*row(), "", ""]], [*HEADER, "A29", ""]),
                "line 1",
                "unknown column A29, number 46 without a name",
            ),
            (written([[*row(), ""]], [*HEADER, "A1"]), "line 1", "repeated column A1"),
            (GOOD.replace(b",", b";"), "line 1", "separated by commas"),
            (written([row(), row()[:-1], row(), [*row(), ""]]), "line 3", "expected 44 cells, found 43"),
            (written([row(), row()[:-1], row(), [*row(), ""]]), "line 5", "expected 44 cells, found 45"),
            (written([row(), [], row()]), "line 3", "blank line"),
            (written([row(), [""] * 44, row()]), f"line 3, column {ID_COLUMN}", "blank"),
            (written([row(), row(**{ID_COLUMN: "x" * 129})]), f"line 3, column {ID_COLUMN}", "129 characters"),
            (written([row(), row(**{YIELD_COLUMN: "92%"})]), f"line 3, column {YIELD_COLUMN}", "'92%' is not a number"),
            (written([row(**{YIELD_COLUMN: "NaN"})]), f"line 2, column {YIELD_COLUMN}", "'NaN' is not a number"),
            (GOOD + b'sample_2,"300\n' + GOOD, "line 3", "quote"),
            (GOOD + b'sample_2,"300"0,\n', "line 3", "quote"),
            (written([row(), row(A5="7:00\n")]), "line 3", "line break inside a cell"),
            (written([row(), row(A5="x" * 200_000)]), "line 3", "field limit"),
        ],
    )
    def test_doubtful_table(self, data, where, problem):
        """A doubtful table is refused with line, column and problem."""
        assert any(violation.startswith(f"{where}: ") and problem in violation for violation in refused(data))

    def test_many_problems(self):
        """All problems are listed up to a limit."""
        violations = refused(written([row(**{ID_COLUMN: "", YIELD_COLUMN: "?"})] * 50))
        assert [v.partition(":")[0] for v in violations[:3]] == [
            f"line 2, column {ID_COLUMN}", f"line 2, column {YIELD_COLUMN}", f"line 3, column {ID_COLUMN}"
        ]  # fmt: skip
        assert (len(violations), violations[-1]) == (MAX_VIOLATIONS + 1, "file: 80 more like these")

    def test_late_problem(self):
        """A problem in a late chunk gives the same error as in the first."""
        rows = [row(A1=str(n)) for n in range(MANY)]
        doubtful = [*rows, row(**{ID_COLUMN: ""}), *rows, row(**{YIELD_COLUMN: "?"})]
        assert [violation.partition(":")[0] for violation in refused(written(doubtful))] == [
            f"line {MANY + 2}, column {ID_COLUMN}",
            f"line {2 * MANY + 3}, column {YIELD_COLUMN}",
        ]
        ragged = [*doubtful, [], row()[1:], *rows, row()[2:], *[[]] * MANY]
        assert refused(written(ragged)) == [
            f"line {2 * MANY + 4}: a blank line among the batches",
            f"line {2 * MANY + 5}: expected 44 cells, found 43",
            f"line {3 * MANY + 6}: expected 44 cells, found 42",
        ]
        for header in (HEADER, HEADER[1:]):
            assert refused(written([*ragged, row(A5="7:00\n"), *rows], header)) == [
                f"line {4 * MANY + 7}: a line break inside a cell: a quote too many?"
            ]
            (violation,) = refused(written([*ragged, row(A5="7:00\n"), *rows], header) + b'"')
            assert violation.startswith(f"line {4 * MANY + 7}: cannot be split into cells")


class TestRealFiles:
    @pytest.mark.real_data
    def test_all_rows(self, real_data):
        """The real files are read with all rows."""
        train = read_sheet((real_data / "jinnan_round1_train_20181227.csv").read_bytes())
        test = read_sheet((real_data / "jinnan_round1_testA_20181227.csv").read_bytes(), with_yield=None)
        assert (len(train.batches), len(test.batches)) == (1396, 150)
        assert (train.encoding, test.encoding) == ("GB18030", "GB18030")
        assert None not in train.yields
        assert test.yields is None
        for ending in (b"\n", b"\r\n"):
            text = (real_data / "jinnan_round1_train_20181227.csv").read_bytes().decode("GB18030")
            for encoding in ENCODINGS:
                again = read_sheet(text.encode(encoding).replace(b"\n", ending))
                assert (again.batches, again.yields, again.warnings) == (train.batches, train.yields, train.warnings)

    @pytest.mark.real_data
    def test_forms(self, real_data):
        """The real files contain the documented forms, each read as documented."""
        dirty, kinds, dirty_rows = {}, Counter(), 0
        for name in ("jinnan_round1_train_20181227.csv", "jinnan_round1_testA_20181227.csv"):
            text = (real_data / name).read_bytes().decode("GB18030")
            for cells in csv.DictReader(io.StringIO(text)):
                read = {(KIND[n], cells[n]): READERS[KIND[n]](cells[n]) for n in READING_NAMES}
                found = {cell: reading for cell, reading in read.items() if reading.warning}
                kinds.update(reading.warning[0] for reading in found.values())
                dirty_rows += bool(found)
                dirty |= found
        assert 0.045 < dirty_rows / 1546 < 0.06
        assert kinds == {
            "semicolon": 27, "short_minute": 27, "full_width": 18, "excel_date": 9, "double_colon": 4, "stray_colon": 3,
            "trailing": 3, "hour_24": 2, "no_colon": 2, "long_minute": 1, "no_hour": 1, "no_minute": 1, "quote": 1,
        }  # fmt: skip
        documented = {(column, cell): reading for rule in clock.RULES for column, cell, reading in rule.examples}
        met = dirty.keys() & documented
        assert {dirty[cell].warning[0] for cell in met} == set(kinds)
        for column, cell in met:
            assert dirty[column, cell][:-1] == READERS[column](documented[column, cell])[:-1]
        missing = {cell for cell, reading in dirty.items() if reading[0] is None}
        # A typed 29 is no hour, and 26:30 typed as one says no more than 223:00 does.
        assert missing - met == {("clock", "1900/1/29 0:00"), ("clock", "1900/1/1 2:30")}


class TestOrder:
    """The optional columns `sequence` and `started_at`."""

    HEADER = (*HEADER, "sequence", "started_at")

    def test_values(self):
        """They are read where they are not blank."""
        cells = [["12", ""], ["", "2026-11-29T08:00:00+08:00"], ["", ""]]
        read = read_sheet(written([[*row(), *order] for order in cells], self.HEADER)).batches
        assert [batch.sequence for batch in read] == [12.0, msgspec.UNSET, msgspec.UNSET]
        assert read[1].started_at == datetime(2026, 11, 29, tzinfo=UTC)
        assert read[2].started_at is msgspec.UNSET

    @pytest.mark.parametrize("cell", ["-1", "x", "nan", "1e9", "true"])
    def test_bad_sequence(self, cell):
        """A number that is none, or out of range, is refused with its line and column."""
        (problem,) = refused(written([[*row(), cell, ""]], self.HEADER))
        assert problem == f"line 2, column sequence: '{cell}' is not a number from 0 to 1,000,000, or blank"

    @pytest.mark.parametrize("cell", ["2026-11-29T08:00:00", "soon", "45990", "8:00"])
    def test_bad_time(self, cell):
        """A time without a zone is refused, and so is the number of a spreadsheet."""
        (problem,) = refused(written([[*row(), "", cell]], self.HEADER))
        assert problem.startswith(f"line 2, column started_at: '{cell}' is not a time with its zone")
