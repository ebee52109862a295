"""The HTTP service, run from a checkout or an image."""
