"""`make vulnerabilities` without access to the advisory database: a message, and a failure only with REQUIRE=1."""

import shutil

import pytest
from support.commands import ROOT, run

from batchyield.versioning.storage.embedded_s3 import free_port


@pytest.fixture
def script(tmp_path):
    (tmp_path / "requirements").mkdir()
    for name in ("audit.sh", "audit.txt", "serve.txt"):
        shutil.copy(ROOT / "requirements" / name, tmp_path / "requirements")
    return tmp_path / "requirements" / "audit.sh"


@pytest.mark.parametrize(("require", "code"), [("0", 0), ("1", 2)])
def test_without_pip_audit(script, require, code):
    """Without pip-audit the check is skipped, or fails if it is required."""
    done = run(str(script), cwd=script.parent, check=False, PYTHON="false", REQUIRE=require)
    assert done.returncode == code
    assert done.stderr == "vulnerabilities: skipped: no environment can be made for pip-audit\n"


@pytest.mark.parametrize(("require", "code"), [("0", 0), ("1", 2)])
def test_unreachable_database(script, require, code):
    """Without the advisory database the check is skipped, or fails if it is required."""
    tool = script.parents[1] / ".cache" / "audit"
    (tool / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "requirements/audit.txt", tool / "made-from.txt")
    (tool / "bin" / "python").write_text('#!/bin/sh\nexec python "$@"\n')
    (tool / "bin" / "python").chmod(0o755)
    nowhere = f"http://127.0.0.1:{free_port()}"
    done = run(str(script), cwd=script.parent, check=False, ADVISORIES=nowhere, REQUIRE=require)
    assert done.returncode == code
    assert done.stderr == f"vulnerabilities: skipped: the advisory database {nowhere} cannot be reached\n"
