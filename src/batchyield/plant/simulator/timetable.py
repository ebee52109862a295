"""A batch's day: lengths of its steps in, clock texts of the plant's file out."""

from functools import cache
from typing import NamedTuple

DAY_MINUTES = 1440


CLOCKS = tuple(f"{minute // 60}:{minute % 60:02d}:00" for minute in range(DAY_MINUTES))


def clock_text(minute: int) -> str:
    """`H:MM:00` without a leading zero; the minute may lie on a later day."""
    return CLOCKS[minute % DAY_MINUTES]


@cache
def _range_text(start: int, end: int) -> str:
    return f"{start // 60}:{start % 60:02d}-{end // 60}:{end % 60:02d}"


def range_text(start: int, end: int) -> str:
    """`H:MM-H:MM`; a range may run across midnight."""
    return _range_text(start % DAY_MINUTES, end % DAY_MINUTES)


class Steps(NamedTuple):
    """Minutes, in the order of the process. A wait lies before the step it is named after; None means no such step."""

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
    """Clock and range cells of a batch that starts at minute `start` of its first day."""
    cells = {"A5": clock_text(start)}
    if s.hold is not None:
        cells["A7"] = clock_text(start + s.hold)
    now = start + s.heat
    cells["A9"] = clock_text(now)
    for name, minutes in (("A11", s.check1), ("A14", s.check2), ("A16", s.check3)):
        now += minutes
        cells[name] = clock_text(now)
    now += s.wait_quench
    cells["A20"] = range_text(now, now + s.quench)
    now += s.quench + s.wait_crystal1
    cells["A24"] = clock_text(now)
    now += s.crystal2
    cells["A26"] = clock_text(now)
    now += s.wait_transfer
    cells["A28"] = range_text(now, now + s.transfer)
    now += s.transfer + s.wait_dosing
    cells["B4"] = range_text(now, now + s.dosing)
    now += s.dosing + s.wait_cooling
    cells["B5"] = clock_text(now)
    now += s.cooling
    cells["B7"] = clock_text(now)
    for name, wait, spin in (
        ("B9", s.wait_spin1, s.spin1),
        ("B10", s.wait_spin2, s.spin2),
        ("B11", s.wait_spin3, s.spin3),
    ):
        if spin is not None:
            now += wait
            cells[name] = range_text(now, now + spin)
            now += spin
    return cells
