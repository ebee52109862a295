"""False-alarm rate and power of the drift tests.

Each round samples training and window from the same batches, so a steady plant is steady by construction; the
shifted windows are those same batches with one reading moved. The last table takes windows in time order, as they came.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchyield.monitoring.control_chart import ControlChart, compute_control_chart
from batchyield.monitoring.drift_window import FEATURE_OF_READING, DriftVerdict, WindowDrift, compute_window_drift
from batchyield.plant.batch import READING_NAMES, Batch
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features import FEATURES, INDEX, featurize
from batchyield.plant.features.catalogue import NUMBERS
from batchyield.plant.simulator import simulate
from batchyield.serving.reference_profile import Reference, build_reference

COLUMNS = [feature.name for feature in FEATURES]
TRAINED = 1000
WINDOWS = (100, 200, 390)
SHIFTS = (0.1, 0.25, 0.5, 1.0)

Values = NDArray[np.float32]


class Plant:
    """Batches in time order with their features and yields."""

    def __init__(self, csv: bytes) -> None:
        sheet = read_sheet(csv)
        found = featurize(sheet.batches).values
        order = np.argsort(found[:, INDEX["id_number"]], kind="stable")
        self.batches: list[Batch] = [sheet.batches[i] for i in order]
        self.values: Values = found[order]
        assert sheet.yields is not None
        self.yields = np.nan_to_num(np.array([sheet.yields[i] for i in order], dtype=float), nan=0.92)
        self.blank = np.array([[getattr(b, name) is None for name in READING_NAMES] for b in self.batches])

    def reference(self, rows: Sequence[int]) -> Reference:
        blank = dict(zip(READING_NAMES, self.blank[rows].mean(axis=0).tolist(), strict=True))
        return build_reference(COLUMNS, self.values[rows], self.yields[rows], blank, np.arange(len(rows)))

    def window(self, of: Reference, rows: Sequence[int], values: Values | None = None) -> WindowDrift:
        chosen = self.values[rows] if values is None else values
        return compute_window_drift(of, [self.batches[i] for i in rows], chosen, self.yields[rows])

    def chart(self, of: Reference, rows: Sequence[int]) -> ControlChart | None:
        return compute_control_chart(of.subgroups, self.yields[rows]) if of.subgroups else None


def rounds(plant: Plant, count: int, size: int, seed: int) -> list[tuple[Reference, Sequence[int]]]:
    """Return training and window of each round, sampled from the same batches."""
    chance = np.random.default_rng(seed)
    drawn = [chance.permutation(len(plant.batches)) for _ in range(count)]
    return [(plant.reference(rows[:TRAINED]), rows[TRAINED : TRAINED + size]) for rows in drawn]


def steady(plant: Plant, count: int) -> None:
    """Windows from the same state of the plant: every alarm is false."""
    print(
        "\n| steady plant, batches in the window | any of 42 readings | predicted yield | newest point of the control "
        "chart | any of its points | rounds |\n|---|---|---|---|---|---|"
    )
    for size in WINDOWS:
        drawn = rounds(plant, count, size, 1)
        found = [plant.window(of, rows) for of, rows in drawn]
        readings = np.mean([bool(shift.drifted) for shift in found])
        yields = np.mean([shift.prediction.verdict is DriftVerdict.DRIFTED for shift in found])
        charts = [chart for of, rows in drawn if (chart := plant.chart(of, rows))]
        newest = np.mean([not chart.in_control for chart in charts])
        some = np.mean([any(point.out for point in chart.points) for chart in charts])
        print(f"| {size} | {readings:.1%} | {yields:.1%} | {newest:.1%} | {some:.1%} | {count} |", flush=True)


def spread(plant: Plant, column: int) -> float:
    """Standard deviation without slips of the key; nought where the plant does not vary the reading."""
    present = plant.values[:, column]
    present = present[~np.isnan(present)]
    if len(present) < len(plant.batches) / 2:
        return 0.0
    low, high = np.quantile(present, (0.01, 0.99))
    return float(np.std(present[(present >= low) & (present <= high)]))


def move(plant: Plant, values: Values, column: int, by: float, chance: np.random.Generator) -> None:
    """Moves a column by a multiple of its spread, on the grid that the plant writes it on.

    Between two grid points each value goes to either at random, so that the mean moves by exactly so much.
    """
    whole = plant.values[:, column]
    levels = np.unique(whole[~np.isnan(whole)])
    grid = float(np.median(np.diff(levels))) or 1.0
    steps = by * spread(plant, column) / grid
    whole_steps = np.floor(steps) + (chance.random(len(values)) < steps % 1)
    values[:, column] += (whole_steps * grid).astype(np.float32)
    nearest = levels[np.abs(levels[None, :] - values[:, column, None]).argmin(axis=1)]
    known = np.abs(nearest - values[:, column]) < grid / 4  # 7.4 and a tenth is the 7.5 that the plant writes
    values[known, column] = nearest[known]


def power(plant: Plant, count: int) -> None:
    """Windows in which one number moved: how often it is named, over all numbers and rounds, and others blamed."""
    print("\n| one reading moved by | " + " | ".join(f"{size} batches" for size in WINDOWS) + " |")
    print("|---|" + "---|" * len(WINDOWS))
    chance = np.random.default_rng(3)
    varied = [name for name in NUMBERS if spread(plant, INDEX[FEATURE_OF_READING[name]]) > 1e-6]
    for by in SHIFTS:
        row = []
        for size in WINDOWS:
            named, blamed, tried = 0, 0, 0
            for of, rows in rounds(plant, count, size, 2):
                for name in varied:
                    values = plant.values[rows].copy()
                    move(plant, values, INDEX[FEATURE_OF_READING[name]], by, chance)
                    shift = plant.window(of, rows, values)
                    named += name in shift.drifted
                    blamed += bool(set(shift.drifted) - {name})
                    tried += 1
            row.append(f"{named / tried:.0%} (others blamed {blamed / tried:.1%})")
        print(f"| {by:g} standard deviations | " + " | ".join(row) + " |", flush=True)


def in_time(plant: Plant) -> None:
    """Windows as they came after the training period: a real plant moves on."""
    print("\n| window in time order, after the first 1,000 | readings that moved | yield | chart |\n|---|---|---|---|")
    of = plant.reference(range(TRAINED))
    for start in range(TRAINED, len(plant.batches) - 100, 100):
        rows = range(start, min(start + 200, len(plant.batches)))
        shift, chart = plant.window(of, rows), plant.chart(of, rows)
        named = ", ".join(shift.drifted) or "none"
        print(
            f"| {start} to {start + shift.batches - 1} | {len(shift.drifted)}: {named} | {shift.prediction.verdict} "
            f"| {'within' if chart is None or chart.in_control else 'beyond'} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400, help="of the steady plant (%(default)s)")
    parser.add_argument(
        "--power-rounds", type=int, default=10, help="for each reading and shift; 0: none (%(default)s)"
    )
    options = parser.parse_args()
    folder = os.environ.get("BATCHYIELD_REAL_DATA")
    csv = (
        (Path(folder) / "jinnan_round1_train_20181227.csv").read_bytes()
        if folder
        else simulate(rows=1396, seed=20181227).csv()
    )
    plant = Plant(csv)
    print(f"{'the real plant' if folder else 'the sample plant'}: {len(plant.batches)} batches, {TRAINED} for training")
    steady(plant, options.rounds)
    if options.power_rounds:
        power(plant, options.power_rounds)
    in_time(plant)
    return 0


if __name__ == "__main__":
    sys.exit(main())
