"""The data contract: checks, frame, parameters and report."""

import csv
import io

import msgspec
import pytest

from batchyield.plant.batch import ID_COLUMN, READING_NAMES, READINGS, YIELD_COLUMN, Batch
from batchyield.plant.contract import check_contract, render_report
from batchyield.plant.contract_params import ContractParams
from batchyield.plant.csv_reader import Sheet, read_sheet
from batchyield.plant.raw_table import to_table

PARAMS = ContractParams(minimum_rows=10)
NUMBERS = [r.name for r in READINGS if r.kind == "number"]
ORDINARY = {
    r.name: {"clock": "7:00:00", "range": "7:00-8:00"}.get(r.kind) or str(sum(PARAMS.usual[r.name]) / 2)
    for r in READINGS
}


def sheet(*spoiled, rows=20, columns=(ID_COLUMN, *READING_NAMES, YIELD_COLUMN)):
    """The table of batches `sample_0`, `sample_1`, ...; each of `spoiled` is (row, column, cell), row None for all."""
    table = [{ID_COLUMN: f"sample_{i}", YIELD_COLUMN: "0.92"} | ORDINARY for i in range(rows)]
    for at, column, cell in spoiled:
        for row in table if at is None else [table[at]]:
            row[column] = cell
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(table)
    return to_table(read_sheet(text.getvalue().encode()))


def broken(*spoiled, params=PARAMS, **options):
    return [str(v) for v in check_contract(sheet(*spoiled, **options), params).violations]


SLIPS = {
    "a digit more": lambda cell: f"{cell}9",
    "a point lost": lambda cell: cell.replace(".", ""),
    "a digit less": lambda cell: cell[:-1] or "0",
    "another column's": lambda _: "1200",
}


SPOILED = [
    (0, "A5", "1900/1/21 0:00"), (1, "A5", ":30:00"), (2, "B9", "<b>"), (3, "B9", "1:30-3;00"), (4, "B9", ""),
    (5, "A25", "1900/3/10 0:00"), (6, "B13", "0.2。"), (7, "B14", "40"), (8, YIELD_COLUMN, "1.5"),
]  # fmt: skip


class TestCheck:
    def test_valid_file(self):
        """A file of the simulator keeps the contract."""
        assert check_contract(sheet(), PARAMS) == ([], [])

    @pytest.mark.parametrize(
        ("spoiled", "violations"),
        [
            ([(3, ID_COLUMN, "sample 3")], ["line 5 (sample 3), column id: 'sample 3' is a name with blanks"]),
            (
                [(3, ID_COLUMN, "sample_7")],
                [f"line {line} (sample_7), column id: sample_7 comes more than once" for line in (5, 9)],
            ),
            ([(3, YIELD_COLUMN, "")], ["line 5 (sample_3), column yield: blank"]),
            (
                [(3, YIELD_COLUMN, "92.3")],
                ["line 5 (sample_3), column yield: 92.3 is outside 0..1.2; a yield is a fraction, not per cent"],
            ),
            ([(3, YIELD_COLUMN, "-0.1")], ["line 5 (sample_3), column yield: -0.1 is outside 0..1.2"]),
            ([(0, "A1", "300000")], ["line 2 (sample_0), column A1: 300000 is outside 0..20000"]),
            ([(0, "A6", "-60")], ["line 2 (sample_0), column A6: -60 is outside -50..20000"]),
            ([(None, "A6", "")], ["column A6: 100.0% missing or unreadable; at most 20.0% may be"]),
            ([(None, "A5", "morning")], ["column A5: 100.0% missing or unreadable; at most 20.0% may be"]),
            ([(None, "B9", "7-8")], ["column B9: 100.0% missing or unreadable; at most 20.0% may be"]),
            ([(None, "B1", "1200")], ["column B1: 100.0% outside the usual 190..400; at most 10.0% may be"]),
            (
                [(i, "A25", "158") for i in range(3)],
                ["column A25: 15.0% outside the usual 65..90; at most 10.0% may be"],
            ),
        ],
    )
    def test_violation(self, spoiled, violations):
        """Each violation has its row and column."""
        assert broken(*spoiled) == violations

    def test_too_few_batches(self):
        """Too few batches and a missing yield column are violations."""
        assert broken(rows=9, columns=(ID_COLUMN, *READING_NAMES)) == [
            "file: 9 batches; at least 10 are needed",
            "column yield: missing",
        ]

    def test_all_violations(self):
        """All violations are listed in file order."""
        spoiled = [(5, "B14", "-1"), (5, "A1", "-1"), (2, YIELD_COLUMN, "7"), (9, YIELD_COLUMN, ""), (None, "A9", "")]
        assert [v.partition(":")[0] for v in broken(*spoiled, params=ContractParams(minimum_rows=21))] == [
            "file",
            "column A9",
            "line 4 (sample_2), column yield",
            "line 7 (sample_5), column A1",
            "line 7 (sample_5), column B14",
            "line 11 (sample_9), column yield",
        ]

    def test_mostly_blank_columns(self):
        """Columns of one process may be entirely blank."""
        assert broken(*[(None, column, "") for column in PARAMS.mostly_blank]) == []

    def test_missing_limit(self):
        """Other columns may be blank up to the limit."""
        others = [name for name in READING_NAMES if name not in PARAMS.mostly_blank]
        assert broken(*[(i, column, "") for i in range(4) for column in others]) == []
        assert broken(*[(i, column, "") for i in range(5) for column in others]) == [
            f"column {column}: 25.0% missing or unreadable; at most 20.0% may be" for column in others
        ]

    @pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
    def test_unusual_reading(self, slip):
        """A typing error is reported as unusual and is no violation."""
        slips = [(i, name, slip(f"{PARAMS.usual[name][1]:g}")) for i, name in enumerate(NUMBERS)]
        result = check_contract(sheet(*slips, rows=30), PARAMS)
        assert result.violations == []
        assert [str(v) for v in result.unusual] == [
            f"line {i + 2} (sample_{i}), column {name}: {float(cell):g} is outside {low:g}..{high:g}"
            for i, name, cell in slips
            for low, high in [PARAMS.usual[name]]
            if not low <= float(cell) <= high
        ]

    def test_blank_id(self):
        """A batch without id is named by its line."""
        nameless = Sheet(batches=[Batch()] * 10, yields=[0.9] * 10, warnings=[()] * 10, encoding="UTF-8")
        violations = [str(v) for v in check_contract(to_table(nameless), PARAMS).violations]
        assert sum("column id: blank" in v for v in violations) == 10
        assert sum("missing or unreadable" in v for v in violations) == len(READING_NAMES) - len(PARAMS.mostly_blank)

    @pytest.mark.real_data
    def test_real_file(self, real_data):
        """The real file keeps the contract, and its known typing errors are unusual."""
        train = to_table(read_sheet((real_data / "jinnan_round1_train_20181227.csv").read_bytes()))
        result = check_contract(train, ContractParams())
        assert result.violations == []
        violations = [str(v) for v in result.unusual]
        for slip in ("B14: 40 ", "A22: 3.5 ", "B1: 3.5 ", "A17: 89 ", "B8: 73 ", "B1: 1200 ", "B2: 0.15 "):
            assert any(f"column {slip}" in v for v in violations)
        assert "- cells not clean: 86 in 71 rows, 7 of them unreadable" in render_report(result, train).splitlines()


class TestFrame:
    def test_columns(self):
        """The frame has a typed column for every field and a row for every batch."""
        cells = [(0, "A5", ""), (1, "A1", ""), (2, "A1", "1900/3/10 0:00"), (3, YIELD_COLUMN, "")]
        table = sheet(*cells).frame
        assert list(table) == ["id", *READING_NAMES, "yield"]
        assert {n: str(t) for n, t in table.dtypes.items()} == {
            n: "float64" if n in {*NUMBERS, "yield"} else "str" for n in table
        }
        assert table["id"].tolist() == [f"sample_{i}" for i in range(20)]
        assert table["A5"].isna().tolist() == [True] + [False] * 19
        assert table["A1"].isna().tolist() == [False, True] + [False] * 18
        assert table["A1"].iloc[2] == 70
        assert table["yield"].isna().tolist() == [False] * 3 + [True] + [False] * 16
        assert list(sheet(columns=(ID_COLUMN, *READING_NAMES)).frame) == ["id", *READING_NAMES]


class TestParams:
    @pytest.mark.parametrize(
        ("params", "problem"),
        [
            ({"minimum_rows": 0}, "minimum_rows"),
            ({"missing_limit": 1.5}, "missing_limit"),
            ({"mostly_blank": ["A99"]}, "A99: no such column or unit"),
            ({"usual": {"A5": [0, 1]}}, "A5: no such column or unit"),
            ({"possible": {"lb": [0, 1]}}, "lb: no such column or unit"),
            ({"usual": {"A1": [300, 200]}}, "A1: the bounds 300 and 200 are in the wrong order"),
            ({"yield_bounds": [1, float("nan")]}, "yield: the bounds"),
            ({"minimum": 1}, "unknown field `minimum`"),
        ],
    )
    def test_invalid(self, params, problem):
        """Unknown columns and bounds in the wrong order are refused."""
        with pytest.raises(msgspec.ValidationError, match=problem):
            msgspec.convert(params, ContractParams)

    def test_round_trip(self):
        """Parameters survive a round trip and bound every number."""
        assert msgspec.convert(msgspec.to_builtins(ContractParams()), ContractParams) == ContractParams()
        assert list(ContractParams().usual) == NUMBERS
        assert set(ContractParams().possible) == {r.unit for r in READINGS if r.kind == "number"}


class TestReport:
    def test_counts(self):
        """The report starts with the result and counts every dirty cell."""
        spoiled = sheet(*SPOILED)
        result = check_contract(spoiled, PARAMS)
        lines = render_report(result, spoiled).splitlines()
        assert lines[:5] == [
            "# The data contract is broken in 1 place",
            "",
            "- batches: 20, with yields, UTF-8",
            "- cells not clean: 6 in 6 rows, 3 of them unreadable",
            "- readings outside their usual bounds: 1",
        ]
        assert "- line 10 (sample_8), column yield: 1.5 is outside 0..1.2; a yield is a fraction, not per cent" in lines
        assert "- line 9 (sample_7), column B14: 40 is outside 250..460" in lines
        assert "| A5 | clock | 5.0% | 1 | 1 | 2 | 7:00 | 7:00 | 21:00 |" in lines
        assert "| B9 | range | 10.0% | 1 | 1 | 2 | 1:30-3:00 | 7:00-8:00 | 7:00-8:00 |" in lines
        assert "| A25 | number | 0.0% | 0 | 1 | 2 | 70 | 77.5 | 77.5 |" in lines
        assert "| B13 | number | 5.0% | 1 | 0 | 1 | 0.115 | 0.115 | 0.115 |" in lines
        assert "| yield | number | 0.0% | 0 | 0 | 2 | 0.92 | 0.92 | 1.5 |" in lines
        assert "- **semicolon**: 1, `;` for `:`" in lines
        assert "  - line 4 (sample_2), B9: '&lt;b&gt;' taken as missing: no known form" in lines
        assert sum(line.startswith("| ") for line in lines) == 1 + len(READING_NAMES) + 1

    def test_valid_file(self):
        """The report on a valid file has no sections of problems."""
        clean = sheet()
        text = render_report(check_contract(clean, PARAMS), clean)
        assert text.startswith("# The data contract is kept\n")
        assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Columns"]
        assert text.endswith("|\n")

    def test_equal_data(self):
        """Equal data give an equal report."""
        assert len({render_report(check_contract(s, PARAMS), s) for s in (sheet(*SPOILED), sheet(*SPOILED))}) == 1
