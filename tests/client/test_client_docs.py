"""Every snippet of docs/client.md, run as it stands against a service on a port of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.service import ROOT, Running, environment, make_checkout, python_of

from api.openapi.examples import INPUTS, sheet

GUIDE = (ROOT / "docs/client.md").read_text()
SNIPPETS = re.findall(r"^```(python|sh)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
PYTHON = [text for kind, text in SNIPPETS if kind == "python"]
COMMANDS = [line for kind, text in SNIPPETS if kind == "sh" for line in text.splitlines()]
PRINTED = [
    "a 0.9 0.86875 0.93125 []\nb 0.5 0.46875 0.53125 ['B9']\nTrue\n",
    "True\nid,yield,lower,upper\nsample_1,0.9,0.86875,0.93125\nsample_2,0.92,0.88875,0.95125\n",
    "422 invalid-input True\n['$.inputs[1].A6: expected a number or null, got text']\n",
    "[('a', 'recorded', True), ('z', 'recorded', False)] 1 1\n",
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = make_checkout(tmp_path_factory.mktemp("model"))
    (root / "batches.csv").write_bytes(sheet(INPUTS["inputs"]).encode("GB18030"))
    return root


@pytest.fixture(scope="module")
def service(workspace):
    with Running(workspace) as running:
        yield running


def run(service, workspace, *command):
    command = [part.replace("http://127.0.0.1:8000", service.url) for part in command]
    given = environment(workspace) | {"PATH": f"{Path(python_of('package')).parent}:/usr/local/bin:/usr/bin:/bin"}
    if python_of("package") != sys.executable:
        del given["PYTHONPATH"]  # the wheel is installed there
    return subprocess.run(command, cwd=workspace, env=given, capture_output=True, text=True, timeout=30)


def test_the_guide_has_what_is_run():
    assert len(PYTHON) == len(PRINTED)
    assert len(COMMANDS) == 10


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_python(service, workspace, number):
    done = run(service, workspace, python_of("client"), "-W", "error", "-c", PYTHON[number])
    assert (done.stdout, done.stderr) == (PRINTED[number], "")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(service, workspace, command):
    done = run(service, workspace, "sh", "-ec", command)
    assert done.returncode == 0, done.stderr
    if "batchyield model score" in command:
        assert (workspace / "scored.csv").read_text() == PRINTED[1].removeprefix("True\n")
    else:
        assert re.search("sample_1|predictions|ready|card", done.stdout), done.stdout
        assert "urn:batchyield" not in done.stdout
