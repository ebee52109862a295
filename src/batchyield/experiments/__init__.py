"""Sweeps over parameters and their ranking."""
