"""Readings of a chunk of a file by column, filled from the distinct cells or the numbers of each column."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from batchyield.plant.batch import MAX_READING, CellWarning, Reading
from batchyield.plant.csv_reader import CellReader
from batchyield.plant.features.catalogue import NUMBERS
from batchyield.plant.features.columns import TEXTS, Columns, Doubt, id_numbers, parse_texts

CACHED_CELLS = 1 << 14
"""Distinct cells of a column that are cached."""

Indices = npt.NDArray[np.int32]


class ColumnSheet(NamedTuple):
    """A chunk of a file as columns; the values and warnings are those of `plant.csv_reader.Sheet`.

    Attributes:
        ids: of the batches, None where the plant's files have none.
        columns: the readings.
        warnings: row -> the warnings of its cells that were repaired or taken as missing, if it has any.
        absent: readings whose column is absent.
    """

    ids: Sequence[str | None]
    columns: Columns
    warnings: dict[int, tuple[CellWarning, ...]]
    absent: tuple[CellWarning, ...]


_readers: dict[str, CellReader] = {}


def _reader_of(reading: Reading) -> CellReader:
    reader = _readers.get(reading.name)
    if reader is None or len(reader) > CACHED_CELLS:
        reader = _readers[reading.name] = CellReader(reading.name, reading.kind == "number")
    return reader


class ColumnFiller:
    """Fills in the readings of some batches, one column after another in the order of `READINGS`.

    Args:
        rows: number of batches.
    """

    def __init__(self, rows: int) -> None:
        self._numbers = np.full((len(NUMBERS), rows), np.nan)
        self._texts = np.empty((len(TEXTS), rows, 4))
        self._doubts: list[Doubt] = []
        self._warnings: defaultdict[int, list[CellWarning]] = defaultdict(list)

    def add_cells(self, reading: Reading, cells: Sequence[str], indices: Indices) -> None:
        """Add a column of text as the CSV has it: its distinct cells, and which of them each row [n] has."""
        reader = _reader_of(reading)
        values = list(map(reader.__getitem__, cells))
        if reader.is_number:
            np.array(values, np.float64).take(indices, out=self._numbers[NUMBERS.index(reading.name)], mode="clip")
        else:
            at = TEXTS.index(reading.name)
            parsed, problems = parse_texts(reading.kind, values)
            parsed.take(indices, 0, out=self._texts[at], mode="clip")
            self._doubts += [Doubt(row, at, problems[cell]) for row, cell in _places(problems, indices)]
        if reader.warned:
            warned = {i: reader.warned[cell] for i, cell in enumerate(cells) if cell in reader.warned}
            for row, cell in _places(warned, indices):
                self._warnings[row].append(warned[cell])

    def add_numbers(self, reading: Reading, numbers: npt.NDArray[np.float64]) -> None:
        """Add a column of numbers [n], where NaN is blank; one that no CSV may have is missing, with its warning."""
        reader = _reader_of(reading)
        at = NUMBERS.index(reading.name)
        self._numbers[at] = numbers
        for row in (np.abs(numbers) > MAX_READING).nonzero()[0].tolist():
            cell = repr(float(numbers[row]))
            self._numbers[at, row] = np.nan if (value := reader[cell]) is None else value
            self._warnings[row].append(reader.warned[cell])

    def add_blank(self, reading: Reading) -> None:
        """Add a column that is absent or blank in all rows."""
        if reading.name in TEXTS:
            self._texts[TEXTS.index(reading.name)] = parse_texts(reading.kind, [None])[0]

    def finish(self, ids: Sequence[str | None], absent: tuple[CellWarning, ...]) -> ColumnSheet:
        """Return the sheet, once every reading was added."""
        numbers = self._numbers
        columns = Columns(numbers, np.isnan(numbers), self._texts, sorted(self._doubts), id_numbers(ids))
        return ColumnSheet(ids, columns, {row: tuple(of) for row, of in self._warnings.items()}, absent)


def _places(cells: Collection[int], indices: Indices) -> list[tuple[int, int]]:
    """Return (row, cell) of the rows that have one of the cells, in the order of the rows."""
    if not cells:
        return []
    wanted = np.zeros(indices.max(initial=0) + 1, bool)
    wanted[[cell for cell in cells if cell < len(wanted)]] = True
    rows = wanted.take(indices).nonzero()[0]
    return list(zip(rows.tolist(), indices[rows].tolist(), strict=True))
