"""Repair of charges and product weights that contradict each other."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from batchyield.plant.rows import CellWarning, Range, Repair, Warned

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NAN, INFINITY = float("nan"), float("inf")


class MassBalance(NamedTuple):
    """Repairs the charge and the product of a batch by the doses that go with them.

    Attributes:
        charge, reagent, solvent, product: readings in kg.
        usual_charges: what a mistyped charge can have been.
        reagent_per_charge: by the recipe.
        reagent_bounds: of reagent per charge; outside, the charge is compared with reagent and solvent.
        solvent_per_reagent: bounds by the recipe.
        product_bounds: of product per charge in a real batch: less was never weighed, more is chemically impossible.
    """

    charge: str
    reagent: str
    solvent: str
    product: str
    usual_charges: tuple[float, ...]
    reagent_per_charge: float
    reagent_bounds: Range
    solvent_per_reagent: Range
    product_bounds: Range

    @property
    def names(self) -> tuple[str, ...]:
        """The readings that it uses."""
        return self.charge, self.reagent, self.solvent, self.product

    @property
    def kinds(self) -> dict[str, str]:
        """Kinds of warnings, and what each means."""
        charge, reagent, solvent, product = self.names
        return {
            "charge_from_reagents": f"{charge} contradicts {reagent} and {solvent}, which agree; taken from them",
            "charge_from_product": f"{product} is more than {charge} can give; {charge} taken as the next usual charge"
            " that can",
            "product_tenfold": f"{product} lost its last digit; taken ten times",
            "product_impossible": f"{product} fits no usual charge; taken as missing",
        }

    @property
    def note(self) -> str:
        """Sentence of the data dictionary."""
        least, most = self.product_bounds
        return f"{self.product}/{self.charge} of a real batch lies between {least:g} and {most:g}."

    def repair_of(self, at: Mapping[str, int], plausible: Mapping[str, Range]) -> Repair:
        """Return the repair of the matrix of numbers whose rows are `at`."""
        import numpy as np  # here: the client reads the table, and needs no NumPy

        charge, reagent, solvent, product = (at[name] for name in self.names)
        related, checked = np.array([reagent, product]), np.array([[charge], [reagent], [solvent], [product]])
        pairs = zip(self.reagent_bounds, self.product_bounds, strict=True)
        bounds = np.array([[bound] for pair in pairs for bound in pair])
        least_reagent, most_reagent = self.reagent_bounds
        least_product, most_product = self.product_bounds
        possible = plausible.get(self.charge, (-INFINITY, INFINITY))

        def repair(numbers: "npt.NDArray[np.float64]", warnings: Warned) -> None:
            doses, limits = numbers.take(related, 0), bounds * numbers[charge]
            fits = (doses >= limits[:2]) & (doses <= limits[2:])
            if np.count_nonzero(fits) == fits.size:
                return
            unfit = (~(fits[0] & fits[1])).nonzero()[0]
            for row, (a1, a3, a4, b14) in zip(unfit.tolist(), numbers[checked, unfit].T.tolist(), strict=True):
                if not least_reagent * a1 <= a3 <= most_reagent * a1:
                    a1 = numbers[charge, row] = self._charge(a1, a3, a4, possible, warnings, row)
                if b14 < least_product * a1 or b14 > most_product * a1:
                    numbers[charge, row], numbers[product, row] = self._product(a1, b14, warnings[row])

        return repair

    def fits_of(self, plausible: Mapping[str, Range]) -> Callable[[float, float, float, float], bool]:
        """Return whether charge, reagent, solvent and product need no repair."""
        least_reagent, most_reagent = self.reagent_bounds
        least_product, most_product = self.product_bounds
        possible = plausible.get(self.charge, (-INFINITY, INFINITY))

        def fits(a1: float, a3: float, a4: float, b14: float) -> bool:
            warnings: Warned = defaultdict(list)
            if not least_reagent * a1 <= a3 <= most_reagent * a1:
                self._charge(a1, a3, a4, possible, warnings, 0)
            return not (warnings or b14 < least_product * a1 or b14 > most_product * a1)

        return fits

    def _charge(self, a1: float, a3: float, a4: float, possible: Range, warnings: Warned, row: int) -> float:
        """The charge [kg], corrected if reagent and solvent agree on another one."""
        least, most = self.solvent_per_reagent
        if not least <= (a4 / a3 if a3 >= 1 else NAN) <= most:
            return a1
        expected = round(a3 / self.reagent_per_charge / 10) * 10.0
        if abs(a1 - expected) <= 0.1 * expected or not possible[0] <= expected <= possible[1]:
            return a1
        charge = "blank" if a1 != a1 else f"{a1:g}"
        message = (
            f"{charge}, but {self.reagent} {a3:g} and {self.solvent} {a4:g} belong to {expected:g}: "
            f"taken as {expected:g}"
        )
        warnings[row].append(CellWarning(self.charge, "charge_from_reagents", message))
        return expected

    def _product(self, a1: float, b14: float, warnings: list[CellWarning]) -> tuple[float, float]:
        """Charge and product [kg] with a ratio within its bounds, or the product missing."""
        name, charge, (least, most) = self.product, self.charge, self.product_bounds
        if b14 < 100 and least <= b14 * 10 / a1 <= most:
            message = f"{b14:g} for {a1:g} of {charge}: taken as {b14 * 10:g}"
            warnings.append(CellWarning(name, "product_tenfold", message))
            return a1, b14 * 10
        if b14 > a1:
            for usual in self.usual_charges:
                if usual > a1 and least <= b14 / usual <= most:
                    message = f"{a1:g} cannot give {b14:g} of {name}: taken as {usual:g}"
                    warnings.append(CellWarning(charge, "charge_from_product", message))
                    return usual, b14
        warnings.append(CellWarning(name, "product_impossible", f"{b14:g} for {a1:g} of {charge}: taken as missing"))
        return a1, NAN
