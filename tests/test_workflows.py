"""Workflows are code that only GitHub runs, so what can be said of them without it is said here."""

import re
import shutil
import subprocess

import pytest
import yaml
from conftest import ROOT
from prometheus_fixtures import PACKAGES

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
BY_TAG = {"iterative/setup-cml@v2"}
"""No commit hash of it could be looked up; docs/review.md says so."""

RUNNER = {
    "sudo apt-get update && sudo apt-get install --yes qemu-user",
    f"sudo apt-get update && sudo apt-get install --yes --no-install-recommends {PACKAGES}",
    'echo "ghcr=ghcr.io/${GITHUB_REPOSITORY,,}" >> "$GITHUB_OUTPUT"',
    'gh release create "$GITHUB_REF_NAME" --repo "$GITHUB_REPOSITORY" --verify-tag --notes-file dist/notes.md dist/*',
}
"""What a runner lacks, and what only GitHub has."""

OURS = (ROOT / "src/batchyield/commands").glob("*.py")
ELSEWHERE = {("cml", "comment"), (".venv/bin/dvc", "pull")}
COMMANDS = set(re.findall(r"commands\.add\(\s*\"([a-z-]+)\"", "".join(file.read_text() for file in OURS)))

TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.fixture(params=FILES, ids=lambda file: file.name)
def workflow(request):
    return request.param.read_text()


def jobs(text):
    return yaml.safe_load(text)["jobs"]


def steps(text):
    return [step for job in jobs(text).values() for step in job["steps"]]


def test_every_action_is_pinned_by_commit_and_names_its_version(workflow):
    for line in re.findall(r"uses: (.+)", workflow):
        assert PINNED.fullmatch(line) or line.split(" ")[0] in BY_TAG, line


def test_nothing_may_be_written_unless_a_job_says_so_and_no_job_runs_for_ever(workflow):
    assert yaml.safe_load(workflow)["permissions"] == {"contents": "read"}
    assert "concurrency" in yaml.safe_load(workflow)
    for name, job in jobs(workflow).items():
        assert job["timeout-minutes"] <= 120, name


def test_untrusted_text_never_becomes_part_of_a_command(workflow):
    assert "pull_request_target" not in workflow
    assert not [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")]


def test_no_checkout_leaves_a_token_behind(workflow):
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_what_may_write_runs_no_code_of_a_pull_request(workflow):
    if not {"pull_request", "workflow_run"} & yaml.safe_load(workflow)[True].keys():  # YAML 1.1 reads `on` as true
        return
    for job in jobs(workflow).values():
        if "write" in (job.get("permissions") or {}).values():
            assert not [
                s for s in job["steps"] if s.get("uses", "").startswith("actions/checkout@") and "ref" in s["with"]
            ]
            assert not [s for s in job["steps"] if s.get("run") == "make setup"]


def test_every_step_is_a_command_that_runs_locally(workflow):
    for step in steps(workflow):
        if "run" in step and step["run"] not in RUNNER:
            for part in step["run"].partition(" #")[0].split(" | ")[0].split(" && "):
                tool, what, *_ = part.split()
                known = (tool == "make" and what in TARGETS) or (tool == ".venv/bin/batchyield" and what in COMMANDS)
                assert known or (tool, what) in ELSEWHERE, step["run"]


def test_cml_publishes_nothing_and_reports_no_use(workflow):
    for step in steps(workflow):
        if step.get("run", "").startswith("cml"):
            assert "--publish=false" in step["run"]
            assert yaml.safe_load(workflow)["env"]["ITERATIVE_DO_NOT_TRACK"] == "1"


@pytest.mark.skipif(not shutil.which("check-jsonschema"), reason="check-jsonschema is not installed")
def test_workflows_and_dependabot_keep_to_githubs_schema():
    for schema, files in (("github-workflows", FILES), ("dependabot", [ROOT / ".github/dependabot.yml"])):
        done = subprocess.run(
            ["check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
