"""Commits and DVC cache entries in a scratch repository."""

import hashlib

from batchyield.serving.artifact import FILES
from batchyield.versioning.git import git
from batchyield.versioning.storage.content_store import cache_path


def commit(root, subject):
    git("add", "-A", cwd=root)
    git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", subject, cwd=root)
    return git("rev-parse", "HEAD", cwd=root).strip()


def cache(root):
    """Keeps the model that is in the workspace as `dvc commit` does."""
    for name in FILES:
        data = (root / "data/model" / name).read_bytes()
        kept = cache_path(root, hashlib.md5(data, usedforsecurity=False).hexdigest())
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)
