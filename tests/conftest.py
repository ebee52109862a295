"""What the whole-path tests share: a real S3 server and one rebuilt workspace a session."""

import os

# The BLAS kernel of the stages, for this process too: NumPy and SciPy choose theirs when they are loaded.
os.environ["OPENBLAS_CORETYPE"] = "Prescott"

import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import hypothesis
import pytest
from support.commands import MARK, QUICK, ROOT, run
from support.journal_database import postgres

from batchyield.files import exclusive_lock
from batchyield.versioning import git, hydra_params
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.storage import embedded_s3, raw_data, remotes
from batchyield.versioning.storage.demo_remote import seed_bucket

hypothesis.settings.register_profile("suite", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("suite")


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
LONGEST = "tests/deploy/test_engine.py::test_stack"
os.environ.pop(remotes.BUCKET_VARIABLE, None)  # the developer's bucket; the suite's remotes are its own


@pytest.fixture(scope="session")
def real_data():
    folder = os.environ.get("BATCHYIELD_REAL_DATA")
    if not folder:
        pytest.skip("real plant data: set BATCHYIELD_REAL_DATA to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres_server():
    """A real PostgreSQL; a test that stops it starts it again."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def bare_checkout(tmp_path_factory):
    """A copy of this working tree as a repository of its own, its bucket served and seeded, nothing built."""
    root = git.copy_working_tree(ROOT, tmp_path_factory.mktemp("checkout"))
    with embedded_s3.running(remotes.embedded_server(embedded_s3.free_port(), root)) as server:
        seed_bucket(server)
        yield root


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """Makes a folder once for all the workers of a run: the first that asks makes it, and others wait and take it."""
    own = tmp_path_factory.getbasetemp()
    shared = (own if worker_id == "master" else own.parent) / "once"

    def made(name, make):
        lock, folder, aside = (shared / f"{name}{suffix}" for suffix in (".lock", "", ".part"))
        lock.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(lock):
            if not folder.exists():
                shutil.rmtree(aside, ignore_errors=True)
                make(aside)
                aside.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def rebuilt(bare_checkout, once):
    """The same, with the raw data fetched and everything rebuilt from it by `dvc repro`."""

    def make(folder):
        raw_data.fetch(bare_checkout)
        run("dvc", "repro", cwd=bare_checkout)
        folder.mkdir()
        shutil.copytree(bare_checkout / "data", folder / "data", symlinks=True)
        shutil.copytree(bare_checkout / ".dvc/cache", folder / ".dvc/cache", symlinks=True)
        shutil.copy2(bare_checkout / LOCK, folder)

    found = once("rebuilt", make)
    if not (bare_checkout / raw_data.DATA).exists():
        shutil.copytree(found, bare_checkout, symlinks=True, dirs_exist_ok=True)
    return bare_checkout


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
        git.git("clone", "-q", str(rebuilt), str(folder), cwd=rebuilt)
        remotes.copy_remotes(rebuilt, folder)
        raw_data.fetch(folder)
        hydra_params.write_overrides(folder, QUICK)
        hydra_params.write_params(folder)
        run("dvc", "repro", cwd=folder)
        run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "quick", cwd=folder)

    root = tmp_path_factory.mktemp("quick") / "checkout"
    ignored = shutil.ignore_patterns("config.local", "tmp")  # of another worker's server; what DVC noted of other paths
    shutil.copytree(once("quick", make), root, symlinks=True, ignore=ignored)
    remotes.copy_remotes(rebuilt, root)
    return root


@pytest.fixture
def spoilt(quick, tmp_path):
    """A quick checkout to spoil, its bucket too: yields the checkout, while its own S3 server runs."""
    root = tmp_path / "spoilt"
    shutil.copytree(quick, root, symlinks=True, ignore=shutil.ignore_patterns("config.local"))
    with embedded_s3.running(remotes.embedded_server(embedded_s3.free_port(), root)) as server:
        embedded_s3.put_object(server, raw_data.KEY, (root / raw_data.DATA).read_bytes())
        yield root


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Two workers more than there are cores: the suite waits for services and engines as much as it computes."""
    return (os.cpu_count() or 1) + 2


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run tests marked slow too, as every pull request does")
    parser.addoption("--nightly", action="store_true", help="run all tests, those marked slow and nightly too")


def pytest_collection_modifyitems(config, items):
    """Skip what was not asked for, and start the longest test first, which the others then run beside."""
    nightly = config.getoption("nightly")
    for marker, wanted in (("slow", nightly or config.getoption("slow")), ("nightly", nightly)):
        if not wanted:
            skip = pytest.mark.skip(reason=f"{marker}: pass --{marker}")
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(skip)
    items.sort(key=lambda item: item.nodeid != LONGEST)


def pytest_terminal_summary(terminalreporter):
    """Print the tables that tests recorded as the property `table`, whether they passed or not."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "table":
                    terminalreporter.section(report.nodeid)
                    terminalreporter.write_line(value)
