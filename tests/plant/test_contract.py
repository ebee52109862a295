"""The data contract: typing errors are reported; another unit, column or file is rejected, all violations at once."""

import csv
import io

import msgspec
import pytest

from batchyield.plant.batch import ID_COLUMN, READING_NAMES, READINGS, YIELD_COLUMN, Batch
from batchyield.plant.contract import check_contract, to_frame
from batchyield.plant.contract_params import ContractParams
from batchyield.plant.contract_report import render_report
from batchyield.plant.csv_reader import Sheet, read_sheet

PARAMS = ContractParams(minimum_rows=10)
NUMBERS = [r.name for r in READINGS if r.kind == "number"]
ORDINARY = {
    r.name: {"clock": "7:00:00", "range": "7:00-8:00"}.get(r.kind) or str(sum(PARAMS.usual[r.name]) / 2)
    for r in READINGS
}


def sheet(*spoiled, rows=20, columns=(ID_COLUMN, *READING_NAMES, YIELD_COLUMN)):
    """Ordinary batches `sample_0`, `sample_1`, ...; each of `spoiled` is (row, column, cell), row None for all."""
    table = [{ID_COLUMN: f"sample_{i}", YIELD_COLUMN: "0.92"} | ORDINARY for i in range(rows)]
    for at, column, cell in spoiled:
        for row in table if at is None else [table[at]]:
            row[column] = cell
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(table)
    return read_sheet(text.getvalue().encode())


def broken(*spoiled, params=PARAMS, **options):
    return [str(v) for v in check_contract(sheet(*spoiled, **options), params).violations]


def test_an_ordinary_file_keeps_the_contract():
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
        ([(3, YIELD_COLUMN, "92.3")], ["line 5 (sample_3), column yield: 92.3 is outside 0..1.2"]),
        ([(3, YIELD_COLUMN, "-0.1")], ["line 5 (sample_3), column yield: -0.1 is outside 0..1.2"]),
        ([(0, "A1", "300000")], ["line 2 (sample_0), column A1: 300000 is outside 0..20000"]),
        ([(0, "A6", "-60")], ["line 2 (sample_0), column A6: -60 is outside -50..20000"]),
        ([(None, "A6", "")], ["column A6: 100.0% missing or unreadable; at most 20.0% may be"]),
        ([(None, "A5", "morning")], ["column A5: 100.0% missing or unreadable; at most 20.0% may be"]),
        ([(None, "B9", "7-8")], ["column B9: 100.0% missing or unreadable; at most 20.0% may be"]),
        ([(None, "B1", "1200")], ["column B1: 100.0% outside the usual 190..400; at most 10.0% may be"]),
        ([(i, "A25", "158") for i in range(3)], ["column A25: 15.0% outside the usual 65..90; at most 10.0% may be"]),
    ],
)
def test_what_breaks_the_contract_is_named_with_row_and_column(spoiled, violations):
    assert broken(*spoiled) == violations


def test_too_few_batches_and_no_yields_are_named():
    assert broken(rows=9, columns=(ID_COLUMN, *READING_NAMES)) == [
        "file: 9 batches; at least 10 are needed",
        "column yield: missing",
    ]


def test_everything_is_found_at_once_in_the_order_of_the_file():
    spoiled = [(5, "B14", "-1"), (5, "A1", "-1"), (2, YIELD_COLUMN, "7"), (9, YIELD_COLUMN, ""), (None, "A9", "")]
    assert [v.partition(":")[0] for v in broken(*spoiled, params=ContractParams(minimum_rows=21))] == [
        "file",
        "column A9",
        "line 4 (sample_2), column yield",
        "line 7 (sample_5), column A1",
        "line 7 (sample_5), column B14",
        "line 11 (sample_9), column yield",
    ]


def test_a_column_of_one_process_may_be_blank_altogether():
    assert broken(*[(None, column, "") for column in PARAMS.mostly_blank]) == []


def test_any_other_column_may_be_blank_up_to_the_limit():
    others = [name for name in READING_NAMES if name not in PARAMS.mostly_blank]
    assert broken(*[(i, column, "") for i in range(4) for column in others]) == []
    assert broken(*[(i, column, "") for i in range(5) for column in others]) == [
        f"column {column}: 25.0% missing or unreadable; at most 20.0% may be" for column in others
    ]


SLIPS = {
    "a digit more": lambda cell: f"{cell}9",
    "a point lost": lambda cell: cell.replace(".", ""),
    "a digit less": lambda cell: cell[:-1] or "0",
    "another column's": lambda _: "1200",
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
def test_a_slip_of_the_key_is_told_and_stops_nothing(slip):
    slips = [(i, name, slip(f"{PARAMS.usual[name][1]:g}")) for i, name in enumerate(NUMBERS)]
    result = check_contract(sheet(*slips, rows=30), PARAMS)
    assert result.violations == []
    assert [str(v) for v in result.unusual] == [
        f"line {i + 2} (sample_{i}), column {name}: {float(cell):g} is outside {low:g}..{high:g}"
        for i, name, cell in slips
        for low, high in [PARAMS.usual[name]]
        if not low <= float(cell) <= high
    ]


def test_the_frame_has_a_typed_column_for_every_field_and_a_row_for_every_batch():
    cells = [(0, "A5", ""), (1, "A1", ""), (2, "A1", "1900/3/10 0:00"), (3, YIELD_COLUMN, "")]
    table = to_frame(sheet(*cells))
    assert list(table) == ["id", *READING_NAMES, "yield"]
    assert {n: str(t) for n, t in table.dtypes.items()} == {
        n: "float64" if n in {*NUMBERS, "yield"} else "str" for n in table
    }
    assert table["id"].tolist() == [f"sample_{i}" for i in range(20)]
    assert table["A5"].isna().tolist() == [True] + [False] * 19
    assert table["A1"].isna().tolist() == [False, True] + [False] * 18
    assert table["A1"].iloc[2] == 70
    assert table["yield"].isna().tolist() == [False] * 3 + [True] + [False] * 16
    assert list(to_frame(sheet(columns=(ID_COLUMN, *READING_NAMES)))) == ["id", *READING_NAMES]


def test_a_batch_without_a_name_is_named_by_its_line():
    nameless = Sheet(batches=[Batch()] * 10, yields=[0.9] * 10, warnings=[()] * 10, encoding="UTF-8")
    violations = [str(v) for v in check_contract(nameless, PARAMS).violations]
    assert sum("column id: blank" in v for v in violations) == 10
    assert sum("missing or unreadable" in v for v in violations) == len(READING_NAMES) - len(PARAMS.mostly_blank)


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
def test_params_that_mean_nothing_are_refused(params, problem):
    with pytest.raises(msgspec.ValidationError, match=problem):
        msgspec.convert(params, ContractParams)


def test_params_survive_a_round_trip_and_bound_every_number():
    assert msgspec.convert(msgspec.to_builtins(ContractParams()), ContractParams) == ContractParams()
    assert list(ContractParams().usual) == NUMBERS
    assert set(ContractParams().possible) == {r.unit for r in READINGS if r.kind == "number"}


SPOILED = [
    (0, "A5", "1900/1/21 0:00"), (1, "A5", ":30:00"), (2, "B9", "<b>"), (3, "B9", "1:30-3;00"), (4, "B9", ""),
    (5, "A25", "1900/3/10 0:00"), (6, "B13", "0.2。"), (7, "B14", "40"), (8, YIELD_COLUMN, "1.5"),
]  # fmt: skip


def test_the_report_says_the_verdict_first_and_counts_every_cell():
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
    assert "- line 10 (sample_8), column yield: 1.5 is outside 0..1.2" in lines
    assert "- line 9 (sample_7), column B14: 40 is outside 250..460" in lines
    assert "| A5 | clock | 5.0% | 1 | 1 | 2 | 7:00 | 7:00 | 21:00 |" in lines
    assert "| B9 | range | 10.0% | 1 | 1 | 2 | 1:30-3:00 | 7:00-8:00 | 7:00-8:00 |" in lines
    assert "| A25 | number | 0.0% | 0 | 1 | 2 | 70 | 77.5 | 77.5 |" in lines
    assert "| B13 | number | 5.0% | 1 | 0 | 1 | 0.115 | 0.115 | 0.115 |" in lines
    assert "| yield | number | 0.0% | 0 | 0 | 2 | 0.92 | 0.92 | 1.5 |" in lines
    assert "- **semicolon**: 1, `;` for `:`" in lines
    assert "  - line 4 (sample_2), B9: '&lt;b&gt;' taken as missing: no known form" in lines
    assert sum(line.startswith("| ") for line in lines) == 1 + len(READING_NAMES) + 1


def test_the_report_of_a_kept_contract_has_no_section_to_worry_about():
    clean = sheet()
    text = render_report(check_contract(clean, PARAMS), clean)
    assert text.startswith("# The data contract is kept\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Columns"]
    assert text.endswith("|\n")


def test_the_same_data_give_the_same_report():
    assert len({render_report(check_contract(s, PARAMS), s) for s in (sheet(*SPOILED), sheet(*SPOILED))}) == 1


@pytest.mark.real_data
def test_the_real_training_file_keeps_the_contract_and_its_known_slips_are_told(real_data):
    train = read_sheet((real_data / "jinnan_round1_train_20181227.csv").read_bytes())
    result = check_contract(train, ContractParams())
    assert result.violations == []
    violations = [str(v) for v in result.unusual]
    for slip in ("B14: 40 ", "A22: 3.5 ", "B1: 3.5 ", "A17: 89 ", "B8: 73 ", "B1: 1200 ", "B2: 0.15 "):
        assert any(f"column {slip}" in v for v in violations)
    assert "- cells not clean: 86 in 71 rows, 7 of them unreadable" in render_report(result, train).splitlines()
