"""The DVC remotes: `source` has the raw data, `storage` the pinned outputs. config.local has endpoint and keys."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dvc.config import Config

from batchyield.errors import ConfigError, StorageError
from batchyield.versioning.git import git
from batchyield.versioning.storage.embedded_s3 import BUCKET, HOST, Server, running

REMOTES = ("source", "storage")
ROOT = Path(".s3")
PORT = 9500


class Remote(NamedTuple):
    """A DVC remote on S3: botocore client, bucket, and the prefix of all keys, without slashes at its ends."""

    client: Any
    bucket: str
    prefix: str

    def key(self, path: str) -> str:
        """Return the object's key for a path inside the remote."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def url(self, path: str = "") -> str:
        """Return the s3:// address of a path inside the remote, or of the remote."""
        return f"s3://{self.bucket}/{self.key(path)}".rstrip("/")


def _config(root: Path) -> Config:
    if not (root / ".dvc").is_dir():
        raise ConfigError(f"{root.resolve().name} has no DVC project", "run the command in a checkout of batchyield")
    return Config(dvc_dir=str(root / ".dvc"))


def external_location(root: Path) -> str | None:
    """Return the host or URL of the remotes if they do not use the embedded server, else None.

    Raises:
        ConfigError: `root` is not a DVC project.
    """
    source = _config(root).read()["remote"]["source"]
    endpoint = source.get("endpointurl")
    if endpoint:
        host = urlsplit(endpoint).hostname
        return None if host == HOST else host
    url = str(source["url"])
    return None if urlsplit(url).netloc == BUCKET else url


def embedded_server(port: int | None = None, root: Path = Path(), *, fallback: int = PORT) -> Server:
    """Return the embedded server of the checkout's config.local, which is written if it has none.

    Its port is `port`, else the one in config.local, else `fallback`.

    Raises:
        ConfigError: the remotes point at a real S3; nothing is overwritten.
    """
    if where := external_location(root):
        raise ConfigError(
            f"the DVC remotes of this checkout point at {where}, so no embedded server is used",
            "use `dvc repro` and `make serve` directly, or remove .dvc/config.local to return to the embedded one",
        )
    source: dict[str, Any] = _config(root).read()["remote"]["source"]
    named = urlsplit(source.get("endpointurl", "")).port
    key = source.get("access_key_id") or "batchyield"
    secret = source.get("secret_access_key") or secrets.token_hex(20)
    server = Server((root / ROOT).resolve(), port or named or fallback, key, secret)
    if source.get("endpointurl") != server.url:
        with _config(root).edit("local") as local:
            for name in REMOTES:
                remote = local.setdefault("remote", {}).setdefault(name, {})
                remote.update(endpointurl=server.url, access_key_id=server.key, secret_access_key=server.secret)
        (root / ".dvc" / "config.local").chmod(0o600)  # it holds keys
    return server


def cache_dir(root: Path) -> Path:
    """Return the DVC cache folder of a checkout: `.dvc/cache` unless configured otherwise."""
    named = _config(root).get("cache", {}).get("dir")
    return Path(named) if named else root / ".dvc" / "cache"


@contextlib.contextmanager
def started(root: Path, port: int | None = None) -> Iterator[Server | None]:
    """Run the embedded server for the block if the remotes use it; yields None if they point at a real S3."""
    if external_location(root):
        yield None
    else:
        with running(embedded_server(port, root)) as server:
            yield server


def copy_remotes(root: Path, other: Path) -> None:
    """Copy the remotes with their keys to the local config of another checkout."""
    remotes = _config(root).read()["remote"]
    with _config(other).edit("local") as local:
        local["remote"] = {name: dict(remotes[name]) for name in REMOTES}
    (other / ".dvc" / "config.local").chmod(0o600)


@contextlib.contextmanager
def scratch_clone(root: Path, revision: str) -> Iterator[Path]:
    """Yield a scratch clone of a checkout at a revision, with the keys of its remotes."""
    with tempfile.TemporaryDirectory(prefix="batchyield-") as folder:
        scratch = Path(folder) / "checkout"
        git("clone", "--quiet", "--no-checkout", str(root.resolve()), str(scratch), cwd=Path(folder))
        git("checkout", "--quiet", "--detach", revision, cwd=scratch)
        copy_remotes(root, scratch)
        yield scratch


def s3_client(name: str, root: Path = Path()) -> Remote:
    """Return a DVC remote with its client: endpoint, keys, profile and region are those of the DVC config.

    Settings that the config lacks come from botocore's chain (environment, shared files, instance role), as for DVC.

    Raises:
        ConfigError: there is no such remote, or it is not on S3.
        StorageError: its profile does not exist.
    """
    import botocore.config
    import botocore.session

    options: dict[str, Any] = _config(root).read()["remote"].get(name, {})
    url = urlsplit(options.get("url", ""))
    if url.scheme != "s3":
        problem = f"points at {options['url']}, which is not on S3" if options else "is not in the DVC config"
        raise ConfigError(f"the DVC remote {name} {problem}", f"`dvc remote add --force {name} s3://BUCKET/PREFIX`")
    session = botocore.session.Session(profile=options.get("profile"))
    for option, variable, environment in (
        ("credentialpath", "credentials_file", "AWS_SHARED_CREDENTIALS_FILE"),
        ("configpath", "config_file", "AWS_CONFIG_FILE"),
    ):
        if option in options and environment not in os.environ:  # DVC lets the environment win here
            session.set_config_variable(variable, options[option])
    settings: dict[str, Any] = {"signature_version": botocore.UNSIGNED} if options.get("allow_anonymous_login") else {}
    with s3_errors(name):
        client = session.create_client(
            "s3",
            region_name=options.get("region"),
            endpoint_url=options.get("endpointurl"),
            use_ssl=options.get("use_ssl", True),
            verify=options.get("ssl_verify"),
            aws_access_key_id=options.get("access_key_id"),
            aws_secret_access_key=options.get("secret_access_key"),
            aws_session_token=options.get("session_token"),
            config=botocore.config.Config(
                connect_timeout=5,
                retries={"max_attempts": 2},
                # Otherwise a wrong checksum of the server raises an error before the md5 of the pin is compared.
                response_checksum_validation="when_required",
                **settings,
            ),
        )
    return Remote(client, url.netloc, url.path.strip("/"))


@contextlib.contextmanager
def s3_errors(name: str) -> Iterator[None]:
    """Raise errors of botocore in the block as StorageError, with a remedy for the remote `name`."""
    from botocore.exceptions import BotoCoreError, ClientError

    remedy = f"check url, endpointurl, keys or profile of the remote {name} (.dvc/config, .dvc/config.local)"
    try:
        yield
    except ClientError as error:
        details = error.response["Error"]
        reason = f"{details.get('Code')} {details.get('Message', '')}".strip()
        raise StorageError(
            f"the DVC remote {name} refuses {error.operation_name}: {reason}",
            f"{remedy}; the keys must be allowed to list the bucket and to read its objects",
        ) from error
    except BotoCoreError as error:
        raise StorageError(
            f"the DVC remote {name} cannot be reached: {error}",
            f"{remedy}, and that its server can be reached; `batchyield data s3 start` starts the embedded one",
        ) from error
