"""Yield models for batch processes, rebuilt from pinned data and served with their pin."""
