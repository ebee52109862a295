"""All that is specific to this plant: readings, cells, CSV, data contract, features, simulator."""

from importlib import import_module
from typing import Any


def load_simulator() -> Any:
    """Return the package that simulates a sample plant, named in `plant.table`.

    Raises:
        ConfigError: the plant has no simulator, so no demo and no sample data.
    """
    from batchyield.errors import ConfigError
    from batchyield.plant.table import SIMULATOR

    if SIMULATOR is None:
        problem = "this plant has no simulator (SIMULATOR in src/batchyield/plant/table.py), so no demo and no sample"
        raise ConfigError(problem, "use a file of the plant: `make repro-real DATA=path/to/batches.csv`")
    return import_module(SIMULATOR)
