"""Does S3 still hold what a checkout pins? Asked of an S3 without versions (rclone) and of one with them (moto)."""

import hashlib
import http.server
import json
import subprocess
import threading
import urllib.request

import botocore.exceptions
import botocore.session
import pytest
from botocore.stub import Stubber
from moto.server import ThreadedMotoServer

from batchyield.cli import __main__
from batchyield.errors import ArtifactError, ConfigError, ConflictError, StorageError
from batchyield.versioning.storage import embedded_s3, raw_data, remotes, s3_objects
from batchyield.versioning.storage.audit import audit, copy_problems, render
from batchyield.versioning.storage.s3_objects import ObjectState, StoredCopy, Versioning

RAW = b"id,yield\na,0.91\n"
MODEL, PLOT, METRICS = b"the model", b"points", b'{"score": 1}'
FOLDER = {"golden/a.json": b"first", "golden/b.json": b"second"}
CONFIG = """[core]
    remote = storage
['remote "storage"']
    url = s3://batchyield/dvc
['remote "source"']
    url = s3://batchyield
"""
PIPELINE = """stages:
  train:
    cmd: "true"
    outs:
      - data/model.onnx
      - data/golden
    plots:
      - data/plot.csv
    metrics:
      - data/metrics.json:
          cache: false
"""


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


LISTED = json.dumps([{"md5": md5(data), "relpath": name.split("/")[1]} for name, data in FOLDER.items()]).encode()
TREE = f"{md5(LISTED)}.dir"


def key(digest):
    return f"dvc/files/md5/{digest[:2]}/{digest[2:]}"


STORED = {key(md5(data)): data for data in (RAW, MODEL, PLOT, *FOLDER.values())} | {key(TREE): LISTED}


def write_lock(root, model=MODEL):
    outs = {"data/model.onnx": md5(model), "data/golden": TREE, "data/plot.csv": md5(PLOT)}
    outs["data/metrics.json"] = md5(METRICS)
    listed = "".join(f"    - path: {path}\n      hash: md5\n      md5: {of}\n" for path, of in outs.items())
    (root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  train:\n    cmd: 'true'\n    outs:\n{listed}")


def write_pin(root, data=RAW, version=None):
    (root / "data/raw").mkdir(parents=True, exist_ok=True)
    (root / "data/raw/batches.csv.dvc").write_text(
        f"frozen: true\ndeps:\n- etag: {md5(data)}\n  size: {len(data)}\n"
        + (f"  version_id: {version}\n" if version else "")
        + f"  path: remote://source/raw/batches.csv\nouts:\n- md5: {md5(data)}\n  path: batches.csv\n"
    )


def git(root, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def commit(root):
    git(root, "add", "-A")
    git(root, "commit", "-qm", "pins")


@pytest.fixture
def project(tmp_path):
    """A checkout with a pin and a lock, and no S3 yet."""
    root = tmp_path / "project"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc/config").write_text(CONFIG)
    (root / ".gitignore").write_text("/.s3\n/.dvc/config.local\n")
    (root / "dvc.yaml").write_text(PIPELINE)
    write_lock(root)
    write_pin(root)
    git(root, "init", "-q", "-b", "main")
    commit(root)
    return root


@pytest.fixture
def plain(project):
    """The same with all it pins in an S3 that keeps no versions: yields its client."""
    with embedded_s3.running(remotes.embedded_server(embedded_s3.free_port(), project)) as server:
        client = embedded_s3.client(server)
        fill(client)
        yield client


def fill(client):
    for name, data in STORED.items():
        put(client, name, data)
    put(client, "raw/batches.csv", RAW)


def put(client, name, data):
    return client.put_object(Bucket=embedded_s3.BUCKET, Key=name, Body=data)


def states(made):
    return {copy.path: copy.state for copy in made.copies}


@pytest.fixture
def versioned(project, monkeypatch):
    """The same in an S3 that keeps versions, whose endpoint and keys stand in the DVC config alone."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        endpoint = f"http://localhost:{port}"
        urllib.request.urlopen(f"{endpoint}/moto-api/reset", b"").close()  # all its servers in a process share objects
        point(project, endpoint)
        client = remotes.s3_client("source", project).client
        client.create_bucket(Bucket=embedded_s3.BUCKET)
        enabled = {"Status": "Enabled"}
        client.put_bucket_versioning(Bucket=embedded_s3.BUCKET, VersioningConfiguration=enabled)
        fill(client)
        yield client
    finally:
        server.stop()


def point(root, endpoint):
    keys = f"    endpointurl = {endpoint}\n    access_key_id = plant\n    secret_access_key = sesame\n"
    lines = [f"['remote \"{name}\"']\n{keys}    region = us-east-1\n" for name in remotes.REMOTES]
    (root / ".dvc/config.local").write_text("".join(lines))


class TestVersionedSource:
    def test_no_warning(self, project, versioned):
        """A bucket with versioning gives no warning."""
        made = audit(project)
        assert made.source.versioning is Versioning.ON
        assert made.source.version
        assert (made.problems, made.warnings) == ((), ())

    @pytest.mark.parametrize("spoil", ["overwrite", "delete"])
    def test_older_version(self, project, versioned, spoil):
        """The pinned bytes are found in an older version after an overwrite or a delete."""
        pinned = versioned.head_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv")["VersionId"]
        if spoil == "overwrite":
            put(versioned, "raw/batches.csv", b"another file")
        else:
            versioned.delete_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv")
        made = audit(project)
        assert made.sound
        assert (made.source.state, made.source.version) == (ObjectState.OLDER, pinned)
        assert pinned in made.warnings[0]

    def test_pinned_version(self, project, versioned):
        """A pin by version accepts only that version."""
        pinned = versioned.head_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv")["VersionId"]
        write_pin(project, version=pinned)
        put(versioned, "raw/batches.csv", b"another file")
        assert audit(project).source.state is ObjectState.INTACT
        versioned.delete_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv", VersionId=pinned)
        put(versioned, "raw/batches.csv", RAW)  # the same bytes, but DVC would ask for the version
        made = audit(project)
        assert made.source.state is ObjectState.MISSING
        assert pinned in made.problems[0]

    def test_suspended(self, project, versioned):
        """Suspended versioning gives a warning."""
        versioned.put_bucket_versioning(Bucket=embedded_s3.BUCKET, VersioningConfiguration={"Status": "Suspended"})
        made = audit(project)
        assert made.source.versioning is Versioning.SUSPENDED
        assert "suspended" in made.warnings[0]

    @pytest.mark.parametrize(("code", "status"), [("NotImplemented", 501), ("AccessDenied", 403)])
    def test_unknown(self, code, status):
        """Versioning is unknown if the server or its policy does not answer."""
        client = botocore.session.Session().create_client(
            "s3", region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
        )
        with Stubber(client) as stub:
            stub.add_client_error("get_bucket_versioning", code, http_status_code=status)
            assert s3_objects.read_versioning(remotes.Remote(client, "b", "")) is Versioning.UNKNOWN
            stub.add_client_error("get_bucket_versioning", "NoSuchBucket", http_status_code=404)
            with pytest.raises(botocore.exceptions.ClientError):
                s3_objects.read_versioning(remotes.Remote(client, "b", ""))


class TestRemote:
    def test_wrong_checksum(self, project):
        """Bytes that do not match the server's checksum are reported as corrupt."""

        class Rotten(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "9")
                self.send_header("x-amz-checksum-crc32", "AAAAAA==")
                self.end_headers()
                self.wfile.write(b"the modem")

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Rotten) as server:
            threading.Thread(target=server.handle_request, daemon=True).start()
            point(project, f"http://localhost:{server.server_port}")
            found = s3_objects.check_copy(
                remotes.s3_client("storage", project), "storage", "data/model.onnx", md5(MODEL)
            )
        assert found.state is ObjectState.CORRUPT
        assert md5(b"the modem") in found.found

    def test_unreachable(self, project):
        """An S3 that does not answer is named with a remedy."""
        point(project, f"http://localhost:{embedded_s3.free_port()}")
        with pytest.raises(StorageError, match=r"remote source cannot be reached.*\n.*endpointurl.*config\.local"):
            audit(project)

    def test_missing_bucket(self, project, versioned):
        """A missing bucket or remote is named with a remedy."""
        (project / ".dvc/config").write_text(CONFIG.replace("s3://batchyield/dvc", "s3://nowhere/dvc"))
        with pytest.raises(StorageError, match=r"remote storage .*NoSuchBucket.*\n.*url"):
            audit(project)
        with pytest.raises(ConfigError, match=r"remote attic is not in the DVC config\n.*dvc remote add"):
            remotes.s3_client("attic", project)

    def test_missing_profile(self, project):
        """A profile that does not exist is named."""
        with (project / ".dvc/config").open("a") as config:
            config.write("    profile = nobody\n")
        with pytest.raises(StorageError, match=r"nobody.*\n.*profile"):
            remotes.s3_client("source", project)

    def test_credential_chain(self, project, tmp_path, monkeypatch):
        """Keys and region come from botocore's chain if the DVC config has none."""
        shared = tmp_path / "credentials"
        shared.write_text("[lab]\naws_access_key_id = shared\naws_secret_access_key = secret\n")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        with (project / ".dvc/config").open("a") as config:
            config.write(f"    profile = lab\n    credentialpath = {shared}\n    region = eu-west-1\n")
        remote = remotes.s3_client("source", project)
        assert remote.client._request_signer._credentials.access_key == "shared"
        assert remote.client.meta.region_name == "eu-west-1"
        assert remote.client.meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
        assert (remote.bucket, remote.prefix) == ("batchyield", "")


class TestAudit:
    def test_intact(self, project, plain):
        """A checkout whose pins are all in S3 is sound."""
        made = audit(project)
        assert made.sound
        assert made.orphans == ()
        assert states(made) == dict.fromkeys(
            [
                "data/raw/batches.csv",
                "data/model.onnx",
                "data/golden",
                *(f"data/{name}" for name in FOLDER),
                "data/plot.csv",
            ],
            ObjectState.INTACT,
        ), "metrics are in git, so the audit expects no copy of them"
        assert made.source.state is ObjectState.INTACT
        assert made.source.versioning is Versioning.OFF
        assert len(made.warnings) == 1
        assert "the copy in the storage is the only other one" in made.warnings[0]
        assert render(made).startswith("SOUND")

    def test_many_missing_copies(self):
        """Many files that were never pushed are one problem; a corrupt one and raw data are named beside it."""
        missing = [StoredCopy(f"data/{n}.csv", md5(b""), f"key/{n}", ObjectState.MISSING) for n in range(18)]
        corrupt = StoredCopy("data/model.onnx", md5(MODEL), "key/m", ObjectState.CORRUPT, "md5 x")
        raw = StoredCopy(str(raw_data.FILE), md5(RAW), "key/raw", ObjectState.MISSING)
        first, *others = copy_problems((raw, *missing, corrupt), "s3://b")
        assert first == (
            "18 files have no copy in the storage: data/0.csv, data/1.csv, data/2.csv, …; "
            "run `dvc push` where the files are"
        )
        assert ["batchyield data mirror" in others[0], "data/model.onnx is corrupt" in others[1]] == [True, True]
        assert len(others) == 2
        assert len(list(copy_problems((raw, *missing[:2], corrupt), "s3://b"))) == 4

    def test_all_problems_named(self, project, plain):
        """Changed source, corrupt and missing copies and orphans are each reported."""
        put(plain, key(md5(MODEL)), b"the modem")
        plain.delete_object(Bucket=embedded_s3.BUCKET, Key=key(md5(PLOT)))
        put(plain, "raw/batches.csv", b"another file")
        put(plain, "dvc/files/md5/00/stray", b"12345")
        made = audit(project)
        assert not made.sound
        source, model, plot = made.problems
        assert "s3://batchyield/raw/batches.csv" in source
        assert md5(b"another file") in source
        assert md5(RAW) in source
        assert "data/model.onnx is corrupt" in model
        assert md5(b"the modem") in model
        assert "data/plot.csv has no copy" in plot
        assert key(md5(PLOT)) in plot
        assert {path for path, state in states(made).items() if state is not ObjectState.INTACT} == {
            "data/model.onnx",
            "data/plot.csv",
        }
        assert [(orphan.key, orphan.size) for orphan in made.orphans] == [("dvc/files/md5/00/stray", 5)]
        message = render(made)
        assert message.startswith("NOT SOUND: 3 problems")
        assert "dvc/files/md5/00/stray" in message

    def test_bit_rot(self, project, plain):
        """A disk that rots under the server: same name, same size, other bytes."""
        file = project / ".s3" / embedded_s3.BUCKET / key(md5(MODEL))
        file.write_bytes(MODEL[::-1])
        assert states(audit(project))["data/model.onnx"] is ObjectState.CORRUPT

    def test_missing_file_of_folder(self, project, plain):
        """A missing file of an output folder, or the missing folder, is reported."""
        plain.delete_object(Bucket=embedded_s3.BUCKET, Key=key(md5(b"second")))
        assert [problem.split(" has")[0] for problem in audit(project).problems] == ["data/golden/b.json"]
        plain.delete_object(Bucket=embedded_s3.BUCKET, Key=key(TREE))
        assert [problem.split(" has")[0] for problem in audit(project).problems] == ["data/golden"]

    def test_missing_source(self, project, plain):
        """A source object that was deleted is a problem."""
        plain.delete_object(Bucket=embedded_s3.BUCKET, Key="raw/batches.csv")
        made = audit(project)
        assert made.source.state is ObjectState.MISSING
        assert "gone from the source" in made.problems[0]

    @pytest.mark.parametrize("kept", ["branch", "tag", "parent commit", "branch merged away", "working tree", "stash"])
    def test_pinned_by_any_revision(self, project, plain, kept):
        """An object that any branch, tag, commit, stash or working tree pins is not an orphan."""
        put(plain, key(md5(b"older model")), b"older model")
        assert [orphan.key for orphan in audit(project).orphans] == [key(md5(b"older model"))]
        put(plain, key(md5(MODEL)), MODEL)
        if kept in ("branch", "tag", "branch merged away"):
            git(project, "checkout", "-q", "-b", "other")
        write_lock(project, b"older model")
        if kept == "stash":
            git(project, "stash")
        elif kept != "working tree":
            commit(project)
        if kept == "tag":
            git(project, "tag", "v1")
        if kept in ("branch", "tag", "branch merged away"):
            git(project, "checkout", "-q", "main")
            git(project, "commit", "-q", "--allow-empty", "-m", "aside")
        if kept == "branch merged away":
            git(project, "merge", "-q", "-s", "ours", "-m", "merge", "other")
        if kept in ("tag", "branch merged away"):
            git(project, "branch", "-q", "-D", "other")
        if kept == "parent commit":
            write_lock(project)
            commit(project)
        assert audit(project).orphans == ()

    def test_shallow_clone(self, project, plain, tmp_path):
        """A shallow clone warns that its orphans may be pinned by older commits."""
        write_lock(project)
        (project / "more").write_text("a second commit")
        commit(project)
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "-q", "--depth=1", project.as_uri(), str(clone))
        remotes.copy_remotes(project, clone)
        assert any("shallow" in warning for warning in audit(clone).warnings)

    @pytest.mark.parametrize("file", ["data/raw/batches.csv.dvc", "dvc.lock", "dvc.yaml"])
    @pytest.mark.parametrize("spoil", ["remove", "garble"])
    def test_unreadable_pin(self, project, file, spoil):
        """A missing or malformed pin, lock or dvc.yaml is named."""
        if spoil == "remove":
            (project / file).unlink()
        else:
            (project / file).write_text("- nothing\n- of: the kind\n")
        with pytest.raises(ArtifactError, match=file):
            audit(project)

    def test_conflicting_pin(self, project):
        """A pin that git could not merge has the commands that choose one."""
        pin = project / raw_data.PIN
        pin.write_text(f"<<<<<<< HEAD\n{pin.read_text()}=======\n{pin.read_text()}>>>>>>> other\n")
        with pytest.raises(ConflictError, match=f"git checkout --theirs {raw_data.PIN}`, then `git add"):
            audit(project)

    def test_exit_code(self, project, plain, monkeypatch, capsys):
        """The exit code is 1 for problems and 0 for warnings."""
        monkeypatch.chdir(project)
        put(plain, "dvc/files/md5/00/stray", b"12345")
        assert __main__.main(["data", "audit"]) == 0
        assert "in the storage, but pinned by no revision: 1 object, 5 bytes" in capsys.readouterr().out
        plain.delete_object(Bucket=embedded_s3.BUCKET, Key=key(md5(PLOT)))
        assert __main__.main(["data", "audit", "--json"]) == 1
        output = json.loads(capsys.readouterr().out)
        assert len(output["problems"]) == 1
        assert output["orphans"] == [{"key": "dvc/files/md5/00/stray", "size": 5}]
        (project / "dvc.lock").unlink()
        assert __main__.main(["data", "audit"]) == 2
        assert "dvc.lock" in capsys.readouterr().err
