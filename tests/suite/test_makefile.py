"""make setup on machines of others: their Python, and settings of pip that lead elsewhere."""

import subprocess
import sys

import pytest
from support.commands import ROOT, run

FAKE = """#!/bin/sh
exec {python} -c 'import sys; code = sys.argv[1]; sys.version_info = ({version}, 0); exec(code)' "$2"
"""


@pytest.mark.parametrize("version", ["3, 10", "3, 15"])
def test_python_without_wheels(version, tmp_path):
    """A Python for which the locks have no wheels is refused before anything is made."""
    python = tmp_path / "python"
    python.write_text(FAKE.format(python=sys.executable, version=version))
    python.chmod(0o755)
    done = run("make", "setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}", cwd=ROOT, check=False)
    assert done.returncode == 2
    assert f"batchyield needs Python 3.11 to 3.14, and '{python}' is another" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_settings_of_pip(monkeypatch):
    """Recipes install into the environment, whatever pip is configured to do."""
    for name in ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        monkeypatch.setenv(name, "/elsewhere")
    shown = subprocess.run(
        ["make", "--eval", "shown: ; @env", "shown"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert "PIP_USER=0\n" in shown.stdout
    assert "/elsewhere" not in shown.stdout
