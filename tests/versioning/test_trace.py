"""Any bytes lead back through a lock to code, params, raw object and environment, and to the commands that rebuild."""

import hashlib
import json
import sys

import msgspec
import pytest
from support.commands import ROOT, run

from batchyield.cli.__main__ import main
from batchyield.errors import ArtifactError, CommandError, RevisionError
from batchyield.versioning.git import git
from batchyield.versioning.provenance.trace import render, trace

OLD, NEW = b"old model", b"new model"
METRIC = b'{"score": 1}'


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def entry(path, data):
    return {"path": path, "hash": "md5", "md5": md5(data), "size": len(data)}


def lock(model, *, code=b"fit()", read=b"table", made=b"table"):
    raw = entry("data/raw/batches.csv", b"raw")
    first = {"cmd": "prepare", "deps": [raw], "outs": [entry("data/table.csv", made)]}
    second = {
        "cmd": "fit",
        "deps": [entry("data/table.csv", read), entry("src/fit.py", code)],
        "params": {"params.yaml": {"model": {"kind": "ridge", "alpha": 2}}},
        "outs": [entry("data/metrics.json", METRIC), entry("data/model/model.onnx", model)],
    }
    return {"schema": "2.0", "stages": {"prepare": first, "train": second}}


def commit(root, written):
    (root / "dvc.lock").write_bytes(written if isinstance(written, bytes) else msgspec.yaml.encode(written))
    git("add", "-A", cwd=root)
    git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "a lock", cwd=root)
    return git("rev-parse", "HEAD", cwd=root).strip()


@pytest.fixture
def history(tmp_path):
    """A checkout of two commits: the model of the first is not that of the second."""
    root = tmp_path / "checkout"
    for path, data in {
        "src/fit.py": b"fit()",
        "data/metrics.json": METRIC,
        "requirements/environment.json": b'{"python": "3.11.7", "platform": "Linux", "libraries": {"numpy": "2"}}',
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    pin = {
        "deps": [{"etag": "e1", "size": 3, "path": "remote://source/raw/batches.csv"}],
        "outs": [{"md5": md5(b"raw"), "path": "batches.csv"}],
    }
    (root / "data/raw").mkdir()
    (root / "data/raw/batches.csv.dvc").write_bytes(msgspec.yaml.encode(pin))
    git("init", "-q", "-b", "main", cwd=root)
    return root, commit(root, lock(OLD)), commit(root, lock(NEW))


class TestTrace:
    @pytest.mark.parametrize("digits", [6, 32])
    def test_output(self, history, digits):
        """An output is traced to params, code, raw object and environment."""
        root, _, new = history
        made = trace(md5(NEW)[:digits], root=root)
        assert (made.revision, [s.path for s in made.subjects]) == (new, ["data/model/model.onnx"])
        assert [(step.stage, step.command) for step in made.steps] == [("train", "fit"), ("prepare", "prepare")]
        assert made.steps[0].params == {"params.yaml": {"model": {"kind": "ridge", "alpha": 2}}}
        assert [(read.path, read.role) for read in made.steps[0].inputs] == [
            ("data/table.csv", "output"),
            ("src/fit.py", "code"),
        ]
        assert (made.raw.url, made.raw.etag, made.raw.size) == ("remote://source/raw/batches.csv", "e1", 3)
        assert made.environment["python"] == "3.11.7"
        assert (made.breaks, made.notes) == ((), ())
        text = render(made)
        assert f"batchyield pin verify --rev {new[:12]}" in text
        assert text.splitlines()[-1].endswith("dvc repro --no-run-cache train")
        for message in ('model.kind="ridge"', f"src/fit.py@{md5(b'fit()')[:8]}", "etag e1", "numpy 2"):
            assert message in text

    def test_other_locale(self, history):
        """What git holds is read as UTF-8, whatever the locale."""
        root, *_ = history
        (root / "src/fit.py").write_text("fit('产量 Ö')", "utf-8")
        commit(root, lock(NEW, code="fit('产量 Ö')".encode()))
        command = (sys.executable, "-X", "utf8=0", "-m", "batchyield.cli", "pin", "trace", "HEAD")
        done = run(*command, cwd=root, LC_ALL="C", PYTHONCOERCECLOCALE="0")
        assert "src/fit.py@" in done.stdout

    def test_older_lock(self, history):
        """Bytes that only an older lock has are found with their revision."""
        root, old, new = history
        made = trace(md5(OLD), root=root)
        assert made.revision == old
        assert new[:12] in made.notes[0]

    @pytest.mark.parametrize(
        ("data", "path", "role", "readers"),
        [
            (b"fit()", "src/fit.py", "code", ("train",)),
            (b"raw", "data/raw/batches.csv", "raw data", ("prepare",)),
            (METRIC, "data/metrics.json", "output", ()),
        ],
    )
    def test_inputs_and_metrics(self, history, data, path, role, readers):
        """Inputs and metrics are traced too."""
        made = trace(md5(data), root=history[0])
        assert [(s.path, s.role) for s in made.subjects] == [(path, role)]
        assert made.readers == readers
        assert any(line.startswith(f"git show {history[2][:12]}:{path}") for line in made.commands) == (
            role != "raw data"
        )

    def test_revision(self, history):
        """A revision is traced by all its outputs, the model first."""
        root, old, _ = history
        made = trace("HEAD~1", root=root)
        assert made.revision == old
        assert [s.path for s in made.subjects] == ["data/model/model.onnx", "data/table.csv", "data/metrics.json"]

    def test_workspace_file(self, history):
        """A file is traced by its bytes; unknown bytes are compared with the lock of HEAD."""
        root, old, _ = history
        model = root / "data/model/model.onnx"
        assert "not in the workspace" in trace("data/model/model.onnx", root=root).notes[0]
        model.parent.mkdir()
        model.write_bytes(OLD)
        made = trace("data/model/model.onnx", root=root)
        assert made.revision == old
        assert md5(NEW) in made.notes[0]
        model.write_bytes(b"spoilt")
        with pytest.raises(ArtifactError, match=f"(?s){md5(b'spoilt')}.*{md5(NEW)}.*differs.*dvc checkout"):
            trace("data/model/model.onnx", root=root)
        (root / "dvc.lock").write_bytes(msgspec.yaml.encode(lock(b"spoilt")))
        with pytest.raises(ArtifactError, match="commit it"):
            trace("data/model/model.onnx", root=root)

    def test_contradictions(self, history, monkeypatch, capsys):
        """A lock that contradicts itself or its commit is reported, with exit code 1."""
        root = history[0]
        commit(root, lock(b"third", read=b"other", code=b"fit(2)"))
        monkeypatch.chdir(root)
        assert main(["pin", "trace", md5(b"third"), "--json"]) == 1
        breaks = json.loads(capsys.readouterr().out)["breaks"]
        assert len(breaks) == 2
        assert md5(b"other") in breaks[0]
        assert "src/fit.py" in breaks[1]

    def test_unknown_without_journal(self, history, monkeypatch, capsys):
        """A name that is no revision, hash or file is called that, where there is no journal to look it up in."""
        monkeypatch.chdir(history[0])
        assert main(["pin", "trace", "nosuch"]) == 2
        error = capsys.readouterr().err
        assert "nosuch" in error
        assert "journal" not in error
        assert main(["pin", "trace", "nosuch", "--journal", "away.sqlite"]) == 2
        assert "there is no journal at" in capsys.readouterr().err

    def test_folder_among_inputs(self, history):
        """A folder among the inputs is compared by DVC's hash of it."""
        root = history[0]
        (root / "src/features").mkdir()
        for name in ("b.py", "a.py"):
            (root / "src/features" / name).write_text(name)
        listed = json.dumps([{"md5": md5(name.encode()), "relpath": name} for name in ("a.py", "b.py")]).encode()
        made = lock(b"fourth")
        made["stages"]["train"]["deps"].append({"path": "src/features", "md5": f"{md5(listed)}.dir"})
        commit(root, made)
        assert trace("HEAD", root=root).breaks == ()
        (root / "src/features/a.py").write_text("changed")
        made["stages"]["train"]["outs"][1] = entry("data/model/model.onnx", b"fifth")
        commit(root, made)
        assert ["src/features as" in problem for problem in trace("HEAD", root=root).breaks] == [True]

    def test_errors(self, history, tmp_path):
        """Unknown, ambiguous and unreadable names are rejected with a remedy."""
        root = history[0]
        with pytest.raises(RevisionError, match=r"begins no md5 in any lock[\s\S]*git fetch"):
            trace("0" * 32, root=root)
        twins = msgspec.yaml.encode(lock(NEW)).replace(md5(METRIC).encode(), (md5(NEW)[:8] + "0" * 24).encode())
        commit(root, twins)
        with pytest.raises(RevisionError, match="begins several hashes"):
            trace(md5(NEW)[:6], root=root)
        broken = commit(root, b"<<<<<<< ours\nmd5: " + md5(OLD).encode())
        with pytest.raises(ArtifactError, match=r"not a readable DVC lock[\s\S]*name another one"):
            trace(broken, root=root)
        assert broken[:12] in trace(md5(OLD), root=root).notes[0]
        (tmp_path / "bare").mkdir()
        with pytest.raises(CommandError, match="in a checkout"):
            trace("HEAD", root=tmp_path / "bare")

    def test_this_repository(self):
        """The model of this repository is traced to its raw object."""
        made = trace("HEAD", root=ROOT)
        assert made.subjects[0].path == "data/model/model.onnx"
        assert {"train", "split", "validate"} <= {step.stage for step in made.steps}
        assert made.raw.url == "remote://source/raw/batches.csv"
        assert trace(made.subjects[0].md5, root=ROOT).subjects == made.subjects[:1]


MADE_ELSEWHERE = {"make setup", ". .venv/bin/activate"}
"""The printed lines that a test leaves out: they need a minute and a package index, and make what runs the test."""


def printed(root, asked):
    made = json.loads(run("batchyield", "pin", "trace", asked, "--json", cwd=root).stdout)
    assert set(made["commands"]) >= MADE_ELSEWHERE
    return made["subjects"][0]["md5"], [line for line in made["commands"] if line not in MADE_ELSEWHERE]


class TestCommands:
    @pytest.mark.slow
    def test_rebuild(self, scratch):
        """The printed commands rebuild the traced bytes."""
        git(
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@localhost",
            "commit",
            "-qam",
            "rebuilt",
            "--allow-empty",
            cwd=scratch,
        )
        path, metrics = "data/split/train.parquet", "data/metrics/test.json"
        traced, commands = printed(scratch, path)
        (scratch / path).unlink()
        (verify,) = [line for line in commands if line.startswith("batchyield pin verify ")]  # test_verify.py runs it
        commands.remove(verify)
        run("sh", "-ec", "\n".join(commands), cwd=scratch)
        (clone,) = scratch.parent.glob("batchyield-*")
        assert md5((clone / path).read_bytes()) == traced
        assert not (scratch / path).exists()
        assert not (clone / "data/model/model.onnx").exists()

        traced, commands = printed(scratch, metrics)
        assert md5(run("sh", "-ec", commands[0], cwd=scratch).stdout.encode()) == traced

    def test_real_s3(self, history):
        """On a real S3, no server is started, and config.local is copied only if it exists."""
        root = history[0]
        (root / ".dvc").mkdir()
        (root / ".dvc/config").write_text("['remote \"source\"']\n    url = s3://plant-archive\n")
        lines = trace("HEAD", root=root).commands
        assert not [line for line in lines if line.startswith(("batchyield data s3", "cp "))]
        (root / ".dvc/config.local").write_text("['remote \"source\"']\n    profile = plant\n")
        assert [line for line in trace("HEAD", root=root).commands if line.startswith("cp ")]
