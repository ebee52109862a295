import concurrent.futures
import hashlib
import socket
import time

import botocore.exceptions
import pytest

from batchyield.errors import ConfigError, ConflictError
from batchyield.versioning import git
from batchyield.versioning.storage import embedded_s3, remotes

OBJECT = b"1,2\n"


@pytest.fixture
def server(tmp_path):
    with embedded_s3.running(
        embedded_s3.Server(tmp_path / "buckets", embedded_s3.free_port(), "plant", "open sesame 1234")
    ) as up:
        yield up


def test_an_object_survives_the_server(server, tmp_path):
    embedded_s3.client(server).put_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv", Body=OBJECT)
    other = embedded_s3.Server(server.root, embedded_s3.free_port(), "plant", "another secret 56")
    with embedded_s3.running(other):
        found = embedded_s3.client(other).get_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv")
    assert found["Body"].read() == OBJECT
    assert found["ETag"] == f'"{hashlib.md5(OBJECT, usedforsecurity=False).hexdigest()}"', "DVC pins imports by ETag"


def seen(server, key, *, expected):
    """Whether the server comes to say, within some seconds, that the object is there or is not."""
    for _ in range(50):
        if embedded_s3.has_object(server, key) is expected:
            return True
        time.sleep(0.1)
    return False


def test_an_object_put_into_or_taken_from_the_folder_by_hand_is_soon_seen(server):
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


def test_many_objects_at_once_arrive_whole(server):
    bodies = {f"dvc/files/md5/{i % 4}/{i}": bytes([i]) * (i * 100_000 + 1) for i in range(24)}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: embedded_s3.put_object(server, *item), bodies.items()))
    client = embedded_s3.client(server)
    for key, body in bodies.items():
        assert client.get_object(Bucket=embedded_s3.BUCKET, Key=key)["Body"].read() == body


@pytest.mark.parametrize(("key", "secret"), [("plant", "wrong secret 12"), ("stranger", "open sesame 1234")])
def test_only_its_own_keys_open_it(server, key, secret):
    stranger = embedded_s3.Server(server.root, server.port, key, secret)
    assert not embedded_s3.is_healthy(stranger)
    with pytest.raises(botocore.exceptions.ClientError):
        embedded_s3.client(stranger).list_objects_v2(Bucket=embedded_s3.BUCKET)


def test_a_taken_port_is_named_with_what_to_do(tmp_path):
    with socket.socket() as holder:
        holder.bind((embedded_s3.HOST, 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConflictError, match=rf"port {port} is taken.*\n.*S3_PORT"):
            embedded_s3.launch(embedded_s3.Server(tmp_path, port, "plant", "open sesame 1234"))


def test_start_twice_and_stop_twice_are_harmless(tmp_path):
    server = embedded_s3.Server(tmp_path, embedded_s3.free_port(), "plant", "open sesame 1234")
    assert server.url in embedded_s3.start(server)
    try:
        assert "already" in embedded_s3.start(server)
    finally:
        assert "stopped" in embedded_s3.stop(server)
    assert "no embedded S3 server" in embedded_s3.stop(server)


@pytest.fixture
def project(tmp_path):
    git.git("init", "-q", cwd=tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        "['remote \"source\"']\n    url = s3://batchyield\n['remote \"storage\"']\n    url = s3://batchyield/dvc\n"
    )
    return tmp_path


def test_endpoint_and_keys_go_to_the_local_config_alone(project):
    before = (project / ".dvc" / "config").read_text()
    server = remotes.embedded_server(9777, project)
    local = project / ".dvc" / "config.local"
    assert (project / ".dvc" / "config").read_text() == before
    assert server.secret in local.read_text()
    assert local.stat().st_mode & 0o077 == 0
    assert remotes.embedded_server(9777, project) == server, "keys are made once"


@pytest.mark.parametrize("setting", ["endpointurl = https://s3.example.org", "url = s3://plant.example.org/data"])
@pytest.mark.parametrize("file", ["config", "config.local"])
def test_remotes_of_a_real_s3_are_never_overwritten(project, file, setting):
    config = project / ".dvc" / file
    kept = config.read_text() if config.exists() else "['remote \"source\"']\n"
    name = setting.split(" = ")[0]
    lines = [
        line for line in kept.splitlines() if not (name == "url" and "s3://batchyield" in line and "dvc" not in line)
    ]
    lines.insert(1, f"    {setting}")
    config.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"example\.org"):
        remotes.embedded_server(9777, project)
    local = project / ".dvc" / "config.local"
    assert not local.exists() or "9777" not in local.read_text()
