"""The workflow files, run by act against a second S3 server: what each ends with, and what its comment says.

`make workflows` runs every case; without --nightly, only a good and a worse change run.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from support.commands import ROOT, run
from support.own_bucket import BUCKET, own_s3, point_remotes
from support.workflow_run import REPOSITORY, ROLE, GitHub

from batchyield.versioning import git, hydra_params
from batchyield.versioning.storage import embedded_s3, raw_data

ACT = shutil.which("act", path=Path(sys.executable).parent)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ACT and not os.environ.get("CI"), reason="act is not installed: `make setup`"),
]

HEAVY = ("test", "lint", "matrix", "emulated", "workflows", "environments")
"""Targets that the workflows only call here: what they do has tests of its own."""

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@localhost")


def commit(root, subject):
    run("git", "add", "data", cwd=root)  # a stage may write metrics that main has not committed yet
    run("git", *IDENTITY, "commit", "-qam", subject, cwd=root)
    return git.git("rev-parse", "HEAD", cwd=root).strip()


@pytest.fixture(scope="module")
def github(quick, tmp_path_factory):
    """GitHub's side, with a main whose outputs are in the team's bucket; `author` is a clone that may write to both."""
    folder = tmp_path_factory.mktemp("github")
    author = folder / "author"
    shutil.copytree(quick, author, symlinks=True, ignore=shutil.ignore_patterns("config.local", ".s3", "tmp"))
    run("git", "checkout", "-q", "-B", "main", cwd=author)
    makefile = (author / "Makefile").read_text()
    for target in HEAVY:
        makefile = re.sub(rf"(?m)^({target}: .*\n)(\t.*\n)+", rf"\1\t@echo {target}\n", makefile)
    (author / "Makefile").write_text(makefile)
    commit(author, "stand-ins for heavy targets")
    run("git", "clone", "-q", "--bare", str(author), str(folder / "origin.git"), cwd=folder)
    run("git", "remote", "remove", "origin", cwd=author, check=False)
    run("git", "remote", "add", "origin", str(folder / "origin.git"), cwd=author)
    with own_s3(folder / "objects") as server:
        point_remotes(author, server)
        raw = (author / raw_data.DATA).read_bytes()
        embedded_s3.client(server).put_object(Bucket=BUCKET, Key=raw_data.KEY, Body=raw)
        run("dvc", "push", "--quiet", cwd=author)
        with GitHub(folder, server, BUCKET).answering() as side:
            yield side


@pytest.fixture
def author(github):
    """The author's clone, on main."""
    root = github.folder / "author"
    run("git", "checkout", "-qf", "main", cwd=root)
    run("dvc", "checkout", "--quiet", cwd=root)
    return root


@pytest.fixture
def variables(github):
    """The variables of a repository whose data are in a bucket of its own, which an AWS role may read."""
    return {
        "DATA_BUCKET": BUCKET,
        "S3_ENDPOINT": github.server.url,
        "AWS_STORAGE_ROLE": ROLE,
        "AWS_REGION": "us-east-1",
    }


def change(author, branch, edit, *, build=True, push=True):
    """Pushes a branch on which `conf/` was edited; returns its commit."""
    run("git", "checkout", "-q", "-B", branch, "main", cwd=author)
    edit(author / "conf")
    hydra_params.write_params(author, [])
    if build:
        run("dvc", "repro", "--quiet", cwd=author)
    head = commit(author, branch)
    run("git", "push", "-qf", "origin", branch, cwd=author)
    if push:
        run("dvc", "push", "--quiet", cwd=author)
    return head


def ridge(value):
    def edit(conf):
        file = conf / "model/ridge.yaml"
        file.write_text(file.read_text().replace("alpha: 0.5", f"alpha: {value}"))

    return edit


def mean(conf):
    file = conf / "config.yaml"
    file.write_text(file.read_text().replace("model: ridge", "model: mean"))


def pull_request(github, author, head, *, repository=REPOSITORY, action="opened", labels=()):
    """The event of pull request 7 with that head."""
    github.heads[7] = head
    base = git.git("rev-parse", "main", cwd=author).strip()
    return {
        "action": action,
        "number": 7,
        "pull_request": {
            "number": 7,
            "head": {"sha": head, "ref": "change", "repo": {"full_name": repository}},
            "base": {"sha": base, "ref": "main"},
            "labels": [{"name": label} for label in labels],
        },
    }


def commented(github, author, reviewed, head, repository=REPOSITORY):
    """The comment that `comment` posts after a run of `pr`."""
    event = {
        "event": "pull_request",
        "conclusion": reviewed.jobs["review"],
        "head_sha": head,
        "head_branch": "change",
        "head_repository": {"full_name": repository},
        "id": 1,
        "html_url": "https://github.com/plant/yield/actions/runs/1",
    }
    done = github.run("comment.yml", author, "workflow_run", {"action": "completed", "workflow_run": event})
    assert done.jobs == {"comment": "success"}, done.log
    arguments, page = github.comment.split("\n", 1)
    assert "--target=pr/7" in arguments
    return page


def test_good_change(github, author, variables):
    """A change within noise: every step passes, the role's keys read the bucket, and the comment says so."""
    head = change(author, "good", ridge(0.55))
    done = github.run("pr.yml", author, "pull_request", pull_request(github, author, head), **variables)
    assert done.jobs == {"review": "success"}, done.log
    assert f"s3://{BUCKET} and s3://{BUCKET}/dvc" in done.log
    assert "files for the comparison from cache and storage" in done.log
    page = commented(github, author, done, head)
    assert page.startswith("## ✅")
    assert "model.alpha" in page


def test_worse_change(github, author, variables):
    """The gate stops a worse model; its label, and no other, lets it through."""
    head = change(author, "worse", mean)
    event = pull_request(github, author, head)
    done = github.run("gate.yml", author, "pull_request", event, **variables)
    assert done.jobs == {"gate": "failure"}, done.log
    assert (done.steps["make pull"], done.steps["make gate"]) == ("success", "failure")
    labelled = pull_request(github, author, head, action="labeled", labels=["bug", "gate-override"])
    done = github.run("gate.yml", author, "pull_request", labelled, **variables)
    assert done.jobs == {"gate": "success"}, done.log
    assert "OVERRIDDEN" in done.log


@pytest.mark.nightly
def test_worse_comment(github, author, variables):
    """The comment on a worse model names the failure; the rebuild itself is fine."""
    head = change(author, "worse", mean)
    done = github.run("pr.yml", author, "pull_request", pull_request(github, author, head), **variables)
    page = commented(github, author, done, head)
    assert done.steps["make verification"] == "success"
    assert page.startswith("## ❌")
    assert "\n- test score " in page


@pytest.mark.nightly
def test_forgotten_repro(github, author, variables):
    """Params without `dvc repro`: the review fails, and the comment's first line is not a good one."""
    head = change(author, "forgotten", ridge(0.7), build=False, push=False)
    done = github.run("pr.yml", author, "pull_request", pull_request(github, author, head), **variables)
    assert done.jobs == {"review": "failure"}, done.log
    assert done.steps["make verification"] == "failure"
    assert "the lock was not made from this commit's inputs" in done.log
    assert not commented(github, author, done, head).startswith("## ✅")


@pytest.mark.nightly
def test_fork(github, author, variables):
    """A fork gets neither bucket nor keys, even if it were given them: everything is rebuilt from the sample plant."""
    head = change(author, "fork", ridge(0.6), push=False)
    event = pull_request(github, author, head, repository="someone/yield")
    done = github.run("pr.yml", author, "pull_request", event, **variables)
    assert done.jobs == {"review": "success"}, done.log
    assert "put the sample plant's batches" in done.log
    assert "aws-actions/configure-aws-credentials" not in done.steps
    assert commented(github, author, done, head, "someone/yield").startswith("## ✅")


@pytest.mark.nightly
class TestNewData:
    def test_pull_request(self, github, author, variables, tmp_path):
        """New data, uploaded by `make new-data`: the comment compares them; a fork's comment says what it lacks."""
        lines = (author / raw_data.DATA).read_bytes().splitlines(keepends=True)
        (tmp_path / "new.csv").write_bytes(b"".join(lines[:-40]))
        run("git", "checkout", "-q", "-B", "data", "main", cwd=author)
        run("make", "new-data", f"FILE={tmp_path / 'new.csv'}", "VENV=.made", "--old-file=setup", cwd=author)
        head = commit(author, "data")
        run("git", "push", "-qf", "origin", "data", cwd=author)
        run("dvc", "push", "--quiet", cwd=author)
        done = github.run("pr.yml", author, "pull_request", pull_request(github, author, head), **variables)
        assert done.jobs == {"review": "success"}, done.log
        assert "40" in commented(github, author, done, head)
        event = pull_request(github, author, head, repository="someone/yield")
        done = github.run("pr.yml", author, "pull_request", event, **variables)
        assert done.jobs == {"review": "failure"}, done.log
        page = commented(github, author, done, head, "someone/yield")
        assert not page.startswith("## ✅")
        # The object that main pins is the source again, for the tests after this one.
        embedded_s3.client(github.server).put_object(Bucket=BUCKET, Key=raw_data.KEY, Body=b"".join(lines))


@pytest.mark.nightly
def test_main(github, author, variables):
    """A push to main: the report goes to the commit, the outputs come from the bucket."""
    sha = git.git("rev-parse", "HEAD", cwd=author).strip()
    event = {"ref": "refs/heads/main", "after": sha, "before": "0" * 40}
    done = github.run("main.yml", author, "push", event, **variables)
    assert done.jobs == {"report": "success", "comment": "success"}, done.log
    assert f"--target=commit/{sha}" in github.comment


@pytest.mark.nightly
def test_nightly(github, author, variables):
    """Every job of the night begins; the bucket is audited where there is one."""
    done = github.run("nightly.yml", author, "schedule", {}, **variables)
    assert set(done.jobs.values()) == {"success"}, done.log
    assert "SOUND: all" in done.log
    done = github.run("nightly.yml", author, "schedule", {}, jobs=["audit"])
    assert "audit" not in done.jobs or done.jobs["audit"] == "skipped"


@pytest.mark.nightly
class TestRelease:
    def test_releasable(self, github, author, variables):
        """After a push to main, the checks of a release run against the bucket."""
        sha = git.git("rev-parse", "HEAD", cwd=author).strip()
        event = {"ref": "refs/heads/main", "after": sha}
        done = github.run("release.yml", author, "push", event, jobs=["releasable"], **variables)
        assert "passed  the storage holds all that the lock pins" in done.log, done.log

    def test_tag(self, github, author, variables):
        """A tag of a version: tests, wheels, notes and image; the index is skipped without its variable."""
        run("git", *IDENTITY, "tag", "-a", "yield-model@v1.0.0", "-m", "yield-model v1.0.0", "main", cwd=author)
        run("git", "push", "-qf", "origin", "yield-model@v1.0.0", cwd=author)
        event = {"ref": "refs/tags/yield-model@v1.0.0"}
        done = github.run("release.yml", author, "push", event, **variables)
        assert {job for job, result in done.jobs.items() if result == "failure"} == set(), done.log
        assert {"tag", "package", "notes", "image"} <= done.jobs.keys(), done.log
        wheels = {file.suffix for file in (github.folder / "artifacts/release").iterdir()}
        assert ".whl" in wheels
        assert "release create yield-model@v1.0.0" in (github.folder / "release.txt").read_text()


def test_replaced_actions():
    """Every action of the marketplace is pinned by the hash of a commit, with its version beside it."""
    files = [*(ROOT / ".github").glob("workflows/*.yml"), *(ROOT / ".github").glob("actions/*/action.yml")]
    uses = [line for file in files for line in re.findall(r"uses: (.*)", file.read_text()) if not line.startswith("./")]
    assert uses
    assert [line for line in uses if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v[\d.]+", line)] == []
