"""A real PgBouncer with the configuration of deploy/replicas, changed to a test's addresses."""

import configparser
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from support.service import ROOT, START_SECONDS


@contextlib.contextmanager
def pgbouncer(database, upstream, owner, host="127.0.0.1", port=6432, prefix=(), **settings):
    """Run PgBouncer during the block; yields its address with the port.

    Args:
        database, upstream: the database's name and the rest of its line, `host=... user=...`.
        owner: id of the user as which it runs if this is root, as whom it refuses to.
        prefix: a command that runs the rest.
        settings: beside those of the file.
    """
    folder = Path(tempfile.mkdtemp(prefix="batchyield-pgbouncer-"))
    ours = {"listen_addr": host, "listen_port": port, "auth_type": "any", "auth_file": "", "unix_socket_dir": ""}
    ours |= {"logfile": folder / "log", "pidfile": folder / "pid"} | settings
    configuration = configparser.ConfigParser(comment_prefixes=";")
    configuration.read(ROOT / "deploy/replicas/pgbouncer.ini")
    configuration["databases"] = {database: f"dbname={database} {upstream}"}
    configuration["pgbouncer"].update({name: str(value) for name, value in ours.items()})
    file = folder / "pgbouncer.ini"
    with file.open("w") as out:
        configuration.write(out)
    command = [*prefix, "pgbouncer", "-q", str(file)]
    if os.geteuid() == 0:
        os.chown(folder, owner, -1)
        command[-1:] = ["-u", pwd.getpwuid(owner).pw_name, str(file)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listening(host, port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"{host}:{port}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _listening(host, port):
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
