"""The recipes on a bucket of one's own, behind a company's proxy: a second S3 server with other keys."""

import shutil

import pytest
from support.commands import make_setup_current, run
from support.own_bucket import BUCKET, own_s3, point_remotes

from batchyield.versioning.storage import embedded_s3, raw_data

PROXY = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "NO_PROXY": "localhost",
    "no_proxy": "",
}
"""A proxy that nothing reaches, and the usual list of exceptions, which lacks 127.0.0.1."""


def make(root, *arguments):
    return run("make", "VENV=.made", *arguments, cwd=root, **PROXY)


@pytest.fixture
def team(quick, tmp_path):
    """A rebuilt checkout whose remotes are in the team's bucket, and that server; the bucket has the raw data."""
    root = tmp_path / "checkout"
    shutil.copytree(quick, root, symlinks=True, ignore=shutil.ignore_patterns("config.local", ".s3"))
    make_setup_current(root)
    with own_s3(tmp_path / "objects") as server:
        point_remotes(root, server)
        raw = (root / raw_data.DATA).read_bytes()
        embedded_s3.client(server).put_object(Bucket=BUCKET, Key=raw_data.KEY, Body=raw)
        yield root, server


@pytest.mark.slow
def test_recipes(team):
    """`make repro` and `make image` use that bucket, start no server, and change no setting."""
    root, server = team
    done = make(root, "repro")
    assert f"s3://{BUCKET} at {server.url}" in done.stdout
    (problem,) = [line for line in run_audit(root) if "problem:" in line]
    assert "has none of the" in problem
    run("dvc", "push", "--quiet", cwd=root)
    run("dvc", "config", "--local", "cache.type", "symlink", cwd=root)
    settings = (root / ".dvc/config.local").read_text()
    shutil.rmtree(root / "data/model")
    shutil.rmtree(root / ".dvc/cache")
    make(root, "image", "COMPOSE=true")  # all but the build
    files = list((root / "data/model").iterdir())
    assert len(files) == 4
    assert not any(file.is_symlink() for file in files), "Docker copies links as links"
    assert run_audit(root)[0].startswith("SOUND")
    assert (root / ".dvc/config.local").read_text() == settings
    assert not (root / ".s3").exists()


def run_audit(root):
    return run("batchyield", "data", "audit", cwd=root, check=False, **PROXY).stdout.splitlines()


@pytest.mark.slow
def test_start_seeds(bare_checkout, tmp_path):
    """`make s3-start` in a fresh clone, behind a proxy, is all that `dvc repro` needs; `make s3-stop` ends it."""
    root = tmp_path / "clone"
    run("git", "clone", "-q", str(bare_checkout), str(root), cwd=tmp_path)
    make_setup_current(root)
    try:
        done = make(root, "s3-start", f"S3_PORT={embedded_s3.free_port()}")
        assert f"put the sample plant's batches at {raw_data.KEY}" in done.stdout
        run("dvc", "repro", "--quiet", "validate", cwd=root)
    finally:
        assert "stopped" in make(root, "s3-stop").stdout
