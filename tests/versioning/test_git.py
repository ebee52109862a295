"""Git as a company configures it: hooks, signatures, colours, line ends, and repositories of other users."""

import io
import os
import tarfile

import pytest
import yaml
from support.commands import ROOT

from batchyield.errors import CommandError
from batchyield.versioning.git import SCRATCH_SETTINGS, commit, copy_working_tree, export_revision, git
from batchyield.versioning.provenance.stale_lock import unmerged_files
from batchyield.versioning.revisions import read_text_at, resolve_commit

TEXT = "first\nzweite Zeile mit Ö\n"
SETTINGS = """
[core]
    hooksPath = {hooks}
    autocrlf = true
    safecrlf = true
    excludesFile = {ignored}
    quotePath = true
[init]
    templateDir = {template}
[commit]
    gpgSign = true
[color]
    ui = always
[column]
    ui = always
[diff]
    noprefix = true
    external = false
[i18n]
    logOutputEncoding = GBK
[log]
    showSignature = true
[status]
    showUntrackedFiles = no
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a commit, then settings of a user that change most of what git does."""
    root = tmp_path / "Mé 工厂"
    root.mkdir()
    (root / "数据.py").write_bytes(TEXT.encode())
    git("init", "-q", "-b", "main", cwd=root)
    commit(root, "Betreff mit Ö")
    git("tag", "v1", cwd=root)
    git("tag", "v2", cwd=root)
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    for name in ("commit-msg", "pre-commit", "post-checkout", "post-commit"):
        (hooks / name).write_text("#!/bin/sh\necho 'the commit message needs a ticket' >&2\nexit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "ignored").write_text("*.py\n")
    (tmp_path / "gitconfig").write_text(
        SETTINGS.format(hooks=hooks, template=hooks.parent, ignored=tmp_path / "ignored")
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    return root


class TestSettingsOfTheUser:
    def test_output(self, repository):
        """What git prints does not depend on colours, columns, encodings, signatures and quoting."""
        assert git("log", "--format=%s", cwd=repository) == "Betreff mit Ö\n"
        assert git("tag", "--points-at", "HEAD", cwd=repository) == "v1\nv2\n"
        assert git("ls-files", cwd=repository) == "数据.py\n"
        (repository / "new.txt").write_text("")
        assert git("status", "--porcelain", cwd=repository) == "?? new.txt\n"
        assert read_text_at("HEAD", "数据.py", repository) == TEXT

    def test_copy(self, repository, tmp_path):
        """A copy of the working tree is committed whole: no hook, signature or ignored name prevents it."""
        copy = copy_working_tree(repository, tmp_path / "copy")
        assert git("ls-files", cwd=copy) == "数据.py\n"
        assert git("show", "HEAD:数据.py", cwd=copy) == TEXT
        assert not list((copy / ".git/hooks").glob("*")), "a template's hooks would run in the copy"

    def test_copy_again(self, repository, tmp_path):
        """A second copy to the same folder loses the files that are gone, and keeps those that were made in it."""
        (repository / "benchmarks").mkdir()
        gone = repository / "benchmarks" / "旧.py"
        gone.write_text("1\n")
        git("add", "-f", "benchmarks", cwd=repository, settings=SCRATCH_SETTINGS)
        copy = copy_working_tree(repository, tmp_path / "copy")
        assert (copy / "benchmarks" / gone.name).exists()
        (copy / "cache").write_text("kept")
        gone.unlink()
        copy_working_tree(repository, copy)
        assert not (copy / "benchmarks" / gone.name).exists()
        assert (copy / "cache").read_text() == "kept"

    def test_commit_without_changes(self, repository):
        """A scratch repository has its commit, though nothing changed, as after a rebuild on the pinned file itself."""
        before = git("rev-parse", "HEAD", cwd=repository)
        with pytest.raises(CommandError, match="nothing to commit"):
            git("commit", "-q", "-m", "n", cwd=repository, settings=SCRATCH_SETTINGS)
        commit(repository, "Rebuilt")
        assert git("rev-parse", "HEAD~1", cwd=repository) == before

    def test_export(self, repository, tmp_path):
        """An exported revision has the committed line ends, so that a wheel has the same bytes everywhere."""
        export_revision("HEAD", tmp_path / "export", repository)
        assert (tmp_path / "export/数据.py").read_bytes() == TEXT.encode()

    def test_inside_a_hook(self, repository, tmp_path, monkeypatch):
        """The variables that git sets for a hook do not lead a scratch repository's commands to the user's own."""
        before = git("rev-parse", "HEAD", cwd=repository)
        monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
        monkeypatch.setenv("GIT_INDEX_FILE", str(repository / ".git/index"))
        copy_working_tree(repository, tmp_path / "copy")
        assert git("rev-parse", "HEAD", cwd=repository) == before

    def test_other_owner(self, repository, monkeypatch):
        """A repository of another user is refused in git's own words, not as an unknown revision."""
        assert resolve_commit("nothing", repository) is None
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        for command in (lambda: resolve_commit("HEAD", repository), lambda: unmerged_files(repository)):
            with pytest.raises(CommandError, match="dubious ownership"):
                command()


class TestLineEnds:
    def test_hashed_files_and_scripts(self):
        """Files whose bytes matter have LF in every checkout: what dvc.lock hashes, and what a shell or make reads."""
        lock = yaml.safe_load((ROOT / "dvc.lock").read_text("utf-8"))
        hashed = {dep["path"] for stage in lock["stages"].values() for dep in stage["deps"]}
        tracked = git("ls-files", "-z", cwd=ROOT).rstrip("\0").split("\0")
        found = {}
        for row in git("ls-files", "--eol", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines():
            facts, _, path = row.partition("\t")
            found[path] = facts.split(maxsplit=2)
        code = {path for path in tracked if any(path == dep or path.startswith(f"{dep}/") for dep in hashed)}
        scripts = {path for path in tracked if (ROOT / path).is_file() and (ROOT / path).read_bytes()[:2] == b"#!"}
        assert code
        assert scripts
        for path in code | scripts | {"Makefile", "dvc.lock", "params.yaml", "dvc.yaml", "Dockerfile"}:
            index, _, attributes = found[path]
            assert index in ("i/lf", "i/none"), f"{path} is committed with CRLF"
            assert attributes.startswith(("attr/text=auto eol=lf", "attr/-text")), f"{path}: {attributes}"

    def test_checkout_with_crlf(self, tmp_path):
        """With core.autocrlf, .gitattributes gives the committed bytes, and without it CRLF."""
        root = tmp_path / "checkout"
        root.mkdir()
        (root / "clock.py").write_bytes(b"a\nb\n")
        git("init", "-q", cwd=root)
        commit(root, "no attributes")
        (root / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
        commit(root, "attributes")
        for revision, content in (("HEAD~1", b"a\r\nb\r\n"), ("HEAD", b"a\nb\n")):
            archive = tmp_path / "tree.tar"
            git("archive", f"--output={archive}", revision, cwd=root, settings=["core.autocrlf=true"])
            with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tree:
                assert tree.extractfile("clock.py").read() == content
        assert os.access(ROOT / "requirements/lock.sh", os.X_OK)
