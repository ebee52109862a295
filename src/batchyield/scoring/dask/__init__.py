"""Past one machine: the same work done by Dask workers, to the same bytes. The only room that imports Dask."""
