"""make setup on machines of others: their Python, and settings of pip that lead elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


ELSEWHERE = """#!/bin/sh
# An environment whose pip succeeds and installs nothing into it.
if [ "$2" = venv ]; then mkdir -p "$3/bin"; printf '#!/bin/sh\\n' > "$3/bin/python"; chmod +x "$3/bin/python"; fi
"""


def test_pip_elsewhere(tmp_path):
    """A pip that installs elsewhere, as by `target` in its configuration file, fails the setup with its cause."""
    python = tmp_path / "python"
    python.write_text(ELSEWHERE)
    python.chmod(0o755)
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "uv").exists()]
    path = os.pathsep.join(folders)
    if not shutil.which("make", path=path):
        pytest.skip("make and uv are in one folder")
    options = (f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    done = run("make", "setup", *options, cwd=ROOT, check=False, PATH=path)
    assert done.returncode == 2
    assert "see target, prefix and root in 'pip config list'" in done.stderr
    assert not (tmp_path / "venv/.made-from-locks").exists()


def test_settings_of_pip(monkeypatch):
    """Recipes install into the environment, whatever pip is configured to do."""
    for name in ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        monkeypatch.setenv(name, "/elsewhere")
    shown = subprocess.run(
        ["make", "--eval", "shown: ; @env", "shown"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert "PIP_USER=0\n" in shown.stdout
    assert "/elsewhere" not in shown.stdout
