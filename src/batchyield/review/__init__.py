"""The gate, and what a change does to metrics and predictions."""
