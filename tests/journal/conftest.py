"""Journals for the tests: a new one in each kind of database, and the checkout of a service that writes it."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.journal_database import database, opened
from support.service import make_checkout

from batchyield.journal.migrate import upgrade_schema


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """A new journal in each kind of database, its schema made."""
    if request.param == "sqlite":
        file = tmp_path / "journal.sqlite"
        with opened(file) as store:
            upgrade_schema(store)
        yield str(file)
    else:
        with database(request.getfixturevalue("postgres_server")) as url:
            yield url


@pytest.fixture
def store(url):
    with opened(url) as store:
        yield store


@pytest.fixture
def small_disk():
    """A disk of 16 MB, which any user may write."""
    disk = Path(tempfile.mkdtemp(prefix="batchyield-disk-"))
    # Above 4 MiB the log is moved into the file; on a smaller disk a long load would fill the disk by the log itself.
    command = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=777", "tmpfs", disk]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        disk.rmdir()
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
        disk.rmdir()
