"""Tasks on more cores with the same results: processes of this machine, or workers of a Dask cluster."""
