"""What the whole-path tests share: a real S3 server and one rebuilt workspace a session."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from journal_fixtures import postgres

from batchyield import s3
from batchyield.pins import params, raw, remotes, workspace
from batchyield.pins.demo import seed

ROOT = Path(__file__).parents[1]


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
def rebuilt(checkout):
    """The same, with the raw data brought and everything rebuilt from it by `dvc repro`."""
    raw.fetch(checkout)
    run("dvc", "repro", cwd=checkout)
    return checkout


@pytest.fixture
def scratch(rebuilt, tmp_path):
    """A rebuilt checkout to spoil: the bucket stays that of `rebuilt`."""
    root = tmp_path / "scratch"
    shutil.copytree(rebuilt, root, ignore=shutil.ignore_patterns(".s3"), symlinks=True)
    return root


@pytest.fixture(scope="session")
def quick(rebuilt, tmp_path_factory):
    """A rebuilt and committed checkout with the quick evaluation and a quick model: its rebuild takes seconds."""
    root = tmp_path_factory.mktemp("quick") / "checkout"
    workspace.git("clone", "-q", str(rebuilt), str(root), cwd=rebuilt)
    remotes.lend(rebuilt, root)
    raw.fetch(root)
    params.write(root, ["evaluation=quick", "model=ridge"])
    run("dvc", "repro", cwd=root)
    run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "quick", cwd=root)
    return root


@pytest.fixture
def spoilt(quick, tmp_path):
    """A quick checkout to spoil, its bucket too: yields the checkout, while its own S3 server runs."""
    root = tmp_path / "spoilt"
    shutil.copytree(quick, root, symlinks=True, ignore=shutil.ignore_patterns("config.local"))
    with s3.running(remotes.embedded(s3.free_port(), root)) as server:
        s3.put(server, raw.KEY, (root / raw.DATA).read_bytes())
        yield root
