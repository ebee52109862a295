"""The whole path through the commands a user types: S3, `dvc repro`, experiments, a service over the result."""

import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.commands import EVALUATED, ROOT, run

from batchyield.client import Client
from batchyield.files import md5_of
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.simulator import DEFAULT_SEED, simulate
from batchyield.serving.lockfile import read_lock
from batchyield.versioning import git, hydra_params
from batchyield.versioning.lock_diff import LOCK, compare_outputs
from batchyield.versioning.storage import demo_remote, embedded_s3, raw_data, remotes

pytestmark = pytest.mark.slow


class TestRebuild:
    def test_committed_bytes(self, rebuilt):
        """A rebuild gives the committed bytes and changes no committed file."""
        rows = compare_outputs(read_lock(ROOT / LOCK), read_lock(rebuilt / LOCK))
        assert len(rows) >= 10
        assert [row for row in rows if not row.same] == []
        assert run("git", "status", "--porcelain", cwd=rebuilt).stdout == "", "a rebuild changes no committed file"

    def test_params_yaml(self):
        """params.yaml equals the composed conf/."""
        hydra_params.check_params(ROOT)

    def test_up_to_date(self, rebuilt):
        """After a rebuild, nothing is left to do."""
        assert "up to date" in run("dvc", "status", cwd=rebuilt).stdout
        assert "Running stage" not in run("dvc", "repro", cwd=rebuilt).stdout

    def test_push_and_pull(self, rebuilt, tmp_path):
        """Another clone pulls the outputs that this one pushed."""
        run("dvc", "push", cwd=rebuilt)
        clone = tmp_path / "clone"
        git.git("clone", "-q", str(rebuilt), str(clone), cwd=tmp_path)
        remotes.copy_remotes(rebuilt, clone)
        run("dvc", "pull", cwd=clone)
        assert "up to date" in run("dvc", "status", cwd=clone).stdout
        for path in read_lock(clone / LOCK).outs():
            assert (clone / path).read_bytes() == (rebuilt / path).read_bytes()

    def test_plots(self, scratch):
        """Every plot is drawn, by a page that loads nothing from other hosts."""
        run("dvc", "plots", "show", "--out", "drawn", cwd=scratch)
        page = (scratch / "drawn" / "index.html").read_text()
        for title in (
            "Predicted against actual",
            "Residuals over the campaign",
            "Feature importance",
            "Partial dependence of the prediction",
        ):
            assert title in page
        assert not re.search(r"""<(script|link|img|iframe)\b[^>]*\b(src|href)\s*=\s*["']?(https?:)?//""", page)

    def test_broken_contract(self, scratch):
        """A broken contract stops the pipeline and names rows and columns."""
        raw_file = scratch / raw_data.DATA
        lines = raw_file.read_bytes().splitlines(keepends=True)
        cells = lines[7].rstrip(b"\n").split(b",")
        cells[-1] = b"9.2"
        lines[7] = b",".join(cells) + b"\n"
        lines.append(lines[3])
        raw_file.unlink()
        raw_file.write_bytes(b"".join(lines))
        before = (scratch / "dvc.lock").read_bytes()
        done = run("dvc", "repro", "--force", "--single-item", "validate", cwd=scratch, check=False)
        message = done.stdout + done.stderr
        assert done.returncode != 0
        assert "Traceback" not in message
        assert "line 8" in message
        assert "yield" in message
        assert lines[3].split(b",")[0].decode() in message, "the id that stands twice"
        assert (scratch / "dvc.lock").read_bytes() == before
        assert "9.2" in (scratch / "data/validated/report.md").read_text()

    def test_changed_source(self, bare_checkout, tmp_path):
        """Raw data other than the pinned ones are rejected; a pinned sample is made by the bare_checkout's own code."""
        clone = tmp_path / "clone"
        git.git("clone", "-q", str(bare_checkout), str(clone), cwd=tmp_path)
        server = remotes.embedded_server(embedded_s3.free_port(), clone)
        with embedded_s3.running(server):
            embedded_s3.put_object(server, raw_data.KEY, b"another file")
            sample = simulate(seed=DEFAULT_SEED + 1).csv()
            pin = (clone / raw_data.PIN).read_text()
            pin = pin.replace(raw_data.parse_pin(pin).md5, md5_of(sample))
            (clone / raw_data.PIN).write_text(pin)
            with pytest.raises(Exception, match="no longer the object"):
                raw_data.fetch(clone)
            assert not (clone / raw_data.DATA).exists()
            code = clone / "src/batchyield/plant/simulator/plant.py"
            code.write_text(code.read_text().replace("DEFAULT_SEED = ", "DEFAULT_SEED = 1 + "))
            assert raw_data.fetch(clone) == "generated: they are the sample plant's"
        assert (clone / raw_data.PIN).read_text() == pin
        assert (clone / raw_data.DATA).read_bytes() == sample


class TestDemo:
    def test_bare_clone(self, quick, tmp_path, monkeypatch, capsys):
        """The demo goes from a bare clone to a service, and stops everything that it started."""
        clone = tmp_path / "clone"
        git.git("clone", "-q", str(quick), str(clone), cwd=tmp_path)
        shutil.copytree(quick / ".dvc/cache", clone / ".dvc/cache")  # the rebuild itself is shown by other tests
        port, s3_port = embedded_s3.free_port(), embedded_s3.free_port()
        with (tmp_path / "log").open("wb") as log:
            command = ("batchyield", "data", "demo", "--port", str(port), "--s3-port", str(s3_port))
            demo = subprocess.Popen(
                [Path(sys.executable).parent / command[0], *command[1:]], cwd=clone, stdout=log, stderr=log
            )
        try:
            wait_until_ready(port)
            deadline = time.monotonic() + 120
            while "with bias update" not in (tmp_path / "log").read_text():
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.1)
            with Client(f"http://127.0.0.1:{port}") as client:
                assert client.predict_one({"id": "sample_2000"}).bias.batches > 0
            monkeypatch.chdir(clone)
            demo_remote.report_measured(f"http://127.0.0.1:{port}")
            assert capsys.readouterr().out == "", "a second start reports nothing again"
            demo.terminate()
            assert demo.wait(60) == 0, "SIGTERM ends it with exit code 0"
        finally:
            demo.kill()
            demo.wait()
        message = (tmp_path / "log").read_text()
        assert "outputs are the committed bytes" in message
        assert message.count("  same") == len(read_lock(clone / LOCK).outs())
        for held in (port, s3_port):
            with pytest.raises(urllib.error.URLError, match="refused"):
                urllib.request.urlopen(f"http://127.0.0.1:{held}/health/live")

    @pytest.mark.real_data
    def test_real_plant(self, real_data, tmp_path):
        """The real plant's data run through, and the committed lock does not change."""
        lock = (ROOT / LOCK).read_bytes()
        train = real_data / "jinnan_round1_train_20181227.csv"
        target = tmp_path / "rebuild"
        port = str(embedded_s3.free_port())
        choices = (*EVALUATED, "model=line_trees", "model.extra_trees.n_estimators=10")
        command = ("batchyield", "data", "rebuild", str(train), *choices, "--into", str(target), "--s3-port", port)
        done = run(*command, cwd=ROOT)
        assert "data/metrics/test.json" in done.stdout
        assert (ROOT / LOCK).read_bytes() == lock
        sent = read_sheet((real_data / "jinnan_round1_testA_20181227.csv").read_bytes())
        answered = answers_over_http(target, (real_data / "jinnan_round1_testA_20181227.csv").read_bytes())
        assert answered[0] == "id,yield,lower,upper"
        assert [line.split(",")[0] for line in answered[1:]] == [batch.id for batch in sent.batches]
        for line in answered[1:]:
            _, value, lower, upper = line.split(",")
            assert float(lower) <= float(value) <= float(upper)
        shutil.rmtree(target)


def wait_until_ready(port):
    for _ in range(1200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready").close()
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError


def answers_over_http(root, sheet):
    """Starts the real service in `root`, sends it a CSV, and returns the lines it answers."""
    port = embedded_s3.free_port()
    service = subprocess.Popen([sys.executable, "-m", "api", "--port", str(port)], cwd=root)
    try:
        wait_until_ready(port)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/predictions/csv", sheet, {"Content-Type": "text/csv"}
        )
        with urllib.request.urlopen(request) as answer:
            return answer.read().decode().splitlines()
    finally:
        service.terminate()
        service.wait()
