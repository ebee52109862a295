"""The drift report: one page for a process engineer, of what the journal tells of a model."""
