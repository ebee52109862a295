"""The DVC remotes: `source` holds the raw data, `storage` what DVC pins. Endpoint and keys live in config.local."""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dvc.config import Config

from batchyield.errors import SetupError
from batchyield.s3 import HOST, Server

REMOTES = ("source", "storage")
ROOT = Path(".s3")


def _config(root: Path) -> Config:
    if not (root / ".dvc").is_dir():
        raise SetupError(f"{root.resolve().name} holds no DVC project", "run the command in a checkout of batchyield")
    return Config(dvc_dir=str(root / ".dvc"))


def embedded(port: int, root: Path = Path()) -> Server:
    """The embedded server that the checkout's config.local names, which is written where it is missing.

    Args:
        port: used where config.local names no endpoint yet, or names one on loopback.
        root: the checkout.

    Raises:
        SetupError: the remotes point at a real S3; the embedded one is then of no use, and nothing is overwritten.
    """
    source: dict[str, Any] = _config(root).read()["remote"]["source"]
    endpoint = source.get("endpointurl")
    if endpoint and urlsplit(endpoint).hostname != HOST:
        raise SetupError(
            f"the DVC remotes of this checkout point at {urlsplit(endpoint).hostname}, so no embedded server is used",
            "use `dvc repro` and `python -m api` directly, or remove .dvc/config.local to return to the embedded one",
        )
    key = source.get("access_key_id") or "batchyield"
    secret = source.get("secret_access_key") or secrets.token_hex(20)
    server = Server((root / ROOT).resolve(), port, key, secret)
    if endpoint != server.url:
        _point(server, root)
    return server


def _point(server: Server, root: Path) -> None:
    with _config(root).edit("local") as local:
        for name in REMOTES:
            remote = local.setdefault("remote", {}).setdefault(name, {})
            remote.update(endpointurl=server.url, access_key_id=server.key, secret_access_key=server.secret)
    (root / ".dvc" / "config.local").chmod(0o600)  # it holds keys
