"""The DVC remotes: `source` holds the raw data, `storage` what DVC pins. Endpoint and keys live in config.local."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dvc.config import Config

from batchyield.errors import SetupError
from batchyield.s3 import HOST, Server, running

REMOTES = ("source", "storage")
ROOT = Path(".s3")
PORT = 9500


def _config(root: Path) -> Config:
    if not (root / ".dvc").is_dir():
        raise SetupError(f"{root.resolve().name} holds no DVC project", "run the command in a checkout of batchyield")
    return Config(dvc_dir=str(root / ".dvc"))


def _elsewhere(root: Path) -> str | None:
    """Where the remotes point if that is not the embedded server: an endpoint, or a bucket named in config.local."""
    source = _config(root).read()["remote"]["source"]
    endpoint = source.get("endpointurl")
    if endpoint:
        host = urlsplit(endpoint).hostname
        return None if host == HOST else host
    local = _config(root).load_one("local").get("remote", {}).get("source", {})
    return str(local["url"]) if "url" in local else None


def embedded(port: int | None = None, root: Path = Path(), *, fallback: int = PORT) -> Server:
    """The embedded server that the checkout's config.local names, which is written where it is missing.

    Args:
        port: to use from now on; the one that config.local names where it is None.
        root: the checkout.
        fallback: the port where config.local names none either.

    Raises:
        SetupError: the remotes point at a real S3; the embedded one is then of no use, and nothing is overwritten.
    """
    if where := _elsewhere(root):
        raise SetupError(
            f"the DVC remotes of this checkout point at {where}, so no embedded server is used",
            "use `dvc repro` and `make serve` directly, or remove .dvc/config.local to return to the embedded one",
        )
    source: dict[str, Any] = _config(root).read()["remote"]["source"]
    named = urlsplit(source.get("endpointurl", "")).port
    key = source.get("access_key_id") or "batchyield"
    secret = source.get("secret_access_key") or secrets.token_hex(20)
    server = Server((root / ROOT).resolve(), port or named or fallback, key, secret)
    if source.get("endpointurl") != server.url:
        _point(server, root)
    return server


def _point(server: Server, root: Path) -> None:
    with _config(root).edit("local") as local:
        for name in REMOTES:
            remote = local.setdefault("remote", {}).setdefault(name, {})
            remote.update(endpointurl=server.url, access_key_id=server.key, secret_access_key=server.secret)
    (root / ".dvc" / "config.local").chmod(0o600)  # it holds keys


@contextlib.contextmanager
def served(root: Path, port: int | None = None) -> Iterator[None]:
    """The remotes of a checkout, answering: the embedded server runs for the block where they point at it."""
    if _elsewhere(root):
        yield
    else:
        with running(embedded(port, root)):
            yield


def lend(root: Path, other: Path) -> None:
    """Gives another checkout this one's remotes with their keys, and nothing else of its local config."""
    remotes = _config(root).read()["remote"]
    with _config(other).edit("local") as local:
        local["remote"] = {name: dict(remotes[name]) for name in REMOTES}
    (other / ".dvc" / "config.local").chmod(0o600)
