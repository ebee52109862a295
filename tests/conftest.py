"""What the whole-path tests share: a real S3 server and one rebuilt workspace a session."""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import hypothesis
import pytest
from journal_fixtures import postgres

from batchyield import s3
from batchyield.files import exclusively
from batchyield.pins import params, raw, remotes, workspace
from batchyield.pins.compare import LOCK
from batchyield.pins.demo import seed

ROOT = Path(__file__).parents[1]

hypothesis.settings.register_profile("suite", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("suite")

MARK = "TESTS_OF"
"""Environment variable that all processes of one pytest run share; watchdog.py finds them by it."""


def watched():
    """Start watchdog.py; return the open end of its pipe, whose closing, by the end of this process, sets it going."""
    os.environ.pop(MARK, None)  # of a pytest above this one, whose own watchdog must not end ours
    mark = uuid.uuid4().hex
    heard, held = os.pipe()
    command = [sys.executable, "-IS", Path(__file__).with_name("watchdog.py"), f"{MARK}={mark}"]
    watchdog = subprocess.Popen(command, stdin=heard, start_new_session=True)
    watchdog.returncode = 0  # it outlives this process on purpose, and Popen would warn of a child left behind
    os.close(heard)
    os.environ[MARK] = mark
    return held


HELD = watched()

EVALUATED = ["evaluation=quick", "evaluation.folds=2", "evaluation.repeats=2", "evaluation.bootstrap=50"]
QUICK = [*EVALUATED, "model=ridge"]
"""What makes a rebuild take seconds."""


def run(*command, cwd, check=True, **environment):
    """Runs a command as a user would in an activated environment; returns the completed process, output as text."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True, timeout=540
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def real_data():
    folder = os.environ.get("BATCHYIELD_REAL_DATA")
    if not folder:
        pytest.skip("real plant data: set BATCHYIELD_REAL_DATA to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres_server():
    """A real PostgreSQL; whoever stops it starts it again."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A copy of this working tree as a repository of its own, its bucket served and seeded, nothing built."""
    root = workspace.copy(ROOT, tmp_path_factory.mktemp("checkout"))
    with s3.running(remotes.embedded(s3.free_port(), root)) as server:
        seed(server)
        yield root


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """Makes a folder once for all the workers of a run: the first that asks makes it, and others wait and take it."""
    own = tmp_path_factory.getbasetemp()
    shared = (own if worker_id == "master" else own.parent) / "once"

    def made(name, make):
        lock, folder, aside = (shared / f"{name}{suffix}" for suffix in (".lock", "", ".part"))
        lock.mkdir(parents=True, exist_ok=True)
        with exclusively(lock):
            if not folder.exists():
                shutil.rmtree(aside, ignore_errors=True)
                make(aside)
                aside.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def rebuilt(checkout, once):
    """The same, with the raw data brought and everything rebuilt from it by `dvc repro`."""

    def make(folder):
        raw.fetch(checkout)
        run("dvc", "repro", cwd=checkout)
        folder.mkdir()
        shutil.copytree(checkout / "data", folder / "data", symlinks=True)
        shutil.copytree(checkout / ".dvc/cache", folder / ".dvc/cache", symlinks=True)
        shutil.copy2(checkout / LOCK, folder)

    found = once("rebuilt", make)
    if not (checkout / raw.DATA).exists():
        shutil.copytree(found, checkout, symlinks=True, dirs_exist_ok=True)
    return checkout


@pytest.fixture
def scratch(rebuilt, tmp_path):
    """A rebuilt checkout to spoil: the bucket stays that of `rebuilt`."""
    root = tmp_path / "scratch"
    shutil.copytree(rebuilt, root, ignore=shutil.ignore_patterns(".s3"), symlinks=True)
    return root


@pytest.fixture(scope="session")
def quick(rebuilt, once, tmp_path_factory):
    """A rebuilt and committed checkout with the quick evaluation and a quick model: its rebuild takes seconds."""

    def make(folder):
        workspace.git("clone", "-q", str(rebuilt), str(folder), cwd=rebuilt)
        remotes.lend(rebuilt, folder)
        raw.fetch(folder)
        params.write(folder, QUICK)
        run("dvc", "repro", cwd=folder)
        run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "quick", cwd=folder)

    root = tmp_path_factory.mktemp("quick") / "checkout"
    ignored = shutil.ignore_patterns("config.local", "tmp")  # of another worker's server; what DVC noted of other paths
    shutil.copytree(once("quick", make), root, symlinks=True, ignore=ignored)
    remotes.lend(rebuilt, root)
    return root


@pytest.fixture
def spoilt(quick, tmp_path):
    """A quick checkout to spoil, its bucket too: yields the checkout, while its own S3 server runs."""
    root = tmp_path / "spoilt"
    shutil.copytree(quick, root, symlinks=True, ignore=shutil.ignore_patterns("config.local"))
    with s3.running(remotes.embedded(s3.free_port(), root)) as server:
        s3.put(server, raw.KEY, (root / raw.DATA).read_bytes())
        yield root
