"""The DVC remotes: `source` has the raw data, `storage` the pinned outputs. config.local has endpoint and keys.

A remote is on the embedded S3 server unless its settings name another bucket, endpoint or account. Only settings of
remotes on the embedded server are ever written.
"""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dvc.config import Config

from batchyield.errors import ConfigError, StorageError
from batchyield.versioning.git import SCRATCH_SETTINGS, git
from batchyield.versioning.storage.embedded_s3 import BUCKET, HOST, KEY, Server, new_session, running

SUFFIXES = {"source": "", "storage": "/dvc"}
REMOTES = tuple(SUFFIXES)
BUCKET_VARIABLE = "BATCHYIELD_BUCKET"
"""Environment variable with the bucket of both remotes, for checkouts whose config.local names none, as in CI."""

ACCOUNT_OPTIONS = {
    *("access_key_id", "secret_access_key", "session_token"),
    *("allow_anonymous_login", "configpath", "credentialpath", "profile", "region"),
}
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


def _read_remotes(root: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of each remote; BATCHYIELD_BUCKET is first written to a config.local without remotes."""
    config = _config(root)
    if bucket := os.environ.get(BUCKET_VARIABLE, "").removeprefix("s3://").strip("/"):
        urls = {name: f"s3://{bucket}{suffix}" for name, suffix in SUFFIXES.items()}
        if not config.read("local")["remote"].keys() & urls.keys():
            _write_local(root, {name: {"url": url} for name, url in urls.items()})
        elif any(config.read()["remote"][name]["url"] != url for name, url in urls.items()):
            raise ConfigError(
                f"{BUCKET_VARIABLE} names s3://{bucket}, but .dvc/config.local has other settings of the DVC remotes",
                f"unset {BUCKET_VARIABLE}, or remove the remotes from .dvc/config.local",
            )
    found: dict[str, dict[str, Any]] = config.read()["remote"]
    return found


def _write_local(root: Path, settings: Mapping[str, Mapping[str, str]]) -> None:
    with _config(root).edit("local") as local:
        for name, values in settings.items():
            local["remote"].setdefault(name, {}).update(values)
    (root / ".dvc" / "config.local").chmod(0o600)  # it holds keys


def embedded_remotes(root: Path) -> tuple[str, ...]:
    """Return the names of the remotes that are on the embedded server; the others are elsewhere.

    A server of one's own may be on loopback, too, with a bucket of the same name, but it has other keys.

    Raises:
        ConfigError: `root` is not a DVC project, or config.local and BATCHYIELD_BUCKET disagree.
    """
    remotes = _read_remotes(root)
    return (
        ()
        if os.environ.get(BUCKET_VARIABLE)
        else tuple(name for name in REMOTES if _is_embedded(remotes.get(name, {})))
    )


def _is_embedded(remote: Mapping[str, Any]) -> bool:
    if urlsplit(str(remote.get("url", ""))).netloc != BUCKET:
        return False
    if endpoint := remote.get("endpointurl"):
        return urlsplit(endpoint).hostname == HOST and remote.get("access_key_id") == KEY
    return not remote.keys() & ACCOUNT_OPTIONS


def location(root: Path) -> str:
    """Return the addresses of the remotes in words."""
    remotes = [_read_remotes(root)[name] for name in REMOTES]
    return " and ".join(f"{r['url']} at {r['endpointurl']}" if r.get("endpointurl") else r["url"] for r in remotes)


def embedded_server(port: int | None = None, root: Path = Path(), *, workspace: bool = False) -> Server:
    """Return the embedded server of a checkout; its endpoint and keys are written to config.local if they differ.

    Settings of a remote that is elsewhere stay as they are.

    Args:
        port: None: the one in config.local, else 9500, or 9501 in a workspace.
        root: the checkout.
        workspace: `root` is a copy with a bucket of its own, wherever the remotes of the original are.

    Raises:
        ConfigError: both remotes are elsewhere.
    """
    names = REMOTES if workspace else embedded_remotes(root)
    if not names:
        raise ConfigError(
            f"the DVC remotes of this checkout are {location(root)}, so no embedded S3 server is used",
            f"to return to it, remove the remotes from .dvc/config.local and unset {BUCKET_VARIABLE}",
        )
    remotes = _config(root).read("local" if workspace else None)["remote"]
    known: dict[str, str] = next((remotes[n] for n in names if "endpointurl" in remotes.get(n, {})), {})
    named = urlsplit(known.get("endpointurl", "")).port
    secret = known.get("secret_access_key") or secrets.token_hex(20)
    server = Server((root / ROOT).resolve(), port or named or PORT + workspace, KEY, secret)
    settings = {"endpointurl": server.url, "access_key_id": server.key, "secret_access_key": server.secret}
    wanted = {n: settings | ({"url": f"s3://{BUCKET}{SUFFIXES[n]}"} if workspace else {}) for n in names}
    if any(remotes.get(name, {}) != remotes.get(name, {}) | wanted[name] for name in names):
        _write_local(root, wanted)
    return server


def cache_dir(root: Path) -> Path:
    """Return the DVC cache folder of a checkout: `.dvc/cache` unless configured otherwise."""
    named = _config(root).get("cache", {}).get("dir")
    return Path(named) if named else root / ".dvc" / "cache"


@contextlib.contextmanager
def started(root: Path, port: int | None = None) -> Iterator[Server | None]:
    """Run the embedded server for the block if a remote is on it; yields None if both are elsewhere."""
    if embedded_remotes(root):
        with running(embedded_server(port, root)) as server:
            yield server
    else:
        yield None


def copy_remotes(root: Path, other: Path) -> None:
    """Copy the remotes with their keys to the local config of another checkout."""
    remotes = _read_remotes(root)
    with _config(other).edit("local") as local:
        local["remote"] = {name: dict(remotes[name]) for name in REMOTES}
    (other / ".dvc" / "config.local").chmod(0o600)


@contextlib.contextmanager
def scratch_clone(root: Path, revision: str) -> Iterator[Path]:
    """Yield a scratch clone of a checkout at a revision, with the keys of its remotes."""
    with tempfile.TemporaryDirectory(prefix="batchyield-") as folder:
        scratch = Path(folder) / "checkout"
        settings = [f"--config={setting}" for setting in SCRATCH_SETTINGS]
        git("clone", "--quiet", "--no-checkout", *settings, str(root.resolve()), str(scratch), cwd=Path(folder))
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

    options = _read_remotes(root).get(name, {})
    url = urlsplit(options.get("url", ""))
    if url.scheme != "s3":
        problem = f"points at {options['url']}, which is not on S3" if options else "is not in the DVC config"
        raise ConfigError(f"the DVC remote {name} {problem}", f"`dvc remote add --force {name} s3://BUCKET/PREFIX`")
    session = new_session(options.get("profile"))
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
