"""The routes under /v1 and the health checks."""
