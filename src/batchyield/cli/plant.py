"""`batchyield plant`: the table of a plant and its `conf/`, from a CSV file; units of dashboards and alerts."""

import argparse
from pathlib import Path

from batchyield.cli.options import Parser


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield plant`."""
    plant = program.add_noun("plant", "Another plant: a first table of its readings, and the units of its dashboards.")

    about = "Write a first plant table and conf/ from a CSV; run it in a copy of this project."
    new = plant.add("new", _new, about, "batches.csv --target strength --unit MPa --force")
    new.add_argument("file", type=Path, help="CSV with a header, one batch a line")
    new.add_argument("--target", required=True, metavar="COLUMN", help="column to predict")
    new.add_argument("--unit", default="", help="unit of the target; %% for a fraction shown in per cent")
    new.add_argument("--id", metavar="COLUMN", help="column with the batches' names (guessed); '' for none")
    new.add_argument("--force", action="store_true", help="overwrite the table and conf/ of this checkout")

    about = "Write unit and limits of the plant's table into monitoring/: dashboard and alerts of the model."
    plant.add("dashboards", _dashboards, about)


def _new(options: argparse.Namespace) -> None:
    from batchyield.versioning import new_plant

    plant = new_plant.guess_plant(options.file, options.target, options.unit, options.id)
    written = new_plant.write_plant(plant, Path(), force=options.force)
    print(new_plant.describe(plant, options.file, written))


def _dashboards(_: argparse.Namespace) -> None:
    from batchyield.monitoring.dashboard_units import write_units

    print("\n".join(f"wrote {path}" for path in write_units()) or "monitoring/ has the units of the plant's table")
