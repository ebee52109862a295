"""The first table of another plant, as guessed from its file."""

import re

import pytest

from batchyield.errors import ConfigError
from batchyield.versioning.new_plant import TABLE, guess_plant, write_plant

HOURS = [n % 24 for n in range(200)]
LINES = [
    f"{n},{'' if n % 4 else 20 + n},{hour}:30,{hour}:00-{hour}:45,lot_{n},{0.8 + n / 1000}"
    for n, hour in enumerate(HOURS)
]
HEADER = "flow,heat,start,hold,lot,share"


def file_of(folder, header=HEADER, lines=LINES, encoding="UTF-8"):
    path = folder / "batches.csv"
    path.write_text("\n".join([header, *lines, ""]), encoding=encoding)
    return path


class TestGuess:
    def test_columns(self, tmp_path):
        """Kinds, ranges, blanks and examples come from the cells, names from the column of unique texts."""
        plant = guess_plant(file_of(tmp_path), "share", "%")
        assert (plant.encoding, plant.id_column, len(plant.measured)) == ("UTF-8", "lot", 200)
        assert [(c.name, c.kind, c.blank) for c in plant.columns] == [
            ("flow", "number", 0.0), ("heat", "number", 0.75), ("start", "clock", 0.0), ("hold", "range", 0.0)
        ]  # fmt: skip
        flow, _, start, _ = plant.columns
        assert (flow.usual, flow.plausible, flow.example) == ((0.0, 200.0), (0.0, 400.0), 99.5)
        assert (start.usual, start.example) == (None, "0:30")

    def test_encoding(self, tmp_path):
        """A file that is not UTF-8 is read as GB18030."""
        plant = guess_plant(file_of(tmp_path, HEADER.replace("flow", "流量"), encoding="GB18030"), "share")
        assert (plant.encoding, plant.columns[0].name) == ("GB18030", "流量")

    @pytest.mark.parametrize(
        ("header", "lines", "options", "problem"),
        [
            (HEADER, LINES, ("yields",), "has no column yields"),
            (HEADER, LINES, ("lot",), "column lot has 0 numbers in 200 lines"),
            (HEADER, LINES, ("share", "", ""), "neither numbers nor clocks (13:30) nor ranges (21:00-21:30): lot"),
            (HEADER.replace("flow", "flow (l/min)"), LINES, ("share",), "for example flow_l_min"),
            (HEADER.replace("flow", "id"), LINES, ("share", "", "lot"), "cannot be the names of readings"),
            (HEADER, [*LINES, "1,2"], ("share",), "line 202 has another number of cells"),
            ("", [], ("share",), "cannot be read as CSV"),
        ],
    )
    def test_refused(self, tmp_path, header, lines, options, problem):
        """A file that is no such table is refused, with what to do."""
        with pytest.raises(ConfigError, match=re.escape(problem)):
            guess_plant(file_of(tmp_path, header, lines), *options)

    def test_no_file(self, tmp_path):
        """A missing file is an error that names it."""
        with pytest.raises(ConfigError, match=r"no\.csv cannot be read"):
            guess_plant(tmp_path / "no.csv", "share")


def test_existing_table(tmp_path):
    """A table is overwritten only by force."""
    (tmp_path / TABLE).parent.mkdir(parents=True)
    (tmp_path / TABLE).write_text("ours")
    with pytest.raises(ConfigError, match="--force"):
        write_plant(guess_plant(file_of(tmp_path), "share"), tmp_path)
    assert (tmp_path / TABLE).read_text() == "ours"
