"""Drift tests, control chart, live error and the drift report."""
