"""The deterministic sample plant: data that behave like the real plant's, with no real row inside."""

from batchyield.plant.simulator.plant import DEFAULT_ROWS, DEFAULT_SEED, ProcessChange, simulate
from batchyield.plant.simulator.rows import Dirt, Plant, Row

__all__ = ["DEFAULT_ROWS", "DEFAULT_SEED", "Dirt", "Plant", "ProcessChange", "Row", "simulate"]
