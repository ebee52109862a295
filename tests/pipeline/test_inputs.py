"""A stage fails if what it reads was changed while it ran; DVC alone would pin the changed file as what ran."""

import sys

import pytest
from support.commands import run
from support.stage_fault import AT_FIRST_OUTPUT

from batchyield.errors import WriteError
from batchyield.files import md5_of_file, remove_partial_files, write_atomic
from batchyield.serving.lockfile import read_lock
from batchyield.versioning.lock_diff import LOCK


def set_param(name, value):
    """Return code that sets a param, whatever it is."""
    return f"import re; f.write_text(re.sub(r'(?s)({name}: )[0-9.]+', r'\\g<1>{value}', f.read_text()))"


# Found by the stage alone, since its command puts `src` first on the path: does what the test asks for at the moment
# when the stage has written its first output.

EDITED = {
    "a module": ("src/batchyield/modelling/parquet.py", "f.write_text(f.read_text() + '#')"),
    "a table": ("data/validated/batches.parquet", "f.unlink(); f.write_bytes(b'')"),
    "a file that goes": ("src/batchyield/plant/cells.py", "f.unlink()"),
    "a param": ("params.yaml", set_param("split:.*?seed", 7)),
    "there and back": ("src/batchyield/modelling/parquet.py", "f.write_text(f.read_text())"),
}
OTHER_PARAM = ("params.yaml", "f.write_text(f.read_text().replace('level: 0.9', 'level: 0.8'))")


def fault(file, edit):
    return f"f = Path('{file}'); {edit}"


def split(root, edit):
    (root / "src/sitecustomize.py").write_text(AT_FIRST_OUTPUT)
    command = (sys.executable, "-m", "batchyield.pipeline.split")
    return run(*command, cwd=root, check=False, PYTHONPATH="src", FAULT=fault(*edit))


class TestInputGuard:
    @pytest.mark.parametrize("what", EDITED)
    def test_changed_input(self, scratch, what):
        """An input that changes while a stage runs fails it and is named."""
        file, _ = EDITED[what]
        before = md5_of_file(scratch / file)
        done = split(scratch, EDITED[what])
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert file in done.stderr
        assert "run `dvc repro` again" in done.stderr
        if file == "params.yaml":
            assert "split" in done.stderr
            assert '"seed": 7' in done.stderr
        else:
            assert before in done.stderr
            assert (
                "missing" in done.stderr
                if not (scratch / file).exists()
                else md5_of_file(scratch / file) in done.stderr
            )
        assert not list((scratch / "data/split").glob("*.parquet")), "its outputs belong to no input"

    def test_unrelated_param(self, scratch):
        """A param that the stage does not read may change."""
        assert split(scratch, OTHER_PARAM).returncode == 0
        assert "level: 0.8" in (scratch / "params.yaml").read_text()

    def test_next_repro(self, scratch):
        """After such a failure dvc.lock is unchanged, and the next repro succeeds."""
        (scratch / "src/sitecustomize.py").write_text(AT_FIRST_OUTPUT)
        lock, was = (scratch / LOCK).read_bytes(), read_lock(scratch / LOCK).outs()
        file, _ = EDITED["a module"]
        command = ("dvc", "repro", "--force", "--single-item", "split")
        done = run(*command, cwd=scratch, check=False, FAULT=fault(*EDITED["a module"]))
        assert done.returncode != 0
        assert file in done.stderr
        assert (scratch / LOCK).read_bytes() == lock
        run("dvc", "repro", "--single-item", "split", cwd=scratch)
        now = read_lock(scratch / LOCK)
        assert now.outs() == was, "a comment changes no output"
        assert {dep.path: dep.md5 for dep in now.stages["split"].deps}[file] == md5_of_file(scratch / file)

    def test_conflict(self, scratch):
        """Params that git could not merge have the command that solves them."""
        params = scratch / "params.yaml"
        params.write_text(f"<<<<<<< HEAD\n{params.read_text()}=======\n{params.read_text()}>>>>>>> other\n")
        done = run(sys.executable, "-m", "batchyield.pipeline.split", cwd=scratch, check=False, PYTHONPATH="src")
        assert done.returncode == 2
        assert "params.yaml has git's conflict markers" in done.stderr
        assert "batchyield review resolve" in done.stderr

    def test_run_by_path(self, scratch):
        """A stage run by its path instead of its module name is rejected."""
        done = run(sys.executable, "src/batchyield/pipeline/split.py", cwd=scratch, check=False, PYTHONPATH="src")
        assert done.returncode == 2
        assert "python -m batchyield.pipeline" in done.stderr


class TestFiles:
    def test_failed_write(self, tmp_path):
        """A failed write names the file and leaves the old content."""
        file = tmp_path / "kept.json"
        write_atomic(file, b"kept")
        (tmp_path / "a-file").write_bytes(b"")
        with pytest.raises(WriteError, match=r"a-file/new\.json cannot be written: .*\n.*same command again"):
            write_atomic(tmp_path / "a-file/new.json", b"new")
        assert file.read_bytes() == b"kept"

    def test_partial_files(self, tmp_path):
        """Partial files of killed writers are removed, other files are not."""
        kept = [tmp_path / name for name in ("a.json", ".a.json.md", ".ab.json.x.part", "a.json.x.part")]
        for file in kept:
            file.write_bytes(b"kept")
        (tmp_path / ".a.json.k3x9.part").write_bytes(b"half")
        remove_partial_files(tmp_path / "a.json")
        assert sorted(tmp_path.iterdir()) == sorted(kept)
