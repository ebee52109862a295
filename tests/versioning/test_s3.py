import concurrent.futures
import hashlib
import socket
import time

import botocore.exceptions
import pytest
from dvc.config import Config

from batchyield.errors import ConfigError, ConflictError
from batchyield.versioning import git
from batchyield.versioning.storage import demo_remote, embedded_s3, remotes

OBJECT = b"1,2\n"


@pytest.fixture
def server(tmp_path):
    with embedded_s3.running(
        embedded_s3.Server(tmp_path / "buckets", embedded_s3.free_port(), "plant", "open sesame 1234")
    ) as up:
        yield up


def seen(server, key, *, expected):
    """Whether the server comes to say, within some seconds, that the object is there or is not."""
    for _ in range(50):
        if embedded_s3.has_object(server, key) is expected:
            return True
        time.sleep(0.1)
    return False


class TestServer:
    def test_objects_persist(self, server, tmp_path):
        """An object remains after a restart of the server."""
        embedded_s3.client(server).put_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv", Body=OBJECT)
        other = embedded_s3.Server(server.root, embedded_s3.free_port(), "plant", "another secret 56")
        with embedded_s3.running(other):
            found = embedded_s3.client(other).get_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv")
        assert found["Body"].read() == OBJECT
        assert found["ETag"] == f'"{hashlib.md5(OBJECT, usedforsecurity=False).hexdigest()}"', (
            "DVC pins imports by ETag"
        )

    def test_manual_changes(self, server):
        """A file added to or removed from the folder by hand becomes visible."""
        path = server.root / embedded_s3.BUCKET / "raw" / "batches.csv"
        assert not embedded_s3.has_object(server, "raw/batches.csv")
        path.parent.mkdir()
        path.write_bytes(b"by hand")
        assert seen(server, "raw/batches.csv", expected=True)
        assert (
            embedded_s3.client(server).get_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv")["Body"].read()
            == b"by hand"
        )
        path.unlink()
        assert seen(server, "raw/batches.csv", expected=False)

    def test_concurrent_uploads(self, server):
        """Concurrent uploads all arrive complete."""
        bodies = {f"dvc/files/md5/{i % 4}/{i}": bytes([i]) * (i * 100_000 + 1) for i in range(24)}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: embedded_s3.put_object(server, *item), bodies.items()))
        client = embedded_s3.client(server)
        for key, body in bodies.items():
            assert client.get_object(Bucket=embedded_s3.BUCKET, Key=key)["Body"].read() == body

    @pytest.mark.parametrize(("key", "secret"), [("plant", "wrong secret 12"), ("stranger", "open sesame 1234")])
    def test_wrong_keys(self, server, key, secret):
        """Requests with other keys are refused."""
        stranger = embedded_s3.Server(server.root, server.port, key, secret)
        assert not embedded_s3.is_healthy(stranger)
        with pytest.raises(botocore.exceptions.ClientError):
            embedded_s3.client(stranger).list_objects_v2(Bucket=embedded_s3.BUCKET)

    def test_exact_key(self, server):
        """A longer key that begins with the same letters is another object."""
        embedded_s3.put_object(server, "raw/batches.csv.2025-old", OBJECT)
        assert not embedded_s3.has_object(server, "raw/batches.csv")

    def test_port_taken(self, tmp_path):
        """A port in use is named with a remedy."""
        with socket.socket() as holder:
            holder.bind((embedded_s3.HOST, 0))
            holder.listen()
            port = holder.getsockname()[1]
            with pytest.raises(ConflictError, match=rf"port {port} is taken.*\n.*S3_PORT"):
                embedded_s3.launch(embedded_s3.Server(tmp_path, port, "plant", "open sesame 1234"))

    def test_service_port_taken(self):
        """A taken port of the service is named before anything is rebuilt."""
        with socket.socket() as holder:
            holder.bind((embedded_s3.HOST, 0))
            holder.listen()
            port = holder.getsockname()[1]
            with pytest.raises(ConflictError, match=rf"port {port} cannot be had.*\n.*PORT={port + 1}"):
                demo_remote.demo(None, embedded_s3.HOST, port)

    def test_repeated_start_and_stop(self, tmp_path):
        """Starting or stopping twice does nothing more."""
        server = embedded_s3.Server(tmp_path, embedded_s3.free_port(), "plant", "open sesame 1234")
        assert server.url in embedded_s3.start(server)
        try:
            assert "already" in embedded_s3.start(server)
        finally:
            assert "stopped" in embedded_s3.stop(server.root)
        assert "no embedded S3 server" in embedded_s3.stop(server.root)


@pytest.fixture
def project(tmp_path):
    git.git("init", "-q", cwd=tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        "['remote \"source\"']\n    url = s3://batchyield\n['remote \"storage\"']\n    url = s3://batchyield/dvc\n"
    )
    return tmp_path


class TestRemotes:
    def test_local_config(self, project):
        """Endpoint and keys are written to config.local only."""
        before = (project / ".dvc" / "config").read_text()
        server = remotes.embedded_server(9777, project)
        local = project / ".dvc" / "config.local"
        assert (project / ".dvc" / "config").read_text() == before
        assert server.secret in local.read_text()
        assert local.stat().st_mode & 0o077 == 0
        assert remotes.embedded_server(9777, project) == server, "keys are made once"

    @pytest.mark.parametrize(
        "setting",
        [
            {"endpointurl": "https://s3.example.org"},
            {"endpointurl": "http://localhost:9000"},
            {"endpointurl": f"http://{embedded_s3.HOST}:9000", "access_key_id": "TEAMKEY", "secret_access_key": "s"},
            {"url": "s3://plant-archive/yield"},
            {"profile": "plant"},
            {"secret_access_key": "s"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("level", ["repo", "local"])
    @pytest.mark.parametrize("name", remotes.REMOTES)
    def test_own_settings_unchanged(self, project, level, name, setting):
        """Settings of a remote elsewhere stay as they are; the other remote is still on the embedded server."""
        with Config(dvc_dir=str(project / ".dvc")).edit(level) as config:
            config["remote"].setdefault(name, {}).update(setting)
        before = Config(dvc_dir=str(project / ".dvc")).read()["remote"][name]
        server = remotes.embedded_server(9777, project)
        after = Config(dvc_dir=str(project / ".dvc")).read()["remote"]
        (other,) = set(remotes.REMOTES) - {name}
        assert after[name] == before
        assert (after[other]["endpointurl"], remotes.embedded_remotes(project)) == (server.url, (other,))

    def test_no_embedded_server(self, project):
        """If both remotes are elsewhere, an embedded server is refused by their addresses, and nothing is written."""
        with Config(dvc_dir=str(project / ".dvc")).edit() as config:
            config["remote"] = {name: {"url": f"s3://plant-archive/{name}"} for name in remotes.REMOTES}
        with pytest.raises(ConfigError, match="s3://plant-archive/source and s3://plant-archive/storage"):
            remotes.embedded_server(9777, project)
        with remotes.started(project) as server:
            assert server is None
        assert not (project / ".dvc/config.local").exists()

    def test_bucket_variable(self, project, monkeypatch):
        """BATCHYIELD_BUCKET names the bucket of both remotes; a workspace of its own keeps the embedded server."""
        monkeypatch.setenv(remotes.BUCKET_VARIABLE, "s3://plant-archive/yield/")
        assert remotes.embedded_remotes(project) == ()
        remote = remotes.s3_client("storage", project)
        assert (remote.bucket, remote.prefix) == ("plant-archive", "yield/dvc")
        assert remotes.location(project) == "s3://plant-archive/yield and s3://plant-archive/yield/dvc"
        server = remotes.embedded_server(9778, project, workspace=True)
        local = Config(dvc_dir=str(project / ".dvc")).read("local")["remote"]
        assert (local["storage"]["url"], local["storage"]["endpointurl"]) == ("s3://batchyield/dvc", server.url)
        with pytest.raises(ConfigError, match=r"plant-archive/yield, but .dvc/config.local has other settings"):
            remotes.location(project)
