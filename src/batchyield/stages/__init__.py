"""The pipeline, one module per DVC stage: thin shells over the library."""
