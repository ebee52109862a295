"""The recipe of a batch: everything about it except its yield."""

from dataclasses import dataclass
from functools import cache

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
