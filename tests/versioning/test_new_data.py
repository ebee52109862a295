"""New raw data through the command: judged before anything is touched, pinned and kept, or everything put back."""

import json
import random
import re
import shutil
import urllib.request

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from support.commands import run

from batchyield.files import md5_of
from batchyield.monitoring.drift_window import MIN_WINDOW_BATCHES
from batchyield.plant.batch import ENCODING
from batchyield.plant.contract import check_contract, render_report
from batchyield.plant.contract_params import ContractParams
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.raw_table import to_table
from batchyield.plant.simulator import simulate
from batchyield.versioning import git
from batchyield.versioning.dataset_diff import diff_datasets, render
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.storage import content_store, embedded_s3, raw_data, remotes
from batchyield.versioning.storage.audit import audit

FILE = simulate(rows=400).csv().decode(ENCODING).encode()


def moved(data):
    """The file without its last batch, with one of another name, another yield, and hotter ever since."""
    lines = data.decode(read_sheet(data).encoding).splitlines()
    header = lines[0].split(",")
    rows = [line.split(",") for line in lines[1:-1]]
    rows.append(["sample_9999", *rows[5][1:]])
    rows[3][-1] = "0.777"
    for row in rows:
        at = header.index("A10")
        row[at] = str(float(row[at]) + 1) if row[at] else ""
    return "\n".join([lines[0], *map(",".join, rows)]).encode() + b"\n"


class TestDiffDatasets:
    def test_batches_and_columns(self):
        """Added, removed and changed batches and the largest shift are named."""
        made = diff_datasets(FILE, moved(FILE))
        first, last = FILE.decode().splitlines()[4].split(",")[0], FILE.decode().splitlines()[-1].split(",")[0]
        assert (made.batches, made.added, made.removed) == ((400, 400), ("sample_9999",), (last,))
        assert ("A10", "yield") in [row.columns for row in made.changed if row.id == first]
        assert made.shifts[0].reading == "A10"
        assert made.shifts[0].mean[1] - made.shifts[0].mean[0] == pytest.approx(1, abs=0.05)
        message = "\n".join(render(made))
        assert "added   1: sample_9999" in message
        assert "most moved first" in message
        assert "drift     of all 400 batches:" in message

    def test_drift_of_added_batches(self):
        """Drift is that of the added batches if there are enough of them."""
        header, *lines = FILE.decode().splitlines()
        at = header.split(",").index("A10")
        later = [line.split(",") for line in lines[-MIN_WINDOW_BATCHES:]]
        hotter = [
            [f"sample_{9000 + n}", *row[1:at], f"{float(row[at] or 80) + 9:g}", *row[at + 1 :]]
            for n, row in enumerate(later)
        ]
        for rows, which in (
            (hotter, f"the {MIN_WINDOW_BATCHES} added"),
            (hotter[1:], f"all {399 + MIN_WINDOW_BATCHES}"),
        ):
            made = diff_datasets(FILE, "\n".join([header, *lines, *map(",".join, rows)]).encode())
            assert "A10" in made.drift.drifted
            assert f"drift     of {which} batches: {len(made.drift.drifted)}: A10" in "\n".join(render(made))

    def test_repeated_ids(self):
        """A batch that has the id of another one is counted as added."""
        lines = FILE.splitlines(keepends=True)
        made = diff_datasets(FILE, b"".join([*lines, *lines[1 : 1 + MIN_WINDOW_BATCHES]]))
        first = lines[1].split(b",")[0].decode()
        assert (made.batches[1] - made.batches[0], len(made.added)) == (MIN_WINDOW_BATCHES, MIN_WINDOW_BATCHES)
        assert made.added[0] == f"{first} (2)"
        assert (made.removed, made.changed) == ((), ())

    def test_dirty_cells(self):
        """Cells that are not clean are counted as in the report of the contract; clocks are shown as times."""
        rows = [line.split(",") for line in FILE.decode().splitlines()]
        at = rows[0].index("A24")
        for row in rows[1:]:
            row[at] = "25:99:00" if row is rows[1] else "23:30:00"
        spoilt = "\n".join(map(",".join, rows)).encode()
        made, table = diff_datasets(FILE, spoilt), to_table(read_sheet(spoilt))
        report = render_report(check_contract(table, ContractParams()), table)
        assert f"cells not clean: {made.dirty[1]} in" in report
        assert f"rows, {made.unreadable[1]} of them unreadable" in report
        message = "\n".join(render(made))
        assert f"cells     not clean {made.dirty[0]} -> {made.dirty[1]}" in message
        assert re.search(r"A24 .* mean \d\d?:\d\d(:\d\d)? -> 23:30", message)

    @settings(max_examples=20)
    @given(st.randoms(use_true_random=False))
    def test_row_order(self, rng: random.Random):
        """The order of rows is not a difference."""
        header, *lines = FILE.decode().splitlines()
        lines = lines[:40]
        shuffled = rng.sample(lines, len(lines))
        made = diff_datasets("\n".join([header, *lines]).encode(), "\n".join([header, *shuffled]).encode())
        assert (made.added, made.removed, made.changed) == ((), (), ())
        assert {shift.moved for shift in made.shifts} == {0.0}

    def test_missing_column(self):
        """A column that becomes missing and a changed header are reported."""
        header, *lines = FILE.decode().splitlines()
        at = header.split(",").index("A2")
        rows = [line.split(",") for line in lines]
        emptied = "\n".join([header, *(",".join([*row[:at], "", *row[at + 1 :]]) for row in rows)]).encode()
        shift = next(each for each in diff_datasets(FILE, emptied).shifts if each.reading == "A2")
        assert shift.missing[1] == 1
        assert shift.mean[1] is None
        assert shift.moved == pytest.approx(1 - shift.missing[0])
        turned = "\n".join(",".join(reversed(line.split(","))) for line in [header, *lines]).encode()
        made = diff_datasets(FILE, turned)
        assert made.columns[1] == tuple(reversed(made.columns[0]))
        assert made.changed == ()
        assert made.describe_columns() == "the same columns in another order"

    def test_changed_schema(self):
        """A file of another schema is compared in the columns that both have; the others are named."""
        header, *lines = FILE.decode().splitlines()
        rows = [line.split(",") for line in lines]
        at = header.split(",").index("A10")
        names = header.split(",")
        past = [[*row[:at], "7", *row[at + 1 :]] for row in [[*names[:at], "C9", *names[at + 1 :]], *rows][1:]]
        older = "\n".join([",".join([*names[:at], "C9", *names[at + 1 :]]), *map(",".join, past)]).encode()
        made = diff_datasets(older, FILE)
        assert (made.changed, made.drift.drifted) == ((), ())
        assert made.shifts[0].reading == "A10"
        assert made.shifts[0].missing[0] == 1
        assert "schema    UTF-8, columns added A10; removed C9" in render(made)
        assert diff_datasets(FILE, older).drift.drifted == ("A10",)


def state(root, client):
    """All that a command may leave changed: pin, file, lock, metrics, and the bucket."""
    kept = {path: (root / path).read_bytes() for path in (raw_data.PIN, raw_data.DATA, LOCK)}
    return kept, client.get_object(Bucket=embedded_s3.BUCKET, Key=raw_data.KEY)["Body"].read()


@pytest.fixture
def versions(quick, tmp_path):
    """A quick checkout over an S3 that keeps versions; yields the checkout and its client."""
    root = tmp_path / "checkout"
    shutil.copytree(quick, root, symlinks=True, ignore=shutil.ignore_patterns("config.local"))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = f"http://localhost:{server.get_host_and_port()[1]}"
        urllib.request.urlopen(f"{endpoint}/moto-api/reset", b"").close()
        keys = f"    endpointurl = {endpoint}\n    access_key_id = plant\n    secret_access_key = sesame\n"
        lines = [f"['remote \"{name}\"']\n{keys}    region = us-east-1\n" for name in remotes.REMOTES]
        (root / ".dvc/config.local").write_text("".join(lines))
        client = remotes.s3_client("source", root).client
        client.create_bucket(Bucket=embedded_s3.BUCKET)
        client.put_bucket_versioning(Bucket=embedded_s3.BUCKET, VersioningConfiguration={"Status": "Enabled"})
        client.put_object(Bucket=embedded_s3.BUCKET, Key=raw_data.KEY, Body=(root / raw_data.DATA).read_bytes())
        yield root, client
    finally:
        server.stop()


class TestImport:
    @pytest.mark.slow
    def test_pinned_and_compared(self, spoilt, tmp_path):
        """An import pins, mirrors, rebuilds and compares."""
        old = (spoilt / raw_data.DATA).read_bytes()
        file = tmp_path / "new.csv"
        file.write_bytes(moved(old))
        made = json.loads(run("batchyield", "data", "import", str(file), "--json", cwd=spoilt).stdout)
        assert (made["md5"], made["replaced"]) == (md5_of(file.read_bytes()), md5_of(old))
        assert raw_data.read_pin(spoilt).md5 == made["md5"]
        assert made["data"]["shifts"][0]["reading"] == "A10"
        assert made["data"]["added"] == ["sample_9999"]
        assert {figure["metric"] for figure in made["metrics"]} >= {"test.score", "test.r2"}
        assert all(figure["before"] != figure["after"] for figure in made["metrics"])
        assert made["next"][0].startswith("git add")
        assert "up to date" in run("dvc", "status", cwd=spoilt).stdout
        for data in (old, file.read_bytes()):
            assert content_store.read_stored(spoilt, md5_of(data), raw_data.KEY) == data, (
                "the old file is kept before it is overwritten"
            )
        again = run("batchyield", "data", "import", str(file), cwd=spoilt)
        assert "has these bytes already" in again.stderr, "the same file again changes nothing"
        assert "most moved first" in again.stdout, "and is still compared with the commit"
        run("git", "checkout", str(raw_data.PIN), cwd=spoilt)
        run("batchyield", "data", "fetch", cwd=spoilt)
        assert (spoilt / raw_data.DATA).read_bytes() == old, "restored"

    @pytest.mark.slow
    def test_rejected_before_changes(self, spoilt, tmp_path):
        """A broken contract, or bytes that would be lost, reject the file before any change."""
        client = remotes.s3_client("source", spoilt).client
        before = state(spoilt, client)
        lines = before[1].splitlines(keepends=True)
        file = tmp_path / "new.csv"
        file.write_bytes(b"".join([*lines[:3], lines[3].rpartition(b",")[0] + b",9.2\n", *lines[4:], lines[5]]))
        done = run("batchyield", "data", "import", str(file), cwd=spoilt, check=False)
        assert done.returncode == 2
        assert f"{file} breaks the data contract" in done.stderr
        assert "line 4" in done.stderr
        assert "column yield" in done.stderr
        assert "comes more than once" in done.stderr
        assert (spoilt / ".cache/new-data/report.md").is_file()
        file.write_bytes(b"id,yield\na,0.9\n")
        done = run("batchyield", "data", "import", str(file), cwd=spoilt, check=False)
        assert "line 1" in done.stderr
        assert "missing column" in done.stderr
        assert state(spoilt, client) == before
        assert run("git", "status", "--porcelain", cwd=spoilt).stdout == ""

        client.put_object(Bucket=embedded_s3.BUCKET, Key=raw_data.KEY, Body=b"nobody pinned this")
        file.write_bytes(moved(before[1]))
        done = run("batchyield", "data", "import", str(file), "--no-repro", cwd=spoilt, check=False)
        assert done.returncode == 2
        assert "would be lost" in done.stderr
        assert "--force" in done.stderr
        assert state(spoilt, client) == (before[0], b"nobody pinned this")
        done = run("batchyield", "data", "import", str(file), "--version-aware", cwd=spoilt, check=False)
        assert "no version can be pinned" in done.stderr
        run("batchyield", "data", "import", str(file), "--no-repro", "--force", cwd=spoilt)
        assert client.get_object(Bucket=embedded_s3.BUCKET, Key=raw_data.KEY)["Body"].read() == file.read_bytes()
        run("git", "checkout", str(raw_data.PIN), cwd=spoilt)
        run(
            "batchyield", "data", "import", str(file), "--no-repro", cwd=spoilt
        )  # as after a run that was killed before it pinned
        assert raw_data.read_pin(spoilt).md5 == md5_of(file.read_bytes())

    @pytest.mark.slow
    def test_restored_after_failure(self, spoilt, tmp_path):
        """A failing storage overwrites nothing; a failing pin restores everything."""
        client = remotes.s3_client("source", spoilt).client
        before = state(spoilt, client)
        file = tmp_path / "new.csv"
        file.write_bytes(moved(before[1]))
        config = spoilt / ".dvc/config"
        text = config.read_text()
        config.write_text(text.replace("s3://batchyield/dvc", "s3://nowhere/dvc"))
        done = run("batchyield", "data", "import", str(file), "--no-repro", cwd=spoilt, check=False)
        assert done.returncode == 2
        assert "storage" in done.stderr
        assert state(spoilt, client) == before
        config.write_text(text)
        (spoilt / "data/broken.dvc").write_text(
            "outs:\n- nonsense: 1\n"
        )  # DVC refuses to work; our own parts do not look
        done = run("batchyield", "data", "import", str(file), "--no-repro", cwd=spoilt, check=False)
        assert done.returncode == 2
        assert "broken.dvc" in done.stderr
        assert "are restored" in done.stderr
        assert state(spoilt, client) == before

    @pytest.mark.slow
    def test_mirror_of_pinned_version(self, versions, tmp_path):
        """The mirror of a pin by version remains when the version is deleted."""
        root, client = versions
        file = tmp_path / "new.csv"
        file.write_bytes(moved((root / raw_data.DATA).read_bytes()))
        made = json.loads(
            run("batchyield", "data", "import", str(file), "--version-aware", "--no-repro", "--json", cwd=root).stdout
        )
        pin = raw_data.read_pin(root)
        assert pin.deps[0].version_id == made["version"]
        assert "push: false" in (root / raw_data.PIN).read_text(), "DVC itself would keep no copy"
        assert raw_data.DATA.name not in run("dvc", "status", str(raw_data.PIN), cwd=root).stdout
        run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "new data", cwd=root)
        client.delete_object(Bucket=embedded_s3.BUCKET, Key=raw_data.KEY, VersionId=made["version"])
        clone = tmp_path / "clone"
        git.git("clone", "-q", str(root), str(clone), cwd=tmp_path)
        remotes.copy_remotes(root, clone)
        assert run("dvc", "pull", str(raw_data.PIN), cwd=clone, check=False).returncode != 0, (
            "DVC alone cannot fetch it"
        )
        assert "from the DVC storage" in run("batchyield", "data", "fetch", cwd=clone).stdout
        assert (clone / raw_data.DATA).read_bytes() == file.read_bytes()
        assert "changed outs" not in run("dvc", "status", str(raw_data.PIN), cwd=clone).stdout
        found = audit(clone)
        assert made["version"] in found.problems[0]
        assert "mirror in our storage is intact" in found.problems[0]
        client.delete_object(Bucket=embedded_s3.BUCKET, Key=made["mirror"])
        assert "`batchyield data mirror`" in " ".join(audit(clone).problems)
        run("batchyield", "data", "mirror", cwd=clone)
        assert content_store.read_stored(clone, made["md5"], raw_data.KEY) == file.read_bytes()
