"""Model versions, release notes, cards and wheels."""
