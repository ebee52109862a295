"""Faults while real commands run: the next run recovers or says what to do, and nothing half-written is ever pinned."""

import http.client
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.commands import run
from support.scratch_repository import commit
from support.stage_fault import AT_FIRST_OUTPUT

from batchyield.files import md5_of_file
from batchyield.serving.lockfile import read_lock
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.storage import embedded_s3, raw_data, remotes

pytestmark = pytest.mark.slow

STAGES = ("validate", "split", "featurize", "train", "evaluate")
KILL_STAGE = "os.kill(os.getpid(), 9)"
KILL_ALL = "os.killpg(os.getpgrp(), 9)"
WAIT = "os.mkfifo('go'); open('reached', 'w').close(); open('go').close()"
LIMIT = """
import os, resource
if "LIMIT" in os.environ:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["LIMIT"]),) * 2)
"""


def again(root, stage, check=True, **environment):
    return run("dvc", "repro", "--force", "--single-item", stage, cwd=root, check=check, **environment)


def pinned(root):
    return {path: digest for path, (_, digest) in read_lock(root / LOCK).outs().items()}


def found(root):
    return {path: md5_of_file(root / path) for path in pinned(root) if (root / path).exists()}


def flip(file):
    """Other bytes under the same name, as a disk that rots has them: rights and times stay."""
    before = file.stat()
    file.chmod(0o644)
    data = file.read_bytes()
    file.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    file.chmod(before.st_mode)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def in_cache(root, path):
    digest = pinned(root)[path]
    return root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]


@pytest.fixture
def faulty(quick, tmp_path):
    """A quick checkout whose stages do at their first output what the environment variable FAULT says."""
    root = tmp_path / "faulty"
    shutil.copytree(quick, root, symlinks=True)
    (root / "src/sitecustomize.py").write_text(AT_FIRST_OUTPUT + LIMIT)
    return root


class TestKilled:
    def test_stage(self, faulty):
        """After each stage is killed, the lock is unchanged and the next repro recovers."""
        lock, outs = (faulty / LOCK).read_bytes(), pinned(faulty)
        for stage in reversed(STAGES):  # each finds what it reads
            done = again(faulty, stage, check=False, FAULT=KILL_STAGE)
            assert re.search(r"exited with (-9|137)$", done.stderr, re.M), "in bash's words or in another shell's"
            assert (faulty / LOCK).read_bytes() == lock
        assert found(faulty) == {}, "no output that is half of one"
        assert list((faulty / "data/split").glob(".*.part")), "what was being written"
        assert ".part" not in run("git", "status", "--porcelain", "data", cwd=faulty).stdout, "which git never takes"
        run("dvc", "repro", cwd=faulty)
        assert ((faulty / LOCK).read_bytes(), found(faulty)) == (lock, outs)
        again(faulty, "split")
        assert not list((faulty / "data/split").glob(".*.part")), "swept by the stage that runs next"

    def test_dvc(self, faulty):
        """After DVC is killed with its stage, the next repro removes DVC's own lock file."""
        lock, outs = (faulty / LOCK).read_bytes(), pinned(faulty)
        command = ("dvc", "repro", "--force", "--single-item", "train")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        killed = subprocess.run(
            command, cwd=faulty, env=os.environ | {"PATH": path, "FAULT": KILL_ALL}, start_new_session=True, check=False
        )
        assert killed.returncode == -9
        done = run("dvc", "repro", cwd=faulty)
        assert "had been killed. Auto removed it" in done.stderr
        assert ((faulty / LOCK).read_bytes(), found(faulty)) == (lock, outs)


def full(root, done):
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "data/split/train.parquet cannot be written" in done.stderr
    assert "make room" in done.stderr
    assert not list((root / "data/split").glob("*.parquet"))
    assert not list((root / "data/split").glob(".*.part"))


class TestDisk:
    def test_file_size_limit(self, faulty):
        """A file that may not grow is named, and nothing partial stays."""
        lock, outs = (faulty / LOCK).read_bytes(), pinned(faulty)
        full(faulty, again(faulty, "split", check=False, LIMIT="8192"))
        assert (faulty / LOCK).read_bytes() == lock
        run("dvc", "repro", cwd=faulty)
        assert ((faulty / LOCK).read_bytes(), found(faulty)) == (lock, outs)

    def test_full(self, faulty):
        """A full disk is named, and nothing partial stays."""
        lock, folder = (faulty / LOCK).read_bytes(), faulty / "data/split"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder], check=False, capture_output=True
        )
        if mounted.returncode:
            pytest.skip("mounting a small disk needs root; the limit of a file's size is tested without")
        try:
            done = again(faulty, "split", check=False)
            full(faulty, done)
            assert "No space left on device" in done.stderr
            assert (faulty / LOCK).read_bytes() == lock
        finally:
            subprocess.run(["umount", folder], check=True)


class TestCache:
    def test_two_repros(self, faulty):
        """The second of two repros ends with the process id of the first, which continues."""
        lock, outs = (faulty / LOCK).read_bytes(), pinned(faulty)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = ("dvc", "repro", "--force", "--single-item", "split")
        first = subprocess.Popen(command, cwd=faulty, env=os.environ | {"PATH": path, "FAULT": WAIT})
        while not (faulty / "reached").exists():
            assert first.poll() is None
        second = again(faulty, "split", check=False)
        with (faulty / "go").open("w"):  # returns once the stage that waits has opened it as well
            pass
        assert first.wait() == 0
        assert second.returncode != 0
        assert "is busy, it is being blocked by" in second.stderr
        assert str(first.pid) in second.stderr
        assert ((faulty / LOCK).read_bytes(), found(faulty)) == (lock, outs)

    def test_corrupt_file(self, faulty):
        """A corrupt file of the cache stops the stage that reads it, and a fetch removes it."""
        lock, outs, path = (faulty / LOCK).read_bytes(), pinned(faulty), "data/split/train.parquet"
        flip(in_cache(faulty, path))
        (faulty / path).unlink()
        run("dvc", "checkout", path, cwd=faulty)
        assert md5_of_file(faulty / path) != outs[path], "DVC alone takes it for what it is called"
        assert path not in run("dvc", "status", cwd=faulty).stdout, "and says so"
        done = again(faulty, "featurize", check=False)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert outs[path] in done.stderr
        assert md5_of_file(faulty / path) in done.stderr
        assert "fetch`" in done.stderr
        assert (faulty / LOCK).read_bytes() == lock
        assert f"{path} was corrupt" in run("batchyield", "data", "fetch", cwd=faulty).stdout
        assert not (faulty / path).exists()
        run("dvc", "repro", cwd=faulty)
        assert ((faulty / LOCK).read_bytes(), found(faulty)) == (lock, outs)


class Proxy(http.server.BaseHTTPRequestHandler):
    """Stands before a real S3 and spoils what it answers for objects of the DVC storage and the raw data."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        host = urlsplit(self.server.behind).netloc
        connection = http.client.HTTPConnection(host)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        an_object = (
            self.command == "GET" and ("files/md5/" in self.path or "raw/" in self.path) and "?" not in self.path
        )
        fault = self.server.fault if an_object else None
        status = 500 if fault == "500" else answer.status
        sent = {"500": b"", "broken off": body[: len(body) // 2], "short": body[: len(body) // 2]}.get(fault, body)
        length = answer.headers.get("Content-Length", "0") if fault in (None, "broken off") else str(len(sent))
        self.send_response(status)
        for name, value in answer.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if answer.headers.get("Content-Length") else str(len(sent)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(sent)
        self.close_connection = fault is not None
        connection.close()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def bare(quick, tmp_path_factory):
    """A checkout without any data, behind a proxy to an S3 that holds its raw data and one output: yields both."""
    root = tmp_path_factory.mktemp("bare") / "checkout"
    shutil.copytree(quick, root, symlinks=True, ignore=shutil.ignore_patterns("config.local"))
    with embedded_s3.running(remotes.embedded_server(embedded_s3.free_port(), root)) as server:
        embedded_s3.put_object(server, raw_data.KEY, (root / raw_data.DATA).read_bytes())
        for path in ("data/split/train.parquet", raw_data.DATA.as_posix()):
            digest = pinned(root).get(path) or raw_data.read_pin(root).md5
            embedded_s3.put_object(server, f"dvc/files/md5/{digest[:2]}/{digest[2:]}", (root / path).read_bytes())
        with http.server.ThreadingHTTPServer((embedded_s3.HOST, 0), Proxy) as proxy:
            proxy.behind, proxy.fault, proxy.daemon_threads = server.url, None, True
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            config = root / ".dvc/config.local"
            config.write_text(config.read_text().replace(server.url, f"http://{embedded_s3.HOST}:{proxy.server_port}"))
            yield root, proxy
            proxy.shutdown()


def emptied(root):
    shutil.rmtree(root / ".dvc/cache", ignore_errors=True)
    for path in (raw_data.DATA, Path("data/split/train.parquet")):
        (root / path).unlink(missing_ok=True)


def without_simulator(root):
    """Make the sample plant unavailable to a checkout, which otherwise generates its raw data if S3 has none."""
    (root / "src/batchyield/plant/simulator/__init__.py").write_text("raise SystemExit('no sample')\n")


class TestS3:
    @pytest.mark.parametrize(
        ("fault", "message"), [("500", "500"), ("broken off", "cannot be reached"), ("short", "is corrupt, it has md5")]
    )
    def test_broken_answers(self, bare, fault, message):
        """Errors, closed connections and short objects are reported, and no bytes of them are kept."""
        root, proxy = bare
        emptied(root)
        without_simulator(root)
        pin = (root / raw_data.PIN).read_bytes()
        proxy.fault = fault
        done = run("batchyield", "data", "fetch", cwd=root, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert message in done.stderr
        assert "run the same command again" in done.stderr
        assert not (root / raw_data.DATA).exists()
        assert (root / raw_data.PIN).read_bytes() == pin
        pulled = run("dvc", "pull", "data/split/train.parquet", cwd=root, check=False)
        assert pulled.returncode != 0
        assert not (root / "data/split/train.parquet").exists()
        assert all(
            md5_of_file(file) == f"{file.parent.name}{file.name}"
            for file in (root / ".dvc/cache").glob("files/md5/??/*")
        )
        proxy.fault = None
        assert "from the DVC storage" in run("batchyield", "data", "fetch", cwd=root).stdout

    @pytest.mark.parametrize("command", [("data", "fetch"), ("pin", "verify")], ids=" ".join)
    def test_down(self, quick, tmp_path, command):
        """An S3 that is down is named with a remedy."""
        root = tmp_path / "checkout"
        shutil.copytree(quick, root, symlinks=True)
        emptied(root)
        keys = "    endpointurl = http://localhost:1\n    access_key_id = plant\n    secret_access_key = sesame\n"
        (root / ".dvc/config.local").write_text("".join(f"['remote \"{name}\"']\n{keys}" for name in remotes.REMOTES))
        without_simulator(root)
        commit(root, "no sample")
        done = run("batchyield", *command, cwd=root, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "cannot be reached: Could not connect" in done.stderr
        assert "`batchyield data s3 start`" in done.stderr
