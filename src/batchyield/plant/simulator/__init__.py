"""Deterministic simulator of a sample plant: data like the real plant's that contain none of its rows."""

from batchyield.plant.simulator.plant import DEFAULT_ROWS, DEFAULT_SEED, ProcessChange, simulate
from batchyield.plant.simulator.rows import Dirt, Plant, Row

__all__ = ["DEFAULT_ROWS", "DEFAULT_SEED", "Dirt", "Plant", "ProcessChange", "Row", "simulate"]
