"""What a batch is made with: the part of it that does not depend on how it turns out."""

from dataclasses import dataclass
from functools import cache


@dataclass(slots=True)
class Recipe:
    """One batch before its yield is known.

    Attributes:
        cells: texts by column, blanks left out.
        charge: A1, kg.
        product: B14, kg of wet product.
        line: which of the parallel lines ran it; its yield level drifts with the line.
        lean: what the way it was run adds to the yield, thousandths of a lattice step.
        steady: whether the level of N3's drifting lines does not show in it.
    """

    cells: dict[str, str]
    charge: int
    product: int
    line: int = 0
    lean: int = 0
    steady: bool = False


number_text = cache(str)
"""One text object for equal numbers: a long history holds millions of cells and few different ones."""

TYPICAL = {
    "A1": "300",
    "A3": "405",
    "A4": "700",
    "A13": "0.2",
    "A18": "0.2",
    "A21": "50",
    "A22": "9",
    "A23": "5",
    "B2": "3.5",
    "B3": "3.5",
    "B13": "0.15",
}
"""Readings that hardly ever differ."""
