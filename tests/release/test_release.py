"""A release rehearsed as it happens: from a tag, by way of a real package index, to a served prediction."""

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import httpx
import pytest
import yaml
from support.commands import ROOT, run
from support.service import NO_TLS, REFERENCE, batches, card, linear_onnx, pin

from batchyield.cli.__main__ import main
from batchyield.errors import ArtifactError, InputError, RevisionError
from batchyield.plant.simulator import simulate
from batchyield.review.gate import in_unit
from batchyield.serving.artifact import FILES, MODEL, golden_rows, write_artifact
from batchyield.serving.model_package import ModelPackage
from batchyield.versioning import git as workspace
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.registry import NAME, read_registry, resolve
from batchyield.versioning.revisions import resolve_commit
from batchyield.versioning.storage import embedded_s3, raw_data, remotes, s3_objects
from batchyield.versioning.storage.content_store import cache_path

TOKEN = "tok-3n-of-the-index"
ME = {
    f"GIT_{who}_{what}": message
    for who in ("AUTHOR", "COMMITTER")
    for what, message in (("NAME", "t"), ("EMAIL", "t@l"))
}


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def store(root, data):
    """Keeps bytes as `dvc push` does after `dvc commit`: in the cache and in the storage."""
    kept = cache_path(root, md5(data))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)
    remote = remotes.s3_client("storage", root)
    remote.client.put_object(Bucket=remote.bucket, Key=s3_objects.storage_key(remote, md5(data)), Body=data)


def record(root, code=("contract_params", "cells"), param="level"):
    """Writes a lock and a dvc.yaml of one stage that read this code and this param and wrote the model."""
    pin(root)
    lock = yaml.safe_load((root / LOCK).read_text())
    read = [f"src/batchyield/plant/{name}.py" for name in code]
    deps = [{"path": path, "hash": "md5", "md5": md5((root / path).read_bytes())} for path in read]
    value = yaml.safe_load((root / "params.yaml").read_text())["intervals"][param]
    lock["stages"]["train"] |= {"deps": deps, "params": {"params.yaml": {f"intervals.{param}": value}}}
    (root / LOCK).write_text(yaml.safe_dump(lock, sort_keys=False))
    stage = lock["stages"]["train"]
    declared = {"cmd": stage["cmd"], "deps": read, "outs": [out["path"] for out in stage["outs"]]}
    pipeline = yaml.safe_load((root / "dvc.yaml").read_text()) | {"stages": {"train": declared}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))


def train(root, constant, subject, code=("contract_params", "cells"), param="level"):
    """A commit with a model that answers `constant`, stored; stands for `make repro && dvc push`."""
    onnx = linear_onnx(constant)
    write_artifact(root / "data/model", onnx, card(name=NAME), golden_rows(onnx, batches(20)), REFERENCE)
    record(root, code, param)
    for name in FILES:
        store(root, (root / "data/model" / name).read_bytes())
    return commit(root, subject)


def commit(root, subject):
    git("add", "-A", cwd=root)
    git("commit", "-qm", subject, cwd=root)
    return git("rev-parse", "HEAD", cwd=root).strip()


@pytest.fixture(scope="module", autouse=True)
def me():
    """The author of commits and tags in these tests."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in ME.items():
            patch.setenv(variable, value)
        yield


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Two releases, the first in prod and the second in staging, in a bare remote; the storage is up."""
    root = workspace.copy_working_tree(ROOT, tmp_path_factory.mktemp("release") / "checkout")
    bare = root.parent / "origin.git"
    git("init", "-q", "--bare", "-b", "main", str(bare), cwd=root)
    git("remote", "add", "origin", str(bare), cwd=root)
    with embedded_s3.running(remotes.embedded_server(embedded_s3.free_port(), root)):
        store(root, (data := b"the raw data of this rehearsal"))
        pinned = yaml.safe_load((root / raw_data.PIN).read_text())
        pinned["outs"][0] |= {"md5": md5(data), "size": len(data)}
        (root / raw_data.PIN).write_text(yaml.safe_dump(pinned))
        message = [train(root, 0.5, "Train the first"), at(root, "release", "create", "--version", "1.0.0", "--push")]
        message += [at(root, "release", "promote", "prod", "--push")]
        figures = json.loads((root / "data/metrics/test.json").read_text())
        (root / "data/metrics/test.json").write_text(json.dumps(figures | {"r2": 0.75}))
        message += [
            train(root, 0.5625, "Train again: the line was too low", ("contract_params", "batch"), "cut"),
            at(root, "release", "create", "--bump", "minor", "--push"),
        ]
        message += [
            at(root, "release", "promote", "staging", "1.1.0", "--push"),
            at(root, "release", "promote", "dev", "1.1.0"),
        ]
        git("push", "-q", "origin", "main", cwd=root)
        yield root, bare, message


def at(root, *arguments):
    """`batchyield ARGUMENTS` in `root`: what it printed."""
    message = io.StringIO()
    with contextlib.chdir(root), contextlib.redirect_stdout(message):
        assert main([*arguments]) == 0, message.getvalue()
    return message.getvalue()


@pytest.fixture
def clone(origin, tmp_path):
    """A second clone, as CI has it; its DVC cache is empty."""
    root, bare, _ = origin
    git("clone", "-q", str(bare), str(tmp_path / "clone"), cwd=tmp_path)
    remotes.copy_remotes(root, tmp_path / "clone")
    return tmp_path / "clone"


@pytest.fixture
def inside(clone, monkeypatch):
    monkeypatch.chdir(clone)
    return clone


class TestRegistry:
    def test_second_clone(self, origin, clone):
        """A release is a tag with its pins, and a second clone resolves it."""
        _, _, (first, released, promoted, second, *_) = origin
        assert "FAILED" not in released
        assert "yield-model@v1.0.0 is pushed" in released
        assert "yield-model#prod#1 is pushed" in promoted
        assert [(one.version, one.revision, one.environments) for one in read_registry(clone).releases] == [
            ("1.1.0", second, ("staging",)),  # dev was not pushed
            ("1.0.0", first, ("prod",)),
        ]
        assert resolve("prod", clone).revision == first
        assert resolve(root=clone).version == "1.1.0"
        lock = (git("show", f"{second}:dvc.lock", cwd=clone)).splitlines()
        output = git("tag", "--list", "--format=%(contents)", "yield-model@v1.1.0", cwd=clone)
        for name in FILES:
            assert (
                f"data/model/{name} md5 {lock[lock.index(f'    - path: data/model/{name}') + 2].split()[-1]}" in output
            )
        assert "raw data md5 " in output
        # DVC itself reads the same registry.
        shown = run("dvc", "artifacts", "get", ".", NAME, "--stage", "prod", "-o", "got", cwd=clone)
        assert shown.returncode == 0
        assert (clone / "got" / MODEL).read_bytes() == linear_onnx(0.5)

    def test_promote(self, inside, origin, capsys):
        """Versions move between environments; unknown ones and a rejected push fail without a tag."""

        def held():
            return {name: versions[-1] for name, versions in read_registry().environments().items()}

        assert held() == {"prod": "1.0.0", "staging": "1.1.0"}
        assert main(["release", "promote", "prod", "1.1.0"]) == 0
        assert held()["prod"] == "1.1.0"
        assert main(["release", "promote", "prod", "--back"]) == 0
        assert held()["prod"] == "1.0.0"
        assert main(["release", "promote", "prod", "v1.0.0"]) == 0
        assert "holds yield-model 1.0.0 already" in capsys.readouterr().out
        for arguments, message in (
            (["release", "promote", "prod", "--back"], "it holds 1.0.0, its first"),
            (["release", "promote", "production"], "Allowed stages are"),
            (
                ["release", "promote", "prod", "2.0.0"],
                "has no version 2.0.0; this clone knows prod (1.0.0), staging (1.1.0), 1.1.0, 1.0.0",
            ),
            (["release", "promote", "prod", "newest"], "no version of yield-model is in environment newest"),
            (
                ["deploy", "serve", "--environment", "dev"],
                "no version of yield-model is in environment dev; this clone knows",
            ),
            (["deploy", "serve", "--model", "other"], "no model other is released from here"),
        ):
            assert main(arguments) == 2
            assert message in capsys.readouterr().err
        assert main(["release", "list", "--json"]) == 0
        output = json.loads(capsys.readouterr().out)
        assert [move["tag"] for move in output["moves"]] == [
            "yield-model#prod#1",
            "yield-model#staging#2",
            "yield-model#prod#3",
            "yield-model#prod#4",
        ]
        # The other clone used the number that is next here too: neither tag is lost, and the command reports it.
        git("push", "-q", "origin", "HEAD~1:refs/tags/yield-model#prod#5", cwd=inside)
        before = git("tag", cwd=inside)
        assert main(["release", "promote", "prod", "1.1.0", "--push"]) == 2
        assert "could not be pushed and is deleted again" in capsys.readouterr().err
        assert git("tag", cwd=inside) == before
        # What an environment holds is never taken from a clone that lacks moves which origin has.
        for arguments in (["deploy", "serve", "--environment", "prod"], ["release", "card", "prod"]):
            assert main(arguments) == 2
            assert (
                "prod may hold another version by now: this clone lacks yield-model#prod#5" in capsys.readouterr().err
            )
        assert main(["release", "promote", "staging"]) == 2
        assert "there may be a newer version: this clone lacks yield-model#prod#5" in capsys.readouterr().err
        assert main(["release", "list"]) == 0
        assert "as of yield-model#prod#4, 20" in capsys.readouterr().out

    def test_branch_named_like_environment(self, inside):
        """A branch with the name of an environment is not taken for it, nor the other way round."""
        git("branch", "prod", "HEAD", cwd=inside)
        with pytest.raises(RevisionError, match=r"prod is a branch or a tag .* and an environment"):
            resolve_commit("prod", inside)
        assert resolve_commit("refs/heads/prod", inside) == resolve_commit("HEAD", inside)
        git("branch", "-f", "prod", "yield-model@v1.0.0", cwd=inside)
        assert resolve_commit("prod", inside) == resolve("1.0.0", inside).revision
        git("push", "-q", "origin", ":refs/tags/yield-model#prod#5", cwd=inside)

    @pytest.mark.parametrize("name", ["1.0.0", "v1.0.0", "yield-model@v1.0.0", "prod"])
    def test_names(self, name, origin, inside, capsys):
        """A version has the same names in every command that takes a revision or a version."""
        first = origin[2][0]
        assert resolve_commit(name, inside) == resolve(name, inside).revision == first
        assert main(["release", "show", name]) == 0
        assert f"version=1.0.0\nrevision={first}\n" in capsys.readouterr().out

    def test_show_tag(self, inside, origin, capsys):
        """A tag is resolved to its version; a tag without annotation is reported."""
        _, _, (first, _, _, second, *_) = origin
        for tag, version, revision, stage in (
            ("yield-model@v1.1.0", "1.1.0", second, ""),
            ("yield-model#prod#1", "1.0.0", first, "prod"),
        ):
            assert main(["release", "show", tag]) == 0
            assert capsys.readouterr().out == f"version={version}\nrevision={revision}\nenvironment={stage}\n"
        git(
            "tag", "--force", "yield-model#prod#1", first, cwd=inside
        )  # as actions/checkout does with the tag of its run
        for arguments in (["release", "show", "yield-model#prod#1"], ["deploy", "serve", "--environment", "prod"]):
            assert main(arguments) == 2
            assert "yield-model#prod#1 is here without its annotation" in capsys.readouterr().err
        git("fetch", "-q", "--force", "--tags", cwd=inside)
        assert main(["release", "show", "yield-model#prod#1"]) == 0

    def test_shallow_clone(self, origin, tmp_path, monkeypatch, capsys):
        """A shallow clone fails with the command that completes it."""
        git("clone", "-q", "--depth", "1", f"file://{origin[1]}", str(tmp_path / "shallow"), cwd=tmp_path)
        git("fetch", "-q", "--depth", "1", "--tags", cwd=tmp_path / "shallow")
        monkeypatch.chdir(tmp_path / "shallow")
        for command in (
            "deploy serve --environment prod",
            "deploy start prod",
            "release list",
            "release package 1.0.0",
            "release promote prod",
            "release create",
        ):
            assert main(command.split()) == 2
            assert "`git fetch --unshallow --tags`" in capsys.readouterr().err


class TestPreflight:
    def test_all_failures(self, inside, capsys):
        """All failing checks are reported at once."""
        code = inside / "src/batchyield/plant/contract_params.py"
        code.write_text(code.read_text() + "# changed\n")
        figures = inside / "data/metrics/forward.json"
        figures.write_text(json.dumps(json.loads(figures.read_text()) | {"coverage": 0.2}))
        commit(inside, "Change code under the same version")
        (inside / "scratch.txt").write_text("not committed")
        assert main(["release", "create", "--dry-run"]) == 1
        output = capsys.readouterr()
        for message in (
            "scratch.txt differs",
            "FAILED  forward coverage 20.0 %",
            "is not what yield-model@v1.1.0 released as batchyield",
            "passed  the storage holds all",
        ):
            assert message in output.out
        assert "1.1.1 is not released" in output.err
        assert main(["release", "create", "--version", "1.0.5"]) == 2
        assert "1.0.5 is not above 1.1.0" in capsys.readouterr().err

    def test_missing_in_storage(self, inside, capsys):
        """Outputs that were not pushed to the storage prevent a release, unless offline."""
        onnx = linear_onnx(0.25)
        write_artifact(inside / "data/model", onnx, card(), golden_rows(onnx, batches(20)), REFERENCE)
        record(inside)
        for name in FILES:
            data = (inside / "data/model" / name).read_bytes()
            cache_path(inside, md5(data)).parent.mkdir(parents=True, exist_ok=True)
            cache_path(inside, md5(data)).write_bytes(data)
        commit(inside, "Forget dvc push")
        assert main(["release", "create", "--dry-run"]) == 1
        assert "data/model/model.onnx has no copy in the storage" in capsys.readouterr().out
        assert main(["release", "create", "--dry-run", "--offline"]) == 0
        assert "1.1.1 could be released" in capsys.readouterr().out
        assert "yield-model@v1.1.1" not in git("tag", cwd=inside)


def changed(notes):
    """What the notes of a release say under `Changed`."""
    return notes.partition("## Changed\n\n")[2].partition("\n\n")[0].splitlines()


class TestNotes:
    def test_changes(self, inside, origin, capsys):
        """Notes and card show pins, metrics and changes."""
        _, _, (first, _, _, second, *_) = origin
        before = json.loads((ROOT / "data/metrics/test.json").read_text())["r2"]
        change, direction = in_unit("r2", 0.75 - before, "+"), "better" if before < 0.75 else "worse"
        assert main(["release", "notes", "1.1.0"]) == 0
        notes = capsys.readouterr().out
        for message in (
            f"commit `{second}`, after 1.0.0.",
            f"| model.onnx | `{md5(linear_onnx(0.5625))}` |",
            f"| test batches | r2 |  | {in_unit('r2', before)} | 0.750 | {change} | {direction} |",
            "Train again: the line was too low",
        ):
            assert message in notes
        assert "Train the first" not in notes
        chosen = yaml.safe_load((ROOT / "params.yaml").read_text())["intervals"]
        assert changed(notes) == [
            f"- params: intervals.level in params.yaml, {chosen['level']} before, nothing now",
            f"- params: intervals.cut in params.yaml, nothing before, {chosen['cut']} now",
            "- code: src/batchyield/plant/cells.py, src/batchyield/plant/batch.py",
        ]
        assert main(["release", "notes", "--all"]) == 0
        output = capsys.readouterr().out
        assert output.startswith(notes)
        assert changed(output.removeprefix(notes)) == ["There is no version before."]
        assert main(["release", "card", first]) == 0
        output = capsys.readouterr().out
        assert output.startswith(f"# {NAME}\n")
        assert f"Commit `{first}`" in output
        assert "| seed | 1 |" in output

    def test_no_change_and_many_files(self, inside, capsys):
        """Equal inputs are reported as such, and long lists of files are shortened."""
        same = Path(LOCK).read_text()
        for version, many in (
            ("1.2.0", ""),
            ("1.3.0", "".join(f"    - {{path: src/{n}.py, md5: '{n}'}}\n" for n in range(60))),
        ):
            Path(LOCK).write_text(same.replace("    deps:\n", f"    deps:\n{many}"))
            git("commit", "-qam", f"Release {version}", "--allow-empty", cwd=inside)
            git("tag", "-a", f"yield-model@v{version}", "-m", "yield-model", cwd=inside)
        assert main(["release", "notes", "1.2.0"]) == 0
        assert changed(capsys.readouterr().out) == ["The same data, code and params as before."]
        assert main(["release", "notes", "1.3.0"]) == 0
        (output,) = changed(capsys.readouterr().out)
        assert re.fullmatch(r"- code: (src/\d+\.py, )+src/\d+\.py and \d+ more", output)


class Index:
    """A real package index on loopback; uploads and downloads need the password."""

    def __init__(self, folder):
        self.port, self.folder = embedded_s3.free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        (self.folder / "packages").mkdir(parents=True)
        digest = base64.b64encode(hashlib.sha1(TOKEN.encode(), usedforsecurity=False).digest()).decode()
        (self.folder / "passwords").write_text(f"plant:{{SHA}}{digest}\n")
        where = ["-i", "127.0.0.1", "-p", str(self.port), "--disable-fallback"]
        who = ["-P", str(self.folder / "passwords"), "-a", "update,download,list"]
        command = [sys.executable, "-m", "pypiserver", "run", *where, *who, str(self.folder / "packages")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process.poll() is None
            try:
                if httpx.get(f"{self.url}/health", verify=NO_TLS).status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the index did not come up in 20 s")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=10)


@pytest.fixture
def index(tmp_path):
    with Index(tmp_path / "index") as running:
        yield running


def served(root, *options):
    """`python -m api OPTIONS` in `root`: what it answers to three batches, and what it says of its model."""
    port = embedded_s3.free_port()
    ours = ("BATCHYIELD_", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    process = subprocess.Popen(
        [sys.executable, "-m", "api", *options, "--port", str(port)], cwd=root, env=environment | {"PYTHONPATH": "src"}
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert process.poll() is None
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health/ready", verify=NO_TLS).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        return httpx.post(f"http://127.0.0.1:{port}/v1/predictions", json={"inputs": INPUTS}).json()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


INPUTS = [{"id": f"batch {n}", "A1": 300, "A5": "13:30:00", "A20": "21:00-21:30", "B14": 400 + n} for n in range(3)]

PREDICT = """
import json, sys, msgspec, batchyield, batchyield_model
from batchyield_model import predict, model, pin, __version__
forbidden = {"dvc", "sklearn", "pandas"} & set(sys.modules)
print(json.dumps({"predictions": msgspec.to_builtins(predict(json.loads(sys.argv[1]))), "version": __version__,
    "md5": model().md5, "pin": msgspec.to_builtins(pin), "at": [batchyield.__file__, batchyield_model.__file__],
    "forbidden": sorted(forbidden)}))
"""


def bare_environment(folder):
    """A fresh environment without our library; what the library needs comes from the one that runs the tests."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in ("msgspec", "numpy", "onnxruntime", "yaml", "numpy.libs", "flatbuffers", "google", "packaging"):
        found = Path(sys.modules["numpy"].__file__).parents[1] / name
        if found.exists():
            (site / name).symlink_to(found)
    return folder / "bin/python"


def publish(root, **environment):
    """`make publish` in `root`, with the environment of the tests instead of one of its own."""
    return run("make", "-o", ".venv/.made-from-locks", "publish", cwd=root, check=False, **environment)


@pytest.fixture
def packaged(inside):
    """The package of the first release, unpacked."""
    (written,) = at(inside, "release", "package", "1.0.0", "--model-only").splitlines()
    with zipfile.ZipFile(inside / written) as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(2020, 2, 2, 0, 0, 0)}
        archive.extractall(inside / "unpacked")
    return inside / "unpacked/batchyield_model"


@pytest.mark.slow
class TestPackage:
    def test_bill_of_materials(self, tmp_path):
        """`make sbom` lists every locked package of the service with its hashes."""
        run("make", "sbom", "--old-file=setup", f"OUT={tmp_path / 'sbom.json'}", cwd=ROOT)
        components = json.loads((tmp_path / "sbom.json").read_text())["components"]
        locked = re.findall(r"^([\w.-]+)==([^ ]+)", (ROOT / "requirements/serve.txt").read_text(), re.MULTILINE)
        assert {(one["name"], one["version"]) for one in components} == set(locked)
        assert all(one["externalReferences"][0]["hashes"] for one in components)

    def test_service_without_dvc(self, tmp_path):
        """A service without DVC rejects the choice of a model."""
        bare = bare_environment(tmp_path / "image")
        done = run(
            *(str(bare), "-m", "api", "--model", NAME, "--environment", "prod"),
            cwd=tmp_path,
            check=False,
            PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "an image holds one model: start it without these options" in done.stderr

    def test_from_tag_to_prediction(self, clone, index, tmp_path, monkeypatch):
        """A package built from the tag, uploaded and installed, predicts as the service does."""
        wheels = [Path(line) for line in at(clone, "release", "package", "1.0.0").splitlines()]
        assert [wheel.name.split("-")[0] for wheel in wheels] == ["batchyield_model", "batchyield"]
        wheels_at = [clone / wheel for wheel in wheels]
        again = [
            Path(line)
            for line in at(clone, "release", "package", "1.0.0", "--out", str(tmp_path / "again")).splitlines()
        ]
        assert [one.read_bytes() for one in wheels_at] == [two.read_bytes() for two in again]

        assert publish(clone).returncode != 0, "without UV_PUBLISH_URL nothing goes to PyPI"
        address = index.url.replace("//", f"//plant:{TOKEN}@")  # as hosted indexes give it out
        simple = {"UV_PUBLISH_CHECK_URL": f"{address}/simple/"}
        wrong = {"UV_PUBLISH_USERNAME": "plant", "UV_PUBLISH_PASSWORD": "wr0ng-token"}
        refused = publish(clone, UV_PUBLISH_URL=index.url, **simple, **wrong)
        assert refused.returncode != 0
        reason, remedy = refused.stderr.splitlines()[:2]
        assert re.search(r"403 Forbidden|Broken pipe", reason)  # the index answers without reading the whole file
        assert "<" not in reason, "the index's page is left out"
        assert "check UV_PUBLISH_USERNAME and UV_PUBLISH_PASSWORD" in remedy
        done = publish(clone, UV_PUBLISH_URL=address, **simple)
        assert done.returncode == 0, done.stderr
        (index.folder / "packages" / wheels[1].name).unlink()
        resumed = publish(clone, UV_PUBLISH_URL=address, **simple)
        assert resumed.returncode == 0, "an upload that was cut off continues with the files that are missing"
        assert sorted(file.name for file in (index.folder / "packages").iterdir()) == sorted(one.name for one in wheels)
        for output, token in ((refused, "wr0ng-token"), (done, TOKEN), (resumed, TOKEN)):
            assert token not in output.stdout + output.stderr

        python = bare_environment(tmp_path / "plant")
        run(
            *(
                sys.executable,
                "-m",
                "pip",
                "--python",
                str(python),
                "install",
                "--quiet",
                "--no-deps",
                "--no-cache-dir",
            ),
            *("--disable-pip-version-check", "--index-url", f"{address}/simple/"),
            *("batchyield-model==1.0.0", f"batchyield=={wheels[1].name.split('-')[1]}"),
            cwd=tmp_path,
        )
        done = run(str(python), "-I", "-c", PREDICT, json.dumps(INPUTS), cwd=tmp_path)
        installed = json.loads(done.stdout)
        assert all(path.startswith(str(tmp_path / "plant")) for path in installed["at"])
        assert installed["forbidden"] == []

        answered = served(clone, "--model", NAME, "--environment", "prod")
        assert answered["predictions"] == installed["predictions"]
        assert answered["predictions"][1]["yield"] == pytest.approx(0.901)
        release = resolve("prod", clone)
        assert answered["model"] == {"version": "1.0.0", "revision": release.revision, "md5": installed["md5"]}
        assert installed["pin"]["files"][MODEL] == installed["md5"] == md5(linear_onnx(0.5))
        assert (installed["pin"]["revision"], installed["version"]) == (release.revision, "1.0.0")

    def test_inputs(self, packaged, tmp_path):
        """The package accepts batches, mappings and CSV files, and names what it cannot read."""
        model = ModelPackage(packaged)
        expected = [prediction.yield_ for prediction in model.predict(batches(2))]
        assert [prediction.yield_ for prediction in model.predict({"B14": 400.0})] == expected[:1]
        sheet = tmp_path / "plant.csv"
        sheet.write_bytes(simulate(rows=5).csv())
        assert len(model.predict(sheet)) == len(model.predict(str(sheet))) == 5
        assert model.predict([]) == []
        with pytest.raises(InputError, match=r"\$\[1\].*unknown field `B15`"):
            model.predict([{"B14": 1}, {"B15": 1}])
        with pytest.raises(InputError, match=r"\$\[0\]\.B14: Expected"):
            model.predict({"B14": "much"})
        with pytest.raises(InputError, match="cannot be read"):
            model.predict(tmp_path / "no.csv")

    def test_changed_bytes(self, packaged):
        """A package whose bytes differ from its pin does not predict."""
        onnx = packaged / MODEL
        onnx.write_bytes(onnx.read_bytes()[:-1] + b"\0")
        with pytest.raises(ArtifactError, match="is not the pinned file"):
            ModelPackage(packaged).predict(batches(1))
        (packaged / "pin.json").unlink()
        with pytest.raises(ArtifactError, match=r"pin\.json: cannot be read.*\n.*pip install"):
            _ = ModelPackage(packaged).pin
