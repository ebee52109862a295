"""DVC commands: its command line is its stable interface, so the other modules call this."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from batchyield.errors import CommandError


def dvc(*arguments: str, cwd: Path = Path(), quiet: bool = False) -> str:
    """Run `dvc ARGUMENTS` in `cwd` with the current Python; if `quiet`, return its standard output, else print it.

    Raises:
        CommandError: DVC failed; the message has its error output if `quiet`.
    """
    bin_folder = str(Path(sys.executable).parent)
    # Stages call `python`: it must be this one even where the virtual environment is not activated.
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    if quiet:
        environment["PYTHONIOENCODING"] = "utf-8"
    # Files, not pipes: the workers that `dvc queue start` leaves behind would hold a pipe open for as long as they run.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        done = subprocess.run(  # noqa: S603 - our own fixed command
            [sys.executable, "-m", "dvc", *arguments],
            cwd=cwd,
            env=environment,
            stdout=output if quiet else None,
            stderr=errors if quiet else None,
        )
        output.seek(0)
        errors.seek(0)
        if done.returncode:
            reason = f":\n{errors.read().decode(errors='replace').strip()}" if quiet else "; its error is printed above"
            raise CommandError(
                f"`dvc {' '.join(arguments)}` failed{reason}", "correct what it names and run the same command again"
            )
        return output.read().decode()
