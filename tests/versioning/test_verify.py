"""A rebuild elsewhere says whether a commit's lock can be trusted, and if not, what is to blame."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import run

from batchyield.versioning import git
from batchyield.versioning.provenance.output_diff import OutputVerdict, diff_output

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pinned(quick, tmp_path_factory):
    """A checkout whose rebuild takes seconds."""
    root = tmp_path_factory.mktemp("pinned") / "checkout"
    shutil.copytree(quick, root, symlinks=True)
    return root


def commit(root, message):
    run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", message, cwd=root)


def verified(root, *, code):
    done = run("batchyield", "pin", "verify", "--json", cwd=root, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("inputs that differ from the lock" in done.stderr) == (code == 1), "the JSON usually goes to a file"
    return json.loads(done.stdout)


class TestVerify:
    def test_same(self, pinned):
        """A commit with the right lock gives equal outputs, and the checkout does not change."""
        (pinned / "src/batchyield/modelling/yield_model.py").write_text("broken = in the working tree only")
        (pinned / "data/model/model.onnx").unlink()
        before = run("git", "status", "--porcelain", cwd=pinned).stdout
        found = verified(pinned, code=0)
        assert {finding["verdict"] for finding in found["findings"]} == {"same"}
        assert len(found["findings"]) >= 15
        assert found["causes"] == []
        assert run("git", "status", "--porcelain", cwd=pinned).stdout == before
        run("git", "checkout", "-q", "src", cwd=pinned)

    def test_stale_lock(self, pinned, tmp_path):
        """A lock that was not rebuilt is reported with each changed input."""
        root = tmp_path / "checkout"
        git.git("clone", "-q", str(pinned), str(root), cwd=tmp_path)
        run("cp", str(pinned / ".dvc/config.local"), str(root / ".dvc/config.local"), cwd=root)
        for file, old, new in (
            ("src/batchyield/plant/features/matrix.py", "np.add(steps, DAY_MINUTES,", "np.add(steps, DAY_MINUTES - 1,"),
            ("params.yaml", "level: 0.9", "level: 0.8"),
        ):
            text = (root / file).read_text()
            assert old in text
            (root / file).write_text(text.replace(old, new))
        commit(root, "change two inputs, forget the lock")
        found = verified(root, code=1)
        assert "code: src/batchyield/plant/features (" in found["causes"][0]
        assert "params: intervals.level in params.yaml (0.9 in the lock, 0.8 now)" in found["causes"][1]
        assert "different" in {finding["verdict"] for finding in found["findings"]}

    def test_changed_raw_data(self, pinned, tmp_path):
        """A pin with other bytes fails."""
        root = tmp_path / "checkout"
        git.git("clone", "-q", str(pinned), str(root), cwd=tmp_path)
        run("cp", str(pinned / ".dvc/config.local"), str(root / ".dvc/config.local"), cwd=root)
        pin = root / "data/raw/batches.csv.dvc"
        pin.write_text(pin.read_text().replace("md5: ", "md5: 0", 1).replace("etag: ", "etag: 0"))
        lines = pin.read_text().splitlines()
        lines = [
            f"{line[:-1]}{'0' if line[-1] != '0' else '1'}" if line.startswith("- md5:") else line for line in lines
        ]
        pin.write_text("\n".join(lines) + "\n")
        commit(root, "pin other bytes")
        done = run("batchyield", "pin", "verify", cwd=root, check=False)
        assert done.returncode == 2
        assert "data/raw/batches.csv.dvc" in done.stderr
        assert "Traceback" not in done.stderr

    def test_unknown_revision(self, pinned):
        """An unknown revision is named."""
        done = run("batchyield", "pin", "verify", "--rev", "nowhere", cwd=pinned, check=False)
        assert (done.returncode, "nowhere" in done.stderr) == (2, True)


numbers = st.floats(-10, 10).map(lambda value: round(value, 3))


class TestDiffOutput:
    @given(st.dictionaries(st.text(min_size=1), numbers, min_size=1), st.floats(1e-12, 1e-8), st.floats(1e-3, 1))
    def test_verdict(self, figures, little, much):
        """Differences of rounding are close, larger ones different."""

        def moved(by):
            return json.dumps({name: value + by for name, value in figures.items()}).encode()

        was = moved(0)
        assert diff_output("metrics.json", was, was).verdict is OutputVerdict.SAME
        assert diff_output("metrics.json", was, moved(little)).verdict is OutputVerdict.CLOSE
        assert diff_output("metrics.json", was, moved(much)).verdict is OutputVerdict.DIFFERENT

    def test_description(self):
        """The largest difference is reported with its place."""
        measured = diff_output("points.csv", b"id,yield\na,0.9\nb,0.8\n", b"id,yield\na,0.9\nb,0.7\n")
        assert measured == (OutputVerdict.DIFFERENT, "1 of 4 numbers, at most 0.1 at line 3, column yield")
        assert "of another shape" in diff_output("points.csv", b"id\na\n", b"id\na\nb\n").description
