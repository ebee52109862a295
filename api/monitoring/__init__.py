"""Drift of the running model: watcher, gauges and routes."""
