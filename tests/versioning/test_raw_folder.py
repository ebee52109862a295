"""Raw data in a folder, through the commands: imported, grown by a file, fetched, audited, traced and compared."""

import json
import shutil
from pathlib import Path

import pytest
from support.commands import run
from support.scratch_repository import commit

from batchyield.files import md5_of_path
from batchyield.serving.lockfile import read_lock
from batchyield.versioning import git
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.storage import raw_data, raw_folder, remotes
from batchyield.versioning.storage.raw_folder import FILE, FOLDER

DAYS, BATCHES = 4, 349


@pytest.fixture
def days(spoilt, tmp_path):
    """A folder with three days of the sample plant; the fourth is `later.csv` beside it."""
    header, *lines = (spoilt / FILE).read_bytes().splitlines(keepends=True)
    folder = tmp_path / "days"
    folder.mkdir()
    for day in range(DAYS):
        data = header + b"".join(lines[day * BATCHES : (day + 1) * BATCHES])
        (folder / f"2026-11-2{day}.csv").write_bytes(data)
    (folder / "2026-11-23.csv").rename(tmp_path / "later.csv")
    return folder


@pytest.fixture
def batchyield(spoilt):
    def command(*words, cwd=spoilt, check=True):
        return run("batchyield", *words, cwd=cwd, check=check)

    return command


def outs(root):
    return {path: md5 for path, (_, md5) in read_lock(root / LOCK).outs().items()}


@pytest.mark.slow
def test_import_and_growth(spoilt, days, batchyield, tmp_path):
    """A folder replaces the file; a file more is one object and one file to parse; a clone fetches them."""
    before = (spoilt / "dvc.yaml").read_text()
    made = json.loads(batchyield("data", "import", str(days), "--no-repro", "--json").stdout)
    assert made["md5"] == md5_of_path(days) == raw_data.read_pin(spoilt).md5
    assert made["data"]["batches"] == [DAYS * BATCHES, 3 * BATCHES], "compared with the file"
    assert (spoilt / "dvc.yaml").read_text() == before.replace(f"- {FILE}\n", f"- {FOLDER}\n")
    assert not (spoilt / FILE).exists()
    assert not (spoilt / raw_data.PIN).exists()
    commit(spoilt, "a folder")

    shutil.copy(tmp_path / "later.csv", days / "2026-11-23.csv")
    stored = set(Path(spoilt, ".s3").rglob("*"))
    done = batchyield("data", "import", str(days), "--no-repro", "--json")
    assert "4 files, 1 parsed, 3 from" in done.stderr
    made = json.loads(done.stdout)
    assert made["files"] == {"count": 4, "added": ["2026-11-23.csv"], "changed": [], "removed": []}
    new = [path for path in set(Path(spoilt, ".s3").rglob("*")) - stored if path.is_file()]
    assert len(new) == 2, "the file and the list of all"
    commit(spoilt, "a day")

    traced = batchyield("pin", "trace", "HEAD", check=False).stdout
    assert f"from remote://storage, md5 {made['md5']}" in traced, "the lock is older than the pin"
    clone = tmp_path / "clone"
    git.git("clone", "-q", str(spoilt), str(clone), cwd=tmp_path)
    remotes.copy_remotes(spoilt, clone)
    assert "4 of 4 files from the DVC storage" in batchyield("data", "fetch", cwd=clone).stdout
    assert md5_of_path(clone / FOLDER) == made["md5"]
    (clone / FOLDER / "2026-11-22.csv").write_bytes(b"mine")
    assert "no copy of" in batchyield("data", "fetch", cwd=clone, check=False).stderr, "it would be lost"


@pytest.mark.nightly
def test_history_changed(spoilt, days, batchyield):
    """A file that is gone or has other bytes is named; an error leaves everything as it was."""
    batchyield("data", "import", str(days), "--no-repro")
    commit(spoilt, "a folder")
    pin, lines = raw_data.read_pin(spoilt).md5, (days / "2026-11-21.csv").read_bytes().splitlines(keepends=True)
    (days / "2026-11-20.csv").unlink()
    (days / "2026-11-21.csv").write_bytes(b"".join(lines[:-1]))
    (spoilt / "data/broken.dvc").write_text("outs:\n- nonsense: 1\n")  # DVC refuses to work
    done = batchyield("data", "import", str(days), "--no-repro", check=False)
    assert "pin and data/raw/batches are restored\n" in done.stderr
    assert (raw_data.read_pin(spoilt).md5, md5_of_path(spoilt / FOLDER)) == (pin, pin)
    (spoilt / "data/broken.dvc").unlink()
    message = batchyield("data", "import", str(days), "--no-repro").stdout
    assert "files     2, 1 CHANGED: 2026-11-21.csv; 1 REMOVED: 2026-11-20.csv; the history changed" in message
    assert raw_folder.hash_files(spoilt / FOLDER) == raw_folder.hash_files(days)


@pytest.mark.nightly
def test_same_outputs(spoilt, days, batchyield, tmp_path):
    """Grown by a file, the outputs are those of a full rebuild, and the tables those of the one file with all rows."""
    whole = outs(spoilt)
    batchyield("data", "import", str(days))
    commit(spoilt, "a folder")
    shutil.copy(tmp_path / "later.csv", days / "2026-11-23.csv")
    batchyield("data", "import", str(days))
    grown = outs(spoilt)
    assert "up to date" in run("dvc", "status", cwd=spoilt).stdout
    same = [path for path in whole if path.startswith(("data/validated/batches", "data/split", "data/features"))]
    assert len(same) == 5
    assert [path for path in same if grown[path] != whole[path]] == []
    shutil.rmtree(spoilt / ".cache/raw")
    run("dvc", "repro", "--force", cwd=spoilt)
    assert outs(spoilt) == grown
    commit(spoilt, "a day")
    run("dvc", "push", cwd=spoilt)
    assert "outputs are as committed" in batchyield("pin", "verify").stdout
    assert "SOUND" in batchyield("data", "audit").stdout
    traced = batchyield("pin", "trace", "data/model/model.onnx").stdout
    assert f"{FOLDER}  {raw_data.read_pin(spoilt).md5[:8]}" in traced
    assert "BROKEN" not in traced
    assert "Files: 4, 1 added: 2026-11-23.csv." in batchyield("review", "report", "--base", "HEAD~1").stdout
    file = tmp_path / "batches.csv"
    file.write_bytes((days / "2026-11-20.csv").read_bytes())
    made = json.loads(batchyield("data", "import", str(file), "--no-repro", "--force", "--json").stdout)
    assert (raw_data.read_pin(spoilt).md5, (spoilt / FILE).read_bytes()) == (made["md5"], file.read_bytes())
    assert not (spoilt / FOLDER).exists()
    assert f"- {FILE}\n" in (spoilt / "dvc.yaml").read_text()
