"""Workflows against the Makefile and the command line; `make lint` checks them with actionlint and zizmor."""

import re
import shutil

import pytest
import yaml
from support.commands import ROOT, make_setup_current, run

from batchyield.cli.__main__ import build_parser
from batchyield.versioning import git

WORKFLOWS = {file.name: yaml.safe_load(file.read_text()) for file in (ROOT / ".github/workflows").glob("*.yml")}


def commands(workflow):
    return [step["run"] for job in workflow["jobs"].values() for step in job.get("steps", ()) if "run" in step]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Return what a runner has after its checkout, with an environment that counts as fresh."""
    root = tmp_path_factory.mktemp("runner") / "clone"
    git.copy_working_tree(ROOT, root)
    make_setup_current(root)
    return root


class TestWorkflows:
    def test_make_targets(self, clone):
        """Every make command of a workflow begins on a runner's fresh checkout."""
        text = "\n".join(command for workflow in WORKFLOWS.values() for command in commands(workflow))
        for command in sorted(set(re.findall(r"make [^|&#\n]+", text)) - {"make setup "}):
            run("bash", "-c", f"{command} --dry-run VENV=.made VERSION=1.2.0", cwd=clone)

    def test_batchyield_commands(self):
        """Every batchyield command of a workflow exists."""
        for workflow in WORKFLOWS.values():
            for noun, verb in re.findall(r"bin/batchyield (\S+) (\S+)", "\n".join(commands(workflow))):
                assert verb in build_parser().commands.choices[noun].commands.choices

    def test_comment_checks_out_no_pull_request(self):
        """The workflow that runs after a pull request, with write access, checks out only the default branch."""
        for step in WORKFLOWS["comment.yml"]["jobs"]["comment"]["steps"]:
            assert "ref" not in step.get("with", {})
            assert not step.get("run", "").startswith("make setup")


class TestNox:
    def test_missing_python(self, tmp_path):
        """A Python that is not installed is skipped with a message; on CI it is an error."""
        shutil.copy(ROOT / "noxfile.py", tmp_path)
        noxfile = tmp_path / "noxfile.py"
        noxfile.write_text(noxfile.read_text().replace('("3.11", "3.12", "3.13")', '("3.99",)'))
        done = run("nox", "--no-error-on-missing-interpreters", "--session", "client", cwd=tmp_path)
        assert "client-3.99 skipped: Python interpreter 3.99 not found" in done.stderr
        assert run("nox", "--session", "client", cwd=tmp_path, CI="true", check=False).returncode == 1
