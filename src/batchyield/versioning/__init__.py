"""Git, DVC and Hydra: pins, their storage, verification and tracing; the only room that imports dvc."""
