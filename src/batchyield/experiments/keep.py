"""Keep an experiment: its choices go into `conf/`, and its params, lock and metrics into a commit on a branch."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchyield.errors import ConflictError, RevisionError
from batchyield.versioning import hydra_params
from batchyield.versioning.dvc import dvc
from batchyield.versioning.git import git
from batchyield.versioning.provenance.stale_lock import find_stale
from batchyield.versioning.revisions import read_text_at, resolve_commit
from batchyield.versioning.storage import raw_data

SUBJECT_CHARACTERS = 72

_REF = re.compile(r"(?P<revision>\w+) refs/exps/(?P<start>[0-9a-f]{2}/[0-9a-f]{38})/(?P<name>.+)")


class Finished(NamedTuple):
    """A finished experiment: its name, its commit, and the commit that it started from."""

    name: str
    revision: str
    start: str


class Kept(msgspec.Struct, frozen=True):
    """An experiment that became a commit: the branch, the overrides that `conf/` now holds, and its files."""

    branch: str
    commit: str
    overrides: tuple[str, ...]
    files: tuple[str, ...]


def keep_experiment(
    name: str, branch: str | None = None, root: Path = Path(), progress: Callable[[str], None] = lambda _: None
) -> Kept:
    """Commit an experiment on a new branch, which starts at the commit that the experiment started from.

    Args:
        name: of any experiment of `dvc exp list --all-commits`.
        branch: name of the branch; None: the experiment's name.
        root: the checkout; its branch is changed if all is well, and is as it was after an error.
        progress: receives one line before each step.

    Raises:
        RevisionError: there is no such finished experiment, or several commits have one.
        ConflictError: the working tree has changes that are in no experiment, the branch exists, or the lock is not
            what the branch builds.
        ParamsError: no choices in `conf/` give the experiment's params.
    """
    branch = branch or name
    if resolve_commit(f"refs/heads/{branch}", root):
        raise ConflictError(f"the branch {branch} exists", "name another one with --branch")
    finished = find_finished(root)
    _, revision, before = _choose(name, finished, root)
    if lost := _unsaved(root, [experiment.revision for experiment in finished]):
        remedy = "commit them, or put them aside with `git stash`"
        raise ConflictError(f"the working tree has changes that are in no experiment: {', '.join(lost)}", remedy)
    was = git("rev-parse", "--abbrev-ref", "HEAD", cwd=root).strip()
    start = git("rev-parse", "HEAD", cwd=root).strip() if was == "HEAD" else was
    params = read_text_at(revision, hydra_params.PARAMS, root) or ""
    try:
        git("checkout", "-q", "-f", "-b", branch, before, cwd=root)
        return _commit(name, revision, branch, hydra_params.find_overrides(root, params), root, progress)
    except BaseException:
        git("checkout", "-q", "-f", start, cwd=root)
        if resolve_commit(f"refs/heads/{branch}", root):
            git("branch", "-q", "-D", branch, cwd=root)
        dvc("checkout", "--quiet", cwd=root, quiet=True)
        raise


def find_finished(root: Path = Path()) -> list[Finished]:
    """Return the finished experiments of all commits, from the refs in which DVC keeps them.

    `dvc exp show --all-commits` reads every commit of the repository, half a second each.
    """
    refs = git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps/", cwd=root).splitlines()
    found = (match for ref in refs if (match := _REF.fullmatch(ref)))
    return [Finished(ref["name"], ref["revision"], ref["start"].replace("/", "")) for ref in found]


def _choose(name: str, finished: list[Finished], root: Path) -> Finished:
    """Return the experiment of a name: HEAD's, or the only one."""
    named = [experiment for experiment in finished if experiment.name == name]
    head = git("rev-parse", "HEAD", cwd=root).strip()
    chosen = [experiment for experiment in named if experiment.start == head] or named
    if not chosen:
        remedy = "`batchyield experiments show --all` lists them"
        raise RevisionError(f"there is no finished experiment {name!r}", remedy)
    if len(chosen) > 1:
        starts = ", ".join(experiment.start[:12] for experiment in chosen)
        problem = f"several commits have an experiment {name!r}: {starts}"
        raise RevisionError(problem, "check out the one that it started from")
    return chosen[0]


def _unsaved(root: Path, experiments: list[str]) -> list[str]:
    """Return the changed files of the working tree, unless all are as `dvc exp run` left them for an experiment."""
    changed = git("diff", "--name-only", "-z", "HEAD", cwd=root).split("\0")[:-1]
    differing = [git("diff", "--name-only", rev, "--", *changed, cwd=root).split() for rev in experiments if changed]
    return min(differing, key=len, default=changed)


def _commit(
    name: str, revision: str, branch: str, overrides: list[str], root: Path, progress: Callable[[str], None]
) -> Kept:
    """Apply an experiment and commit it with its overrides in `conf/`."""
    progress(f"dvc exp apply {name}")
    dvc("exp", "apply", revision, cwd=root, quiet=True)  # by name, DVC would take the branch if they are namesakes
    _restore_pin(root)
    hydra_params.write_params(root, overrides)  # without the engine of the experiment
    files = hydra_params.write_overrides(root, overrides)
    progress(hydra_params.check_params(root))
    if stale := find_stale(root):
        problem = f"dvc.lock of {name} is not what it builds: {'; '.join(stale)}"
        raise ConflictError(problem, "run the experiment again")
    subject = f"conf: {' '.join(overrides) or 'keep'}"
    short = subject if len(subject) <= SUBJECT_CHARACTERS else f"{subject[: SUBJECT_CHARACTERS - 2]} …"
    git("commit", "-q", "-a", "-m", short, "-m", f"Experiment {name}.", cwd=root)
    return Kept(branch, git("rev-parse", "HEAD", cwd=root).strip(), tuple(overrides), tuple(map(str, files)))


def _restore_pin(root: Path) -> None:
    """Undo what DVC writes of the source's present etag into the pin, if the pinned bytes are the same."""
    committed, pin = raw_data.read_pin_at("HEAD", root), raw_data.read_pin(root)
    if committed and committed.md5 == pin.md5 and not pin.is_folder:
        git("checkout", "-q", "HEAD", "--", str(raw_data.PIN), cwd=root)


def format_kept(made: Kept) -> str:
    """Return what was kept as text, with the commands to go on with."""
    return "\n".join(
        [
            f"branch   {made.branch}, commit {made.commit[:12]}",
            f"choices  {' '.join(made.overrides) or '(those of the commit before)'}",
            f"files    {', '.join((*made.files, 'params.yaml', 'dvc.lock', 'data/metrics/'))}",
            "",
            "next:",
            "  make report BASE=main           # what its pull request will show",
            f"  git push -u origin {made.branch}",
            "  dvc push                        # its outputs, for others",
        ]
    )
