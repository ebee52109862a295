"""Scoring by Dask workers: real ones, whose bytes are those of this process, whatever becomes of them on the way."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import dask
import msgspec
import pytest
from distributed.security import Security
from support.dask_cluster import client_of, members
from support.service import ROOT, linear_onnx

from batchyield.cli.__main__ import main
from batchyield.errors import BatchyieldError, ServiceError
from batchyield.files import write_atomic
from batchyield.parallel import dask_cluster
from batchyield.parallel.environment import EnvironmentMismatchError
from batchyield.plant.simulator import simulate
from batchyield.scoring.chunks import read_chunks
from batchyield.scoring.dask.score import check_workers, score_on_workers
from batchyield.scoring.dask.worker import describe_environment, open_uploaded, upload_model
from batchyield.scoring.local import score_chunk, with_header
from batchyield.serving.artifact import MODEL, read_pins
from batchyield.versioning.storage.embedded_s3 import free_port

FEW = 40
"""Batches of a part, where a test wants many parts."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The years of two plants: UTF-8 and GB18030, with cells that are repaired."""
    folder = tmp_path_factory.mktemp("history")
    for name, rows, encoding in (("one.csv", 900, "utf-8"), ("two.csv", 700, "gb18030")):
        write_atomic(folder / name, simulate(rows, seed=rows).csv().decode("gb18030").encode(encoding))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def shipped(root):
    return upload_model(root / "data/model", read_pins(root / "dvc.lock", root / "data/model"))


@pytest.fixture(scope="module")
def expected(shipped, files):
    """What this process answers, in parts of any size."""
    predictor = open_uploaded(shipped).predictor
    return b"".join(with_header(score_chunk(predictor, chunk) for chunk in read_chunks(files)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three workers, of which the tests may kill two."""
    with members(tmp_path_factory.mktemp("dask"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def deserted(tmp_path_factory):
    """A scheduler without a worker, for which one death over a part is enough."""
    with members(tmp_path_factory.mktemp("deserted"), 0, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as made:
        yield made


@pytest.fixture(scope="module")
def client(made):
    with client_of(made, 3) as client:
        yield client


def scored(capfdbinary, *arguments):
    code = main(["model", "score", *map(str, arguments)])
    return (code, *(text.decode() for text in capfdbinary.readouterr()))


def score_all(client, shipped, files):
    return b"".join(
        with_header(
            score_on_workers(client, shipped, check_workers(client, shipped).environment, read_chunks(files, FEW))
        )
    )


def test_workers_make_the_bytes_that_this_process_makes(made, client, root, files, expected, tmp_path, capfdbinary):
    out, lock = tmp_path / "scored.csv", root / "dvc.lock"
    assert scored(capfdbinary, *files, "--local", "--lock", lock, "--quiet") == (0, expected.decode(), "")
    code, output, message = scored(
        capfdbinary, *files, "--scheduler", made.address, "--lock", lock, "--out", out, "--json"
    )
    assert code == 0, message
    assert out.read_bytes() == expected
    summary = json.loads(output)
    assert summary.pop("seconds") > 0
    assert summary.pop("workers") == len(client.nthreads())
    assert summary == {
        "batches": 1600,
        "md5": hashlib.md5(expected, usedforsecurity=False).hexdigest(),
        "model": read_pins(lock, root / "data/model")[MODEL],
    }
    assert re.fullmatch(r"\d workers? answers? with model \w{32}\n", message)


def test_the_environment_names_the_scheduler(made, root, files, expected, capfdbinary, monkeypatch):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", made.address)
    code, output, message = scored(capfdbinary, *files, "--lock", root / "dvc.lock", "--quiet")
    assert (code, output, message) == (0, expected.decode(), "")


def test_a_worker_that_is_killed_over_a_part_costs_nothing(made, client, shipped, files, expected):
    with made.worker(client=client):
        made.doomed.touch()
        assert score_all(client, shipped, files) == expected
        assert not made.doomed.exists()
    assert [process.poll() for process in made.processes].count(-signal.SIGKILL) == 1


def folder_of(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != "manifest.json"}


def test_many_files(made, client, root, files, tmp_path, capfdbinary):
    """Workers, one of which is killed over a chunk, make the outputs of one process, and a bad file is set aside."""
    (tmp_path / "bad.csv").write_bytes(files[0].read_bytes() + b"a,b\n")
    given = [tmp_path / "bad.csv", *files, "--lock", root / "dvc.lock", "--quiet", "--format", "parquet"]
    assert scored(capfdbinary, *given, "--local", "--out", f"{tmp_path}/here/")[0] == 1
    with made.worker(client=client):
        made.doomed.touch()
        code, _, message = scored(capfdbinary, *given, "--scheduler", made.address, "--out", f"{tmp_path}/there/")
        assert not made.doomed.exists()
    assert (code, message) == (1, "")
    assert folder_of(tmp_path / "there") == folder_of(tmp_path / "here")
    assert (tmp_path / "there/manifest.json").read_bytes().count(b'"done"') == len(files)


@pytest.mark.nightly
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_many_files_by_local_workers(root, tmp_path, workers, capfdbinary):
    """A million batches in ten files have the same outputs with any number of processes."""
    (tmp_path / "in").mkdir()
    for number in range(10):
        write_atomic(tmp_path / f"in/{number}.csv", simulate(100_000, seed=number).csv())
    given = [tmp_path / "in", "--lock", root / "dvc.lock", "--quiet", "--out"]
    assert scored(capfdbinary, *given, f"{tmp_path}/here/", "--local")[0] == 0
    assert scored(capfdbinary, *given, f"{tmp_path}/there/", "--workers", workers)[0] == 0
    assert folder_of(tmp_path / "there") == folder_of(tmp_path / "here")


def test_a_part_that_kills_every_worker_is_an_error_that_says_so(deserted, shipped, files):
    with client_of(deserted, 0) as client, ThreadPoolExecutor(1) as pool:
        deserted.doomed.touch()
        waiting = pool.submit(
            next, score_on_workers(client, shipped, open_uploaded(shipped).environment, read_chunks(files))
        )
        with deserted.worker() as worker:
            assert worker.wait(timeout=60) == -signal.SIGKILL
        with pytest.raises(ServiceError, match=r"1 workers of tcp://.* died on the same task, the last at tcp://"):
            waiting.result(timeout=60)


@pytest.mark.parametrize(
    ("be", "pattern"),
    [("another", r"numpy 1\.0\.0 and not 2\."), ("without", r"ModuleNotFoundError.*batchyield\.scoring\.dask")],
)
def test_a_worker_that_would_answer_otherwise_is_named_and_gets_no_part(
    made, client, shipped, root, be, pattern, capfdbinary, files
):
    with made.worker(be, client):
        with pytest.raises(EnvironmentMismatchError, match=pattern) as refusal:
            check_workers(client, shipped)
        (address,) = refusal.value.workers
        code, out, message = scored(capfdbinary, *files, "--scheduler", made.address, "--lock", root / "dvc.lock")
    assert (code, out) == (2, "")
    assert f"  {address}: " in message
    assert "(requirements/) of the same commit" in message


def test_a_worker_that_came_after_the_check_is_held_against_the_client_too(client, shipped, files):
    other = msgspec.structs.replace(open_uploaded(shipped).environment, code="0" * 32)
    with pytest.raises(BatchyieldError, match=r"tcp://127\.0\.0\.1:\d+: code \w{32} and not 0{32}"):
        next(score_on_workers(client, shipped, other, read_chunks(files)))


def test_a_defect_in_a_worker_is_an_error_and_no_silence(client, shipped, files, tmp_path):
    shutil.copy(files[0], tmp_path / "defect.csv")
    pattern = r"defect\.csv, a batch after number 0: the worker tcp://.* failed with ZeroDivisionError: a defect"
    with pytest.raises(BatchyieldError, match=pattern):
        score_all(client, shipped, [tmp_path / "defect.csv"])


def test_a_bad_row_is_told_with_its_file_and_line_and_leaves_no_file(made, root, files, tmp_path, capfdbinary):
    content = files[1].read_bytes().splitlines(keepends=True)
    (tmp_path / "bad.csv").write_bytes(b"".join([*content[:600], b"a,b\n", *content[600:]]))
    refusals = []
    for where in (["--local"], ["--scheduler", made.address]):
        out = ["--lock", root / "dvc.lock", "--quiet", "--out", tmp_path / "scored.csv"]
        refusals.append(scored(capfdbinary, files[0], tmp_path / "bad.csv", *where, *out))
    assert refusals[0] == refusals[1]
    assert refusals[0][2] == f"batchyield: {tmp_path}/bad.csv, line 601: expected 44 cells, found 2\n"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_a_model_that_is_not_the_pinned_one_is_opened_nowhere(shipped):
    forged = replace(
        shipped, files=shipped.files | {MODEL: linear_onnx(0.4)}, pins=(*shipped.pins[1:], shipped.pins[0])
    )
    assert "is not the pinned file" in describe_environment(forged).message


def test_where_nobody_is_there_it_is_said_what_to_start(root, files, deserted, capfdbinary, monkeypatch):
    monkeypatch.setattr(dask_cluster, "WORKERS_TIMEOUT_SECONDS", 0.2)
    given = [files[0], "--lock", root / "dvc.lock", "--scheduler"]
    code, out, message = scored(capfdbinary, *given, deserted.address)
    assert (code, out) == (2, "")
    assert message.startswith(f"batchyield: the scheduler {deserted.address} has had no worker for 0.2 seconds\n")
    monkeypatch.setattr(dask_cluster, "CONNECT_TIMEOUT_SECONDS", 0.2)
    address = f"tcp://127.0.0.1:{free_port()}"
    code, out, message = scored(capfdbinary, *given, address)
    assert (code, out) == (2, "")
    assert message.startswith(f"batchyield: no Dask scheduler answers at {address}: ")
    assert "dask scheduler" in message


def test_a_scheduler_that_goes_away_is_an_error_and_no_wait(tmp_path, shipped, files):
    with members(tmp_path, 1) as made, client_of(made, 1) as client:
        lines = score_on_workers(client, shipped, check_workers(client, shipped).environment, read_chunks(files, FEW))
        assert next(lines)
        made.scheduler.kill()
        made.scheduler.wait(timeout=20)
        gone = pytest.raises(
            ServiceError, match=f"lost the connection to the scheduler {made.address}: .*\n.*nothing was written"
        )
        with gone, dask.config.set({"distributed.comm.timeouts.connect": 1}):
            list(lines)


def command(root, *arguments):
    """`batchyield model score` as a process of its own, that takes any warning for an error."""
    return [
        sys.executable,
        "-W",
        "error",
        "-m",
        "batchyield.cli",
        "model",
        "score",
        *map(str, arguments),
        "--lock",
        str(root / "dvc.lock"),
    ]


def test_workers_of_this_machine_make_the_same_bytes_and_leave_nothing_behind(root, files, expected, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command(root, *files, "--workers", "2", "--quiet"), env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == expected
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_all_and_leaves_no_file(root, files, tmp_path):
    """Scores a pipe that never ends; the processes are those of `--workers`."""
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    out.mkdir()
    os.mkfifo(pipe)
    process = subprocess.Popen(
        command(root, pipe, "--workers", "1", "--out", out / "scored.csv"),
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with pipe.open("wb") as never_ending:
        never_ending.write(files[0].read_bytes())
        never_ending.flush()
        assert process.stderr.readline().startswith("1 worker answers with model")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
        _, message = process.communicate(timeout=60)
    assert (process.returncode, message) == (130, "")
    assert list(out.iterdir()) == []
    assert not list(tmp_path.glob("batchyield-dask-*"))


def test_tls_is_spoken_where_it_is_asked_for(root, files, expected, tmp_path, capfdbinary):
    made = Security.temporary()
    written = {}
    for name, text in (("ca", made.tls_ca_file), ("cert", made.tls_client_cert), ("key", made.tls_client_key)):
        written[name] = tmp_path / f"{name}.pem"
        written[name].write_text(text)
    options = ["--tls-ca-file", written["ca"], "--tls-cert", written["cert"], "--tls-key", written["key"]]
    with members(tmp_path, 1, *map(str, options), protocol="tls") as made:
        given = [*files, "--lock", root / "dvc.lock", "--quiet", "--scheduler", made.address]
        tls = [each for name, path in written.items() for each in (f"--tls-{name}", path)]
        assert scored(capfdbinary, *given, *tls) == (0, expected.decode(), "")
        code, out, message = scored(capfdbinary, *given)
    assert (code, out) == (2, "")
    assert "no Dask scheduler answers" in message


def test_what_is_given_wrong_is_refused(files, root, capfdbinary, monkeypatch):
    for wrong, part in (
        (["--local", "--json"], "name a file with --out"),
        (["--workers", "0"], "give 1 or more"),
        (["--url", "http://127.0.0.1:1"], "one file at a time"),
    ):
        code, out, message = scored(capfdbinary, *files, "--lock", root / "dvc.lock", *wrong)
        assert (code, out) == (2, "")
        assert part in message
