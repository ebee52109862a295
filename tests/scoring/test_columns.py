"""Files read by column: what the strict reader and single batches give, to the last bit, with the same warnings."""

import csv
import io
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.commands import run

from batchyield.errors import InputError
from batchyield.plant.batch import ID_COLUMN, MAX_READING, READING_NAMES, READINGS, YIELD_COLUMN, Batch
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features.columns import Columns, columns_of
from batchyield.plant.simulator import simulate
from batchyield.scoring.chunks import FileChunk, chunks_of
from batchyield.scoring.columns.csv import read_csv_columns
from batchyield.scoring.columns.parquet import read_stream_columns
from batchyield.scoring.local import predict_chunk, score_chunk
from batchyield.scoring.predicted import COLUMNS, Predicted, encode_lines, encode_stream, from_predictions
from batchyield.serving.artifact import open_artifact, read_pins
from batchyield.serving.chunking import Chunk
from batchyield.serving.prediction import Prediction
from batchyield.serving.responses import CSV_HEADER, encode_predictions_csv

NAMES = [ID_COLUMN, *READING_NAMES, YIELD_COLUMN]
KIND = {reading.name: reading.kind for reading in READINGS}
TIMES = ["7:00:00", "13:30", "24:00:00", "1900/1/21 0:00", '22"00', "7点30", "70,5", ":30:00", " 8:00 "]
RANGES = ["21:00-21:30", "20；00-22:00", '22"00-0:00', "10:00-9:00", "23:00-1:00", "19:-20:05", "2:00-4::00"]
NUMBERS = ["405", "3.5", " 29 ", "3。5", "1900/1/21 0:00", "1e9", "nan", "-inf", "7" * 70, "1,200", "x", "0"]
SAMPLES = {"clock": TIMES, "range": RANGES, "number": NUMBERS}


def assert_equal(found, expected):
    """Assert that two `Columns` hold the same bits."""
    for name in Columns._fields:
        if name == "doubts":
            assert list(found.doubts) == list(expected.doubts)
        else:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def assert_reads_equal(data):
    """Assert that a CSV is read by column as row by row, or left to the strict reader; return whether by column."""
    sheet = read_csv_columns(data)
    if sheet is None:
        return False
    strict = read_sheet(data, sparse=True)
    assert list(sheet.ids) == [batch.id for batch in strict.batches]
    assert [sheet.warnings.get(row, ()) for row in range(len(strict.batches))] == strict.warnings
    assert sheet.absent == strict.columns
    assert_equal(sheet.columns, columns_of(strict.batches))
    return True


def written(rows, names=NAMES, encoding="UTF-8", ending="\n", quoting=csv.QUOTE_MINIMAL):
    text = io.StringIO()
    csv.writer(text, lineterminator=ending, quoting=quoting).writerows([names, *rows])
    return text.getvalue().encode(encoding)


def cell(name):
    if name == ID_COLUMN:
        return st.sampled_from(["sample_1", " s_2 ", "样品3", "b,1", 'q"4', "", "x" * 129, "9999999"])
    if name == YIELD_COLUMN:
        return st.sampled_from(["0.92", "", " ", "lost"]) if name else st.none()
    return st.just("") | st.sampled_from(SAMPLES[KIND[name]]) | st.text(st.characters(codec="gb18030"), max_size=8)


FEW = [ID_COLUMN, "A1", "A5", "A20", "B14", YIELD_COLUMN]
rows = st.lists(st.tuples(*map(cell, FEW)), min_size=1, max_size=5)
ends = st.sampled_from(["", "\n", "\r\n", ",,,,,\n", "　,,,,,\n", "a,b\n"])


class TestCsv:
    @settings(max_examples=60)
    @given(
        rows,
        st.permutations(range(len(FEW))),
        st.sampled_from(["UTF-8", "UTF-8-SIG", "GB18030"]),
        st.sampled_from(["\n", "\r\n", "\r"]),
        st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        ends,
    )
    def test_any_sheet(self, given_rows, order, encoding, ending, quoting, end):
        """Sheets of any form give the same columns, or are left to the strict reader."""
        shuffled = [[row[i] for i in order] for row in given_rows]
        data = written(shuffled, [FEW[i] for i in order], encoding, ending, quoting) + end.encode("gb18030")
        assert_reads_equal(data)

    @given(
        st.integers(0, 400),
        st.sampled_from([0, 1, 3, 40]),
        st.lists(st.sampled_from([b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"\x81", b"\x81\x30", b"7", b" "])),
    )
    @example(0, 0, [b"\xef\xbb\xbf"])
    def test_spoiled(self, at, length, instead):
        """A sheet with bytes replaced is read the same, or left to the strict reader."""
        data = written([["s_1", "300", "7:00:00", '22"00-0:00', "400", "0.9"], ["样2", "", "", "", "", ""]], FEW)
        assert_reads_equal(data[: at % len(data)] + b"".join(instead) + data[at % len(data) + length :])

    @pytest.mark.parametrize("encoding", ["UTF-8", "UTF-8-SIG", "GB18030"])
    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    def test_simulated(self, encoding, ending):
        """The sample plant's sheets, with quotes and repaired cells, are read by column in every encoding."""
        text = simulate(2000, seed=5).csv().decode("gb18030")
        assert assert_reads_equal(text.replace("\n", ending).encode(encoding))

    def test_quoted(self):
        """A sheet with a quote around every cell is read by column."""
        assert assert_reads_equal(
            written([["s_1", "300", "7:00:00", "", "400", "0.9"]] * 3, FEW, quoting=csv.QUOTE_ALL)
        )

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            written([["s_1", "300", "7:00:00", "", "400", "0.9"]], FEW).replace(b"300", b"3,00"),
            written([["s_1", "1,200", "7:00:00", "", "400", "0.9"]], FEW),
            written([["s_1", "3\n0", "7:00:00", "", "400", "0.9"]], FEW),
            written([["s_1", "300", "7:00:00", "", "400", "lost"]], FEW),
            written([["s_1", "3" * 140_000, "7:00:00", "", "400", ""]], FEW),
            written([["s_1", "300", "7"]], [ID_COLUMN, "A1", "sequence"]),
            written([["s_1", "300", "300"]], [ID_COLUMN, "A1", "A1"]),
            written([["s_1"]], [ID_COLUMN]),
            written([], FEW),
        ],
    )
    def test_left_to_the_strict_reader(self, data):
        """Sheets that only the strict reader can judge are left to it."""
        assert read_csv_columns(data) is None

    @pytest.mark.real_data
    def test_real_files(self, real_data):
        """The real plant's sheets are read by column."""
        for name in ("jinnan_round1_train_20181227.csv", "jinnan_round1_testA_20181227.csv"):
            assert assert_reads_equal((real_data / name).read_bytes())


def parquet_chunks(table, **options):
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    file.seek(0)
    return list(chunks_of(file, "x.parquet"))


NUMERIC = ["A1", "A2", "A3", "B14"]
values = st.none() | st.floats() | st.floats(0, 1000) | st.sampled_from([MAX_READING * 1.5, -1e300])
texts = st.none() | st.text(st.characters(exclude_categories=("C",)), max_size=70) | st.sampled_from([*TIMES, *RANGES])


class TestParquet:
    @settings(max_examples=40)
    @given(
        st.lists(st.tuples(st.tuples(*[values] * 4), st.tuples(texts, texts)), min_size=1, max_size=5),
        st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]),
        st.sampled_from(["id", ID_COLUMN]),
    )
    def test_any_table(self, given_rows, kind, name):
        """Numbers and texts of Parquet give what the cells of a CSV give; NaN and null are blank."""
        ids = [f"s_{row}" for row in range(len(given_rows))]
        numbers = {n: [row[0][i] for row in given_rows] for i, n in enumerate(NUMERIC)}
        cells = {n: [row[1][i] for row in given_rows] for i, n in enumerate(["A5", "A20"])}
        columns = {n: pa.array(column, pa.float64()) for n, column in numbers.items()}
        columns |= {n: pa.array(column, pa.string()).cast(kind) for n, column in cells.items()}
        [chunk] = parquet_chunks(pa.table({name: ids} | columns))
        sheet = read_stream_columns(chunk.chunk)
        lines = [
            ["" if v is None or v != v else repr(v) if isinstance(v, float) else v for v in row]
            for row in zip(ids, *numbers.values(), *cells.values(), strict=True)
        ]
        strict = read_sheet(in_quotes([ID_COLUMN, *NUMERIC, "A5", "A20"], lines), sparse=True)
        assert sheet.warnings == {row: of for row, of in enumerate(strict.warnings) if of}
        assert_equal(sheet.columns, columns_of(strict.batches))

    def test_types(self):
        """Integers, decimals and texts are numbers; a column of nulls is blank."""
        table = pa.table(
            {
                "id": ["s_1", "s_2"],
                "A1": pa.array([300, None], pa.int16()),
                "A3": ["405", " 3。5 "],
                "A4": pa.array(["700.5", "1"]).cast(pa.decimal128(9, 2)),
                "A5": pa.nulls(2),
                "B14": pa.array([400.5, float("nan")], pa.float32()),
                "yield": ["not", "read"],
            }
        )
        [chunk] = parquet_chunks(table)
        sheet = read_stream_columns(chunk.chunk)
        expected = [Batch(id="s_1", A1=300, A3=405, A4=700.5, B14=400.5), Batch(id="s_2", A3=3.5, A4=1)]
        assert_equal(sheet.columns, columns_of(expected))
        assert [warning.kind for warning in sheet.warnings[1]] == ["full_width"]

    def test_row_groups(self):
        """Files of many row groups give chunks with the number of rows before them, and the whole size."""
        table = pa.table({"id": [f"s_{n}" for n in range(25_000)], "A1": np.arange(25_000.0)})
        chunks = parquet_chunks(table, row_group_size=9_000)
        befores = [chunk.chunk.before for chunk in chunks]
        sheets = [read_stream_columns(chunk.chunk) for chunk in chunks]
        assert befores == list(np.cumsum([0, *(len(sheet.ids) for sheet in sheets[:-1])]))
        assert [name for sheet in sheets for name in sheet.ids] == table["id"].to_pylist()

    @pytest.mark.parametrize(
        ("table", "problem"),
        [
            (
                pa.table({"id": ["a"], "A1": ["1"], "A5": pa.array([0], pa.time32("s"))}),
                "x.parquet, column A5: has the",
            ),
            (pa.table({"id": [1], "A1": [1.0]}), f"x.parquet, column {ID_COLUMN}: has the type int64, expected text"),
            (pa.table({"id": ["a"], "A1": [True]}), "column A1: has the type bool, expected numbers or text"),
            (pa.table({"A1": [1.0]}), f"x.parquet, columns: missing column {ID_COLUMN}"),
            (pa.table({"id": ["a"], "A1": [1.0], "C1": [1.0]}), "unknown column C1"),
            (pa.table({"id": ["a"], ID_COLUMN: ["a"], "A1": [1.0]}), f"repeated column {ID_COLUMN}"),
            (pa.table({"id": ["a", None], "A1": [1.0, 2.0]}), f"x.parquet, row 2, column {ID_COLUMN}: a name has"),
            (pa.table({"id": ["a", "b\nc"], "A1": [1.0, 2.0]}), "no line break, found 'b\\nc'"),
            (pa.table({"id": pa.array([], pa.string()), "A1": pa.array([], pa.float64())}), "has no batches"),
        ],
    )
    def test_refused(self, table, problem):
        """Tables of other columns or without names are refused with file, row and column."""
        with pytest.raises(InputError) as refusal:
            [predict_chunk(None, chunk) for chunk in parquet_chunks(table)]
        assert problem in str(refusal.value)

    def test_no_parquet(self):
        """A file that is no Parquet is refused."""
        with pytest.raises(InputError, match=r"x\.parquet, file: cannot be read as Parquet"):
            list(chunks_of(io.BytesIO(b"id,A1\na,1\n"), "x.parquet"))


def in_quotes(names, rows):
    """A CSV in which a cell may hold anything but a line break, which the plant's CSV has not."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([names, *rows])
    return text.getvalue().encode("utf-8", "surrogatepass")


number = st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 1.2).map(lambda x: round(x, 7))


class TestEncode:
    @given(st.lists(st.tuples(st.none() | st.text(max_size=6), number, number, number), min_size=1, max_size=6))
    @example([("s_1", 1.0, 0.00001, 0.0)])
    @example([("s_1", 0.9213456, 0.5, 0.1234567)])
    def test_same_bytes(self, rows):
        """The lines are those of Python's writer, for any id and number."""
        predictions = [Prediction(*row) for row in rows]
        assert CSV_HEADER + encode_lines(from_predictions(predictions)) == encode_predictions_csv(predictions)

    def test_many(self):
        """Seven decimals are written with the digits of `repr`."""
        numbers = np.random.default_rng(4).integers(1, 2 * 10**7, (3, 20_000)) / 1e7
        lines = encode_lines(Predicted([f"s_{n}" for n in range(20_000)], numbers)).decode().splitlines()
        assert lines == [f"s_{n},{a!r},{b!r},{c!r}" for n, (a, b, c) in enumerate(numbers.T.tolist())]

    @given(st.lists(st.none() | st.text(max_size=6), min_size=1, max_size=20))
    def test_stream(self, ids):
        """The Arrow stream holds any ids, null where a batch has none, and the numbers."""
        numbers = np.arange(3.0 * len(ids)).reshape(3, len(ids)) / 7
        with pa.ipc.open_stream(encode_stream(Predicted(ids, numbers))) as stream:
            table = stream.read_all()
        table.validate(full=True)
        assert table.to_pydict() == dict(zip(COLUMNS, [ids, *numbers.tolist()], strict=True))


@pytest.fixture(scope="module")
def predictor(root):
    return open_artifact(root / "data/model", read_pins(root / "dvc.lock", root / "data/model")).predictor


class TestPredictions:
    def check(self, predictor, rows, seed):
        """CSV and Parquet by column give the bits of one batch at a time, and the same warnings."""
        data = simulate(rows, seed=seed).csv()
        sheet = read_sheet(data, sparse=True)
        alone = [predictor.predict([batch])[0] for batch in sheet.batches]
        expected = encode_predictions_csv(alone).removeprefix(CSV_HEADER)
        [chunk] = [FileChunk("x.csv", Chunk(data, 0), 0)]
        assert score_chunk(predictor, chunk) == expected
        _, warnings = predictor.predict_columns(read_csv_columns(data).columns)
        assert [warnings.get(row, ()) for row in range(len(alone))] == [p.warnings for p in alone]
        fields = {"id": [b.id for b in sheet.batches]}
        fields |= {name: [getattr(b, name) for b in sheet.batches] for name in READING_NAMES}
        parts = [score_chunk(predictor, chunk) for chunk in parquet_chunks(pa.table(fields))]
        assert b"".join(parts) == expected

    def test_bits(self, predictor):
        """Some batches in the default run, and a million nightly."""
        self.check(predictor, 2_500, 7)

    def test_no_pandas(self, root, tmp_path):
        """Scoring files imports no pandas, which Arrow does for some of its functions."""
        data = simulate(60, seed=7).csv()
        (tmp_path / "x.csv").write_bytes(data)
        cells = zip(*csv.reader(io.StringIO(data.decode("GB18030"))), strict=True)
        texts = {name: pa.array(column) for name, *column in cells}
        numbers = {name: texts[name].cast(pa.float64()) for name in ("A1", "B14")}
        for name, columns in (
            ("texts", texts),
            ("distinct", {name: column.dictionary_encode() for name, column in texts.items()}),
            ("numbers", texts | numbers | {"A2": pa.nulls(60)}),
        ):
            pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        code = (
            "import sys; from batchyield.cli.__main__ import main\n"
            "for file in sys.argv[1:]:\n"
            "    for form in ('csv', 'parquet'):\n"
            "        assert not main(['model', 'score', file, '--local', '--quiet', '--out', f'{file}.{form}'])\n"
            "        assert 'pandas' not in sys.modules, (file, form)"
        )
        run(sys.executable, "-c", code, *tmp_path.iterdir(), cwd=root)

    @pytest.mark.nightly
    def test_million(self, predictor):
        for seed in range(20):
            self.check(predictor, 50_000, seed)
