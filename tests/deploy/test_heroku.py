"""Heroku: the commands of heroku.yml, run by sh, and the push, into a bare repository."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import yaml
from support.commands import run
from support.journal_database import rows_of
from support.scratch_repository import cache, commit
from support.service import REFERENCE, ROOT, Running, batches, card, environment, linear_onnx, make_checkout, pin
from support.tls import certificate, hosted

from api.openapi.examples import INPUTS
from batchyield.files import md5_of_file
from batchyield.serving.artifact import FILES, MODEL, golden_rows, write_artifact
from batchyield.serving.auth.api_keys import encode_keys, new_key, new_token
from batchyield.versioning import git as workspace
from batchyield.versioning.git import git
from batchyield.versioning.registry import NAME
from batchyield.versioning.storage import embedded_s3, remotes, s3_objects
from batchyield.versioning.storage.content_store import cache_path

DECLARED = yaml.safe_load((ROOT / "deploy/heroku/heroku.yml").read_text())
(RELEASE,) = DECLARED["release"]["command"]
WEB = DECLARED["run"]["web"]
BODY = json.dumps(INPUTS).encode()
HEAD = (
    "POST /v1/predictions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
    "expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
)
PASSWORD = "sesame0123"


def config(root, folder, **more):
    """The environment of a dyno whose image holds the model in `root`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    known = environment(root, PATH=path, TMPDIR=str(folder)) | more
    return {name: value for name, value in known.items() if value is not None}


def released(root, folder, **more):
    return subprocess.run(
        ["sh", "-c", RELEASE], cwd=ROOT, env=config(root, folder, **more), capture_output=True, text=True, timeout=30
    )


class Dyno(Running):
    """The web command, run as Heroku runs it: by a shell, in a group that gets SIGTERM as a whole."""

    def __init__(self, root, folder, **more):
        self.port, self.stopping = embedded_s3.free_port(), False
        self.url = f"http://127.0.0.1:{self.port}"
        variables = config(root, folder, PORT=str(self.port), **more)
        self.process = subprocess.Popen(
            ["sh", "-c", WEB],
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def attached(postgres_server, tmp_path_factory):
    """A database behind TLS, nothing in it: (DATABASE_URL, its URL without TLS, the TLS versions agreed)."""
    name = f"heroku_{uuid.uuid4().hex[:8]}"
    postgres_server.psql(f"create database {name};")
    pem = tmp_path_factory.mktemp("tls") / "database.pem"
    certificate(pem)
    with hosted(f"{postgres_server.pgdata}/.s.PGSQL.5432", pem) as (port, agreed):
        plain = postgres_server.get_uri(database=name)
        yield f"postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{name}", plain, agreed


def test_release_and_dyno(model, attached, tmp_path):
    """A release migrates the database, and a dyno serves, journals and finishes its requests before it stops."""
    url, plain, agreed = attached
    token = new_token()
    variables = {
        "DATABASE_URL": url,
        "API_KEYS": encode_keys([new_key("line-3", ["predict"], token)]).decode(),
        "WEB_CONCURRENCY": "2",
        "BATCHYIELD_DRAIN_SECONDS": "0",
    }
    done = released(model, tmp_path, **variables)
    assert done.returncode == 0, done.stderr

    with Dyno(model, tmp_path, **variables) as dyno:
        assert dyno.post("/v1/predictions", json=INPUTS).status_code == 401
        caller = {"authorization": f"Bearer {token}", "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
        answer = dyno.post("/v1/predictions", json=INPUTS, headers=caller)
        assert answer.status_code == 200, answer.text
        yields = [one["yield"] for one in answer.json()["predictions"]]
        assert [row.prediction.yield_ for row in rows_of(plain)] == yields
        with socket.create_connection(("127.0.0.1", dyno.port), timeout=20) as caller:
            caller.sendall(HEAD.format(token=token, length=len(BODY)).encode())
            assert caller.recv(1000).startswith(b"HTTP/1.1 100 ")  # it has begun to read what comes
            dyno.stopping = True
            os.killpg(dyno.process.pid, signal.SIGTERM)  # to the supervisor and its workers alike
            caller.sendall(BODY)
            assert caller.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert len(rows_of(plain)) == 2 * len(yields)
    assert {*agreed} == {"TLSv1.3"}
    assert PASSWORD not in dyno.output + dyno.errors


def test_failed_release(model, attached, postgres_server, tmp_path):
    """A failed release reports its reason without the password."""
    done = released(model, tmp_path, DATABASE_URL=None)
    assert done.returncode != 0
    assert "attach a PostgreSQL first" in done.stderr

    with hosted(postgres_server.pgdata) as (port, agreed):
        done = released(model, tmp_path, DATABASE_URL=f"postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres")
    assert (done.returncode, agreed) == (2, [])
    assert "SSL was required" in done.stderr
    assert PASSWORD not in done.stderr


def test_missing_variable(model, tmp_path):
    """A dyno without a required variable does not start."""
    for lacking, reply in (("API_KEYS", "API_KEYS: set it"), ("DATABASE_URL", "DATABASE_URL: attach")):
        variables = {"API_KEYS": "x", "DATABASE_URL": "postgres://a/b"} | {lacking: None}
        done = subprocess.run(
            ["sh", "-c", WEB],
            cwd=ROOT,
            env=config(model, tmp_path, PORT="1", **variables),
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        assert reply in done.stderr


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A checkout with a released commit and a later one, a model each in the DVC cache: (root, first, second)."""
    root = workspace.copy_working_tree(ROOT, tmp_path_factory.mktemp("heroku") / "checkout")
    shas = []
    for constant in (0.5, 0.5625):
        model = linear_onnx(constant)
        golden = golden_rows(model, batches(20))
        write_artifact(root / "data" / "model", model, card(), golden, REFERENCE)
        pin(root)
        cache(root)
        shas.append(commit(root, f"the model {constant}"))
    git(
        "-c", "user.name=t", "-c", "user.email=t@localhost", "tag", "-a", f"{NAME}@v1.2.0", "-m", "v", shas[0], cwd=root
    )
    return root, *shas


@pytest.fixture
def heroku(history, tmp_path):
    """Run push.sh with a bare repository in place of Heroku's; returns (exit code, output, the repository)."""
    remote = tmp_path / "heroku.git"
    git("init", "-q", "--bare", "--initial-branch", "main", str(remote), cwd=tmp_path)

    def deploy(*arguments, to=remote):
        stand_in = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{to}.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://git.heroku.com/my-app.git",
        }
        done = run(ROOT / "deploy/heroku/push.sh", *arguments, cwd=history[0], check=False, **stand_in)
        return done.returncode, done.stdout + done.stderr, remote

    return deploy


def pushed(remote, folder):
    """What Heroku checks out: path -> file."""
    git("clone", "-q", str(remote), str(folder), cwd=folder.parent)
    return {name: folder / name for name in git("ls-files", cwd=folder).split("\n") if name}


@pytest.mark.slow
def test_pushed_files(history, heroku, tmp_path):
    """The push contains the committed files of the image and the model."""
    root, first, second = history
    for name in (".env", "secrets/api_key", "api/__pycache__/a.pyc", "api/not_committed.py"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("SECRET")
    code, reply, remote = heroku("my-app")
    assert code == 0, reply
    files = pushed(remote, tmp_path / "clone")
    listed = git("ls-tree", "-r", "--name-only", second, cwd=root).split()
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    ours = {name for name in listed if any(name == path or name.startswith(f"{path}/") for path in let_in)}
    model = {f"data/model/{name}" for name in FILES}
    assert set(files) == ours | model | {"Dockerfile", ".dockerignore", "heroku.yml"}
    assert not any(file.read_bytes() == b"SECRET" for file in files.values())

    locked = {
        out["path"]: out["md5"] for out in yaml.safe_load(files["dvc.lock"].read_text())["stages"]["train"]["outs"]
    }
    assert {name: md5_of_file(files[name]) for name in model} == locked
    manifest = yaml.safe_load(files["heroku.yml"].read_text())
    assert manifest.pop("build") == {
        "docker": {"web": "Dockerfile"},
        "config": {"REVISION": second, "VERSION": "unreleased"},
    }
    assert manifest == {name: DECLARED[name] for name in ("release", "run")}
    # an entry point would get the commands as its arguments
    without = re.sub(r"^ENTRYPOINT .*$", "ENTRYPOINT []", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert files["Dockerfile"].read_text() == without
    done = subprocess.run([Path(sys.executable).parent / "hadolint", files["Dockerfile"]], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")

    code, reply, remote = heroku("my-app", "v1.2.0")  # replaces what was pushed before
    assert code == 0, reply
    assert "version 1.2.0" in reply
    files = pushed(remote, tmp_path / "released")
    assert yaml.safe_load(files["heroku.yml"].read_text())["build"]["config"] == {"REVISION": first, "VERSION": "1.2.0"}
    assert files["data/model/model.onnx"].read_bytes() == linear_onnx(0.5)


@pytest.mark.slow
def test_dry_run(heroku):
    """A dry run lists everything and pushes nothing."""
    code, reply, remote = heroku("my-app", "--dry-run")
    assert code == 0, reply
    for shown in ("data/model/model.onnx", "heroku.yml", "git push --force https://git.heroku.com/my-app.git"):
        assert shown in reply
    assert git("for-each-ref", cwd=remote) == ""


@pytest.mark.slow
def test_changed_model(history, heroku):
    """A model with other bytes than pinned is not pushed."""
    root = history[0]
    kept = cache_path(root, md5_of_file(root / "data/model" / MODEL))
    right = kept.read_bytes()
    server = remotes.embedded_server(embedded_s3.free_port(), root)
    with embedded_s3.running(server):
        remote = remotes.s3_client("storage", root)
        try:
            kept.write_bytes(b"not the model")
            remote.client.put_object(
                Bucket=remote.bucket, Key=s3_objects.storage_key(remote, md5_of_file(kept)), Body=b"other"
            )
            code, reply, bare = heroku("my-app")
        finally:
            kept.write_bytes(right)
    assert code != 0, reply
    assert git("for-each-ref", cwd=bare) == ""


@pytest.mark.slow
def test_errors(heroku, tmp_path):
    """Errors name what to do next."""
    code, reply, _ = heroku()
    assert (code, "usage: deploy/heroku/push.sh APP" in reply) == (2, True)
    code, reply, _ = heroku("my-app", "9.9.9")
    assert (code, "yield-model has no version 9.9.9" in reply, "`git fetch --tags`" in reply) == (2, True, True)
    code, reply, _ = heroku("my-app", to=tmp_path / "nowhere")
    assert code != 0
    assert "does not appear to be a git repository" in reply
