"""Drift report: one HTML page for a process engineer about a model in service."""
