"""Scoring of many files: one output each, resumed after a kill, on this machine and on S3."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.own_bucket import BUCKET, own_s3
from support.service import ROOT

from batchyield.cli.__main__ import main
from batchyield.files import PARTIAL_SUFFIX
from batchyield.plant.simulator import simulate
from batchyield.scoring.chunks import read_chunks
from batchyield.scoring.local import score_chunk, with_header
from batchyield.serving.artifact import open_artifact, read_pins
from batchyield.versioning.storage.embedded_s3 import client as s3_client

START_SECONDS = 60
NAMES = ["2023/one.csv", "2023/two.csv", "three.csv"]


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Three sheets in two folders."""
    folder = tmp_path_factory.mktemp("history")
    (folder / "2023").mkdir()
    for rows, name in enumerate(NAMES, 1):
        (folder / name).write_bytes(simulate(100 * rows, seed=rows).csv())
    return folder


@pytest.fixture(scope="module")
def expected(root, history):
    """Output name -> content."""
    predictor = open_artifact(root / "data/model", read_pins(root / "dvc.lock", root / "data/model")).predictor
    return {
        name: b"".join(with_header(score_chunk(predictor, chunk) for chunk in read_chunks([history / name])))
        for name in NAMES
    }


def score(root, capfd, *arguments):
    """Score with a lock: exit code, summary and message."""
    code = main(["model", "score", *map(str, arguments), "--lock", str(root / "dvc.lock"), "--json", "--quiet"])
    output, message = capfd.readouterr()
    return code, json.loads(output) if output else None, message


def command(root, *arguments):
    options = ["--lock", str(root / "dvc.lock"), "--quiet"]
    return [sys.executable, "-W", "error", "-m", "batchyield.cli", "model", "score", *map(str, arguments), *options]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wait_for(condition, process):
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert process.poll() is None, "the run ended"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_bytes())


class TestFolder:
    def test_outputs(self, root, history, expected, tmp_path, capfd):
        """Each file gets its output in the same place, and the manifest has pin, md5s, sizes and rows."""
        code, summary, _ = score(root, capfd, history, "--local", "--out", f"{tmp_path}/")
        found = contents(tmp_path)
        manifest = json.loads(found.pop("manifest.json"))
        assert code == 0
        assert found == expected
        assert (summary["done"], summary["skipped"], summary["failed"], summary["batches"]) == (3, 0, [], 600)
        assert manifest["model"] == summary["model"]
        assert [Path(record["output"]).name for record in manifest["files"]] == ["one.csv", "two.csv", "three.csv"]
        assert [record["rows"] for record in manifest["files"]] == [100, 200, 300]
        assert [record["input_bytes"] for record in manifest["files"]] == [(history / n).stat().st_size for n in NAMES]

    def test_pattern(self, root, history, expected, tmp_path, capfd):
        """A pattern names files, whose outputs are placed relative to its first wildcard."""
        code, _, _ = score(root, capfd, f"{history}/*/t*.csv", "--local", "--out", f"{tmp_path}/")
        assert code == 0
        assert contents(tmp_path).keys() == {"2023/two.csv", "manifest.json"}

    def test_again(self, root, history, tmp_path, capfd):
        """Files that are done are left alone; a changed input or a missing output is scored again."""
        inputs, out = tmp_path / "in", tmp_path / "in" / "scored"
        shutil.copytree(history, inputs)
        out.mkdir()
        assert score(root, capfd, inputs, "--local", "--out", out)[1]["done"] == 3
        assert score(root, capfd, inputs, "--local", "--out", out)[1]["skipped"] == 3
        (inputs / "three.csv").write_bytes((history / "2023/one.csv").read_bytes())
        (out / "2023/two.csv").unlink()
        _, summary, _ = score(root, capfd, inputs, "--local", "--out", out)
        assert (summary["done"], summary["skipped"], summary["batches"]) == (2, 1, 300)
        assert (out / "three.csv").read_bytes() == (out / "2023/one.csv").read_bytes()

    def test_other_model(self, root, history, tmp_path, capfd):
        """Outputs of another model are made again."""
        other = tmp_path / "model"
        shutil.copytree(root, other, symlinks=True)
        assert score(root, capfd, history, "--local", "--out", f"{tmp_path}/out/")[1]["done"] == 3
        manifest = manifest_of(tmp_path / "out")
        manifest["model"] = "0" * 32
        (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
        assert score(root, capfd, history, "--local", "--out", f"{tmp_path}/out/")[1]["done"] == 3

    def test_bad_file(self, root, history, expected, tmp_path, capfd):
        """A bad file is named and set aside, the others are scored, and the exit code is 1."""
        inputs, out = tmp_path / "in", tmp_path / "out"
        shutil.copytree(history, inputs)
        assert score(root, capfd, inputs, "--local", "--out", f"{out}/")[0] == 0
        (inputs / "2023/two.csv").write_bytes((history / "2023/two.csv").read_bytes() + b"a,b\n")
        (inputs / "bad.parquet").write_bytes(b"PAR1")
        code, summary, _ = score(root, capfd, inputs, "--local", "--out", f"{out}/")
        assert code == 1
        assert (summary["done"], summary["skipped"]) == (0, 2)
        problems = [record["problem"] for record in summary["failed"]]
        assert problems[0] == f"{inputs}/2023/two.csv, line 202: expected 44 cells, found 2"
        assert problems[1].startswith(f"{inputs}/bad.parquet, file: cannot be read as Parquet")
        assert contents(out).keys() == {"2023/one.csv", "three.csv", "manifest.json"}
        assert [record["status"] for record in manifest_of(out)["files"]] == ["done", "failed", "failed", "done"]

    def test_parquet(self, root, history, expected, tmp_path, capfd):
        """Outputs in Parquet have the predictions of the CSV, and the same bytes each time."""
        for name in ("first", "second"):
            code, _, _ = score(root, capfd, history, "--local", "--format", "parquet", "--out", f"{tmp_path}/{name}/")
            assert code == 0
        first, second = contents(tmp_path / "first"), contents(tmp_path / "second")
        assert {n: c for n, c in first.items() if n != "manifest.json"} == {
            n: c for n, c in second.items() if n != "manifest.json"
        }
        table = pq.read_table(tmp_path / "first/three.parquet")
        lines = [f"{n},{a!r},{b!r},{c!r}" for n, a, b, c in zip(*table.to_pydict().values(), strict=True)]
        assert lines == expected["three.csv"].decode().splitlines()[1:]
        again = tmp_path / "one.parquet"
        code, summary, _ = score(root, capfd, history / "three.csv", "--local", "--out", again)
        assert (code, summary["batches"]) == (0, 300)
        assert again.read_bytes() == first["three.parquet"]

    def test_killed(self, root, history, expected, tmp_path, capfd):
        """After a kill in the middle of a file, the same command does the rest, and nothing twice."""
        inputs, out = tmp_path / "in", tmp_path / "out"
        shutil.copytree(history, inputs)
        pipe = inputs / "2023/two.csv"
        pipe.unlink()
        os.mkfifo(pipe)
        names = [inputs / name for name in NAMES]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        process = subprocess.Popen(command(root, *names, "--local", "--out", f"{out}/"), env=environment)
        with pipe.open("wb") as file:
            header, *lines = (history / NAMES[1]).read_bytes().splitlines(keepends=True)
            file.write(header + b"".join(lines) * 200)  # more than a chunk
            file.flush()
            wait_for(lambda: any(part.stat().st_size > 1000 for part in out.glob(f".*{PARTIAL_SUFFIX}")), process)
            process.kill()
            process.wait()
        assert [record["status"] for record in manifest_of(out)["files"]] == ["done"]
        first = (out / "one.csv").stat().st_ino
        pipe.unlink()
        shutil.copy(history / NAMES[1], pipe)
        assert score(root, capfd, *names, "--local", "--out", f"{out}/")[1]["done"] == 2
        found = contents(out)
        assert [record["rows"] for record in json.loads(found.pop("manifest.json"))["files"]] == [100, 200, 300]
        assert found == {Path(name).name: content for name, content in expected.items()}
        assert (out / "one.csv").stat().st_ino == first

    def test_names(self, root, history, expected, tmp_path, capfd):
        """Names that are no text are recorded with escapes, and found again."""
        inputs = tmp_path / "in"
        inputs.mkdir()
        shutil.copy(history / "three.csv", inputs / os.fsdecode(b"\xff [1] \xe6\xa0\xb7.csv"))
        for counts in ([1, 0], [0, 1]):
            code, summary, _ = score(root, capfd, inputs, "--local", "--out", f"{tmp_path}/out/")
            assert (code, [summary["done"], summary["skipped"]]) == (0, counts)
        assert manifest_of(tmp_path / "out")["files"][0]["input"] == f"{inputs}/\\xff [1] 样.csv"

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["nothing*.csv", "--local", "--out", "out/"], "nothing*.csv matches no file"),
            (["three.csv", "--local", "--out", "./"], "three.csv has only files of ./, where the outputs go"),
            (["three.csv", "--out", "out/"], "a service scores one file at a time"),
            (["three.csv", "three.parquet", "--local", "--out", "out/"], "would both become out/three.csv"),
            (["three.csv", "--local", "--format", "parquet"], "standard output takes CSV only"),
            (["three.csv", "--local", "--out", "gs://bucket/x.csv"], "gs://bucket/x.csv is neither a path nor on S3"),
            (["three.parquet", "--url", "http://127.0.0.1:1"], "a service takes and returns CSV"),
            (["three.csv", "--local", "--out", "strange/"], "is not the manifest of an earlier run"),
        ],
    )
    def test_refused(self, root, history, tmp_path, capfd, monkeypatch, arguments, problem):
        """What cannot be done is refused with exit code 2 and the remedy, before anything is written."""
        monkeypatch.chdir(tmp_path)
        shutil.copy(history / "three.csv", tmp_path)
        (tmp_path / "three.parquet").touch()
        (tmp_path / "strange").mkdir()
        (tmp_path / "strange/manifest.json").write_text('{"files": 1}')
        assert main(["model", "score", *arguments, "--lock", str(root / "dvc.lock")]) == 2
        assert problem in capfd.readouterr().err


@pytest.fixture(scope="module")
def bucket(tmp_path_factory, history):
    """A real S3 server with the sheets under `in/`."""
    with own_s3(tmp_path_factory.mktemp("s3")) as server:
        client = s3_client(server)
        for name in NAMES:
            client.put_object(Bucket=BUCKET, Key=f"in/{name}", Body=(history / name).read_bytes())
        yield server


@pytest.fixture
def s3_environment(bucket, monkeypatch):
    given = {"AWS_ACCESS_KEY_ID": bucket.key, "AWS_SECRET_ACCESS_KEY": bucket.secret, "AWS_ENDPOINT_URL": bucket.url}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return os.environ | {"PYTHONPATH": str(ROOT / "src")}


def objects(server, prefix):
    client = s3_client(server)
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())
    keys = [item["Key"] for item in listed]
    return {key.removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


class TestS3:
    def test_killed(self, root, bucket, s3_environment, expected, capfd):
        """Objects are scored to objects; after a kill the same command does the rest."""
        arguments = [f"s3://{BUCKET}/in/", "--local", "--out", f"s3://{BUCKET}/out/"]
        process = subprocess.Popen(command(root, *arguments), env=s3_environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while "manifest.json" not in objects(bucket, "out/"):
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
        process.wait()
        code, summary, message = score(root, capfd, *arguments)
        assert (code, message) == (0, "")
        found = objects(bucket, "out/")
        manifest = json.loads(found.pop("manifest.json"))
        assert found == expected
        assert summary["skipped"] >= 1
        assert summary["skipped"] + summary["done"] == len(manifest["files"]) == 3
        assert "ETag" in manifest["files"][0]["identity"]

    def test_one_output(self, root, bucket, s3_environment, expected, capfd):
        """A pattern of objects becomes one object, also as Parquet; an object goes to standard output."""
        table = f"s3://{BUCKET}/one/three.parquet"
        code, summary, message = score(root, capfd, f"s3://{BUCKET}/in/three*", "--local", "--out", table)
        assert (code, message) == (0, "")
        assert summary["batches"] == pq.read_table(BytesIO(objects(bucket, "one/")["three.parquet"])).num_rows == 300
        lock = ("--lock", str(root / "dvc.lock"))
        assert main(["model", "score", f"s3://{BUCKET}/in/three.csv", "--local", *lock]) == 0
        assert capfd.readouterr().out.encode() == expected["three.csv"]

    @pytest.mark.parametrize("url", [f"s3://{BUCKET}/none.csv", "s3://nowhere/none.csv"])
    def test_missing(self, root, bucket, s3_environment, capfd, url):
        """A missing object or bucket is refused with its URL."""
        code, _, message = score(root, capfd, url, "--local", "--out", "x.csv")
        assert (code, message.splitlines()[0]) == (2, f"batchyield: {url} does not exist")
