"""Workflows are code that only GitHub runs, so what can be said of them without it is said here."""

import os
import re
import shutil
import subprocess

import pytest
import yaml
from support.commands import ROOT, run
from support.prometheus_server import PACKAGES

from batchyield.cli.__main__ import build_parser
from batchyield.versioning import git

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

ELSEWHERE = {("cml", "comment"), (".venv/bin/dvc", "pull")}
NOUNS = build_parser().commands.choices

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
                known = (tool == "make" and what in TARGETS) or (tool == ".venv/bin/batchyield" and what in NOUNS)
                assert known or (tool, what) in ELSEWHERE, step["run"]


def test_cml_publishes_nothing_and_reports_no_use(workflow):
    for step in steps(workflow):
        if step.get("run", "").startswith("cml"):
            assert "--publish=false" in step["run"]
            assert yaml.safe_load(workflow)["env"]["ITERATIVE_DO_NOT_TRACK"] == "1"


def test_every_command_is_one_that_a_shell_reads(workflow):
    for step in steps(workflow):
        assert subprocess.run(["bash", "-n"], input=step.get("run", ""), text=True).returncode == 0, step["run"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What a runner has after its checkout, and an environment that is taken for a fresh one."""
    root = tmp_path_factory.mktemp("runner") / "clone"
    git.copy_working_tree(ROOT, root)
    (root / ".made").mkdir()
    (root / ".made/.made-from-locks").touch()
    os.utime(root / ".made/.made-from-locks", (2**32,) * 2)
    return root


def test_make_knows_all_that_a_step_needs(workflow, clone):
    """What the steps do is run by the tests of those commands; here, that each begins on a runner's own checkout."""
    said = {part for step in steps(workflow) for part in re.findall(r"make [^|&#]+", step.get("run", ""))}
    for command in said - {"make setup "}:
        run("bash", "-c", f"{command} --dry-run VENV=.made VERSION=1.2.0", cwd=clone)


FUNCTIONS = {"always", "cancelled", "contains", "failure", "format", "hashFiles", "join", "startsWith", "success"}


def names(part):
    """Each name that the expressions below a part of a workflow ask for; what is quoted in them is text."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if isinstance(value, dict | list):
            yield from names(value)
        elif isinstance(value, str):
            for inside in [value] if key == "if" else re.findall(r"\$\{\{(.*?)\}\}", value):
                yield from re.findall(r"[A-Za-z_][\w.*-]*", re.sub(r"'[^']*'", "", inside))


def test_every_expression_names_what_there_is(workflow):
    parsed = yaml.safe_load(workflow)
    for name, job in parsed["jobs"].items():
        needed = job.get("needs", [])
        needed = [needed] if isinstance(needed, str) else needed
        assert set(needed) <= parsed["jobs"].keys(), name
        before, given = set(), job.get("strategy", {}).get("matrix", {})
        for part in [job | {"steps": []}, *job["steps"]]:
            for asked in names(part):
                context, *path = asked.split(".")
                if context == "needs":
                    assert path[0] in needed, asked
                    assert path[1] == "outputs", asked
                    assert path[2] in parsed["jobs"][path[0]]["outputs"], asked
                elif context == "steps":
                    assert path[0] in before or part.get("outputs"), asked
                elif context == "matrix":
                    assert path[0] in given, asked
                else:
                    assert context in FUNCTIONS | {"env", "github", "runner", "secrets", "vars"}, asked
            before |= {part["id"]} if "id" in part else set()
        assert set(re.findall(r"steps\.(\w+)\.", str(job.get("outputs", "")))) <= before, name


def test_every_environment_is_listed():
    done = run("nox", "--list", cwd=ROOT)
    for session in ("tests-3.11", "tests-3.12", "tests-3.13", "lint", "serve-3.11", "client-3.11", "package-3.11"):
        assert session in done.stdout


def test_a_python_that_is_not_here_is_skipped_but_on_ci(tmp_path):
    shutil.copy(ROOT / "noxfile.py", tmp_path)
    noxfile = tmp_path / "noxfile.py"
    noxfile.write_text(noxfile.read_text().replace('("3.11", "3.12", "3.13")', '("3.99",)'))
    done = run("nox", "--no-error-on-missing-interpreters", "--session", "client", cwd=tmp_path)
    assert "client-3.99 skipped: Python interpreter 3.99 not found" in done.stderr
    assert run("nox", "--session", "client", cwd=tmp_path, CI="true", check=False).returncode == 1


@pytest.mark.skipif(not shutil.which("check-jsonschema"), reason="check-jsonschema is not installed")
def test_workflows_and_dependabot_keep_to_githubs_schema():
    for schema, files in (("github-workflows", FILES), ("dependabot", [ROOT / ".github/dependabot.yml"])):
        done = subprocess.run(
            ["check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
