"""Yield models for batch processes, rebuilt from pinned data and served with their pin."""

import os

# From 1.29 on, onnxruntime sends telemetry and leaves an identifier on disk; this must be set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
