"""The benchmark on emulated processors says what it does and what it needs; the nightly job runs it."""

import os
import subprocess
import sys

from support.commands import ROOT

SCRIPT = ROOT / "benchmarks/emulated.py"


def emulated(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


def test_help_names_every_choice_of_model_and_the_processors():
    code, out, _ = emulated("--help")
    assert code == 0
    assert all(path.stem in out for path in (ROOT / "conf/model").glob("*.yaml"))
    assert "Haswell" in out


def test_without_the_emulator_it_says_what_to_install(tmp_path):
    code, out, output = emulated(PATH=str(tmp_path))
    assert (code, out) == (2, "")
    assert "apt-get install qemu-user" in output
