"""Many batches at once: files in, files out, on this machine or on a Dask cluster."""
