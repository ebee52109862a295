"""Authorisation, rate limit and request context."""
