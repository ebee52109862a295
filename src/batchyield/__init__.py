"""Yield models for batch processes, rebuilt from pinned data and served with their pin."""

import os

# From 1.29 on, onnxruntime reports its use to its maker and leaves an identifier on disk, unless told not to in time.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
