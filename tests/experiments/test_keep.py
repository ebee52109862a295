"""Which experiment a name means, from DVC's refs in a scratch repository; `test_experiments` keeps a real one."""

import pytest
from support.scratch_repository import commit

from batchyield.errors import RevisionError
from batchyield.experiments.keep import Finished, find_finished, keep_experiment
from batchyield.versioning.git import git


def add_experiment(root, start, name):
    """Make a commit and the ref that DVC gives a finished experiment."""
    author = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    made = git(*author, "commit-tree", "-p", start, "-m", name, f"{start}^{{tree}}", cwd=root).strip()
    git("update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", made, cwd=root)
    return Finished(name, made, start)


@pytest.fixture
def history(tmp_path):
    """A repository of three commits, oldest first."""
    git("init", "-q", "-b", "main", cwd=tmp_path)
    commits = []
    for number in range(3):
        (tmp_path / "params.yaml").write_text(f"seed: {number}\n")
        commits.append(commit(tmp_path, f"data: version {number}"))
    return tmp_path, commits


def test_find_finished(history):
    """Experiments of all commits are found; the refs of DVC's queue are none."""
    root, (first, _, last) = history
    made = [add_experiment(root, first, "wide"), add_experiment(root, last, "deep")]
    for ref in ("stash", "celery/stash", "exec/EXEC_HEAD"):
        git("update-ref", f"refs/exps/{ref}", last, cwd=root)
    assert sorted(find_finished(root)) == sorted(made)


def test_unknown_name(history):
    """A name that no finished experiment has is refused, and no branch is made."""
    root, _ = history
    with pytest.raises(RevisionError, match="no finished experiment 'wide'"):
        keep_experiment("wide", root=root)
    assert git("branch", "--format=%(refname:short)", cwd=root).split() == ["main"]


def test_several_commits(history):
    """A name that experiments of several other commits have is refused; HEAD's own would be chosen."""
    root, (first, second, _) = history
    for start in (first, second):
        add_experiment(root, start, "wide")
    with pytest.raises(RevisionError, match=f"several commits .*'wide'.*{first[:12]}"):
        keep_experiment("wide", root=root)
