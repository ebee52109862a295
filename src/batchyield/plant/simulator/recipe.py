"""The recipe of a batch: everything about it except its yield, its clocks and ranges included."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from batchyield.plant.cells import DAY_MINUTES, format_time

number_text = cache(str)
"""Returns one text object for equal numbers: a long history has millions of cells and few distinct ones."""

TYPICAL = {
    "A1": "300", "A3": "405", "A4": "700", "A13": "0.2", "A18": "0.2", "A21": "50", "A22": "9", "A23": "5",
    "B2": "3.5", "B3": "3.5", "B13": "0.15",
}  # fmt: skip
"""Readings that rarely differ."""


@dataclass(slots=True)
class Recipe:
    """One batch before its yield is known.

    Attributes:
        cells: texts by column, without blanks.
        charge: A1, kg.
        product: B14, kg of wet product.
        line: which of the parallel lines ran it; its yield level drifts with the line.
        yield_effect: effect of the way it was run on the yield, thousandths of a lattice step.
        steady: True if the drift of the line does not reach it (N3 only).
    """

    cells: dict[str, str]
    charge: int
    product: int
    line: int = 0
    yield_effect: int = 0
    steady: bool = False

    def set_product(self, product: int) -> None:
        """Change B14 [kg] and its cell."""
        self.product = product
        self.cells["B14"] = str(product)


_CLOCKS = tuple(f"{format_time(minute)}:00" for minute in range(DAY_MINUTES))


def clock_text(minute: int) -> str:
    """Return `H:MM:00` without a leading zero; the minute may lie on a later day."""
    return _CLOCKS[minute % DAY_MINUTES]


@cache
def _range_text(start: int, end: int) -> str:
    return f"{format_time(start)}-{format_time(end)}"


def range_text(start: int, end: int) -> str:
    """Return `H:MM-H:MM`; the minutes may lie on a later day."""
    return _range_text(start % DAY_MINUTES, end % DAY_MINUTES)


class Steps(NamedTuple):
    """Step lengths in minutes, in process order; a wait precedes the step it is named after, None skips a step."""

    hold: int | None = None
    heat: int = 120
    check1: int = 60
    check2: int = 60
    check3: int = 60
    wait_quench: int = 0
    quench: int = 60
    wait_crystal1: int = 0
    crystal2: int = 60
    wait_transfer: int = 0
    transfer: int = 60
    wait_dosing: int = 0
    dosing: int = 60
    wait_cooling: int = 0
    cooling: int = 120
    wait_spin1: int = 0
    spin1: int = 90
    wait_spin2: int = 0
    spin2: int | None = 90
    wait_spin3: int = 0
    spin3: int | None = 60


def timetable(start: int, s: Steps) -> dict[str, str]:
    """Return the clock and range cells of a batch that starts at minute `start` of its first day."""
    cells = {} if s.hold is None else {"A7": clock_text(start + s.hold)}
    now = start
    for name, wait, length in (
        ("A5", 0, None), ("A9", s.heat, None), ("A11", s.check1, None), ("A14", s.check2, None),
        ("A16", s.check3, None), ("A20", s.wait_quench, s.quench), ("A24", s.wait_crystal1, None),
        ("A26", s.crystal2, None), ("A28", s.wait_transfer, s.transfer), ("B4", s.wait_dosing, s.dosing),
        ("B5", s.wait_cooling, None), ("B7", s.cooling, None), ("B9", s.wait_spin1, s.spin1),
    ):  # fmt: skip
        now += wait
        cells[name] = clock_text(now) if length is None else range_text(now, now + length)
        now += length or 0
    for name, wait, spin in (("B10", s.wait_spin2, s.spin2), ("B11", s.wait_spin3, s.spin3)):
        if spin is not None:
            now += wait
            cells[name] = range_text(now, now + spin)
            now += spin
    return cells
