"""Whatever the tests start ends with pytest, also when pytest is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.commands import MARK, ROOT
from watchdog import marked

INNER = """
import os, pathlib, subprocess, sys, time
from support.commands import MARK

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

def test_is_interrupted(postgres_server):
    subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
    subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"])
    pathlib.Path("mark").write_text(f"{MARK}={os.environ[MARK]}")
    os.rename("mark", "started")
    time.sleep(600)
"""


def commands_of(mark):
    """The commands of the processes with a mark; one that ends meanwhile has none."""
    found = []
    for pid in marked(mark):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_text())
    return found


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_processes_end_with_pytest(tmp_path, number):
    """A service in a session of its own, one that ignores SIGTERM, a grandchild and a PostgreSQL all end."""
    (tmp_path / "test_inner.py").write_text(INNER)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", str(tmp_path)]
    where = f"{ROOT / 'tests'}{os.pathsep}{ROOT}"
    with (tmp_path / "log").open("wb") as log:
        inner = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": where}, stdout=log, stderr=log)
    wait_for(lambda: (tmp_path / "started").exists() or inner.poll() is not None)
    assert inner.poll() is None, (tmp_path / "log").read_text()
    mark = (tmp_path / "started").read_bytes()
    wait_for(lambda: len([one for one in commands_of(mark) if "sleep" in one]) == 4)  # the shell starts two of them
    assert [one for one in commands_of(mark) if "postgres" in one]
    inner.send_signal(number)
    inner.wait(60)
    wait_for(lambda: not marked(mark))


def test_each_pytest_has_its_own_mark():
    """Two workers of one run do not end each other's processes."""
    assert f"{MARK}={os.environ[MARK]}".encode() not in Path("/proc/self/environ").read_bytes()
