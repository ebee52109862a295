"""Batch scoring on Dask workers, with the same bytes as in one process."""
