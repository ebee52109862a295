"""Running DVC itself: its command line is its stable interface, so that is what the other modules of this room call."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from batchyield.errors import SetupError


def dvc(*arguments: str, cwd: Path = Path(), quiet: bool = False) -> str:
    """Runs `dvc ARGUMENTS` in `cwd` with this very Python and returns what it printed where `quiet`.

    Raises:
        SetupError: DVC failed; its own last words are the message.
    """
    bin_folder = str(Path(sys.executable).parent)
    # Stages call `python`: it must be this one even where the virtual environment is not activated.
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    # Files, not pipes: the workers that `dvc queue start` leaves behind would hold a pipe open for as long as they run.
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as complained:
        done = subprocess.run(  # noqa: S603 - our own fixed command
            [sys.executable, "-m", "dvc", *arguments],
            cwd=cwd,
            env=environment,
            stdout=told if quiet else None,
            stderr=complained if quiet else None,
        )
        told.seek(0)
        complained.seek(0)
        if done.returncode:
            said = f":\n{complained.read().decode().strip()}" if quiet else "; what it said stands above"
            raise SetupError(
                f"`dvc {' '.join(arguments)}` failed{said}", "mend what it names and run the same command again"
            )
        return told.read().decode()
