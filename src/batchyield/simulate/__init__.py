"""The deterministic sample plant: data that behave like the real plant's, with no real row inside."""

from batchyield.simulate.plant import DEFAULT_ROWS, DEFAULT_SEED, Shift, simulate
from batchyield.simulate.rows import Dirt, Plant, Row

__all__ = ["DEFAULT_ROWS", "DEFAULT_SEED", "Dirt", "Plant", "Row", "Shift", "simulate"]
