"""A second workspace: the checkout's files in a folder of their own, where anything may be rebuilt and nothing lost."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from batchyield.errors import SetupError

IDENTITY = ("-c", "user.name=batchyield", "-c", "user.email=batchyield@localhost", "-c", "commit.gpgsign=false")
"""Of commits in folders of our own."""

UNSHALLOW = "`git fetch --unshallow --tags`; in CI, check out with fetch-depth: 0"


def git(*arguments: str, cwd: Path) -> str:
    """Runs `git ARGUMENTS` in `cwd` and returns what it printed.

    Raises:
        SetupError: git failed.
    """
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True)  # noqa: S603, S607 - git from PATH is the user's own
    if done.returncode:
        raise SetupError(
            f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}", "run it in a checkout of batchyield"
        )
    return done.stdout


def is_shallow(root: Path) -> bool:
    """Return whether the clone holds only the end of the history."""
    return git("rev-parse", "--is-shallow-repository", cwd=root).strip() == "true"


def copy_working_tree(root: Path, target: Path) -> Path:
    """Copies what git tracks or would track below `root`, as it stands in the working tree, into `target`.

    The copy is a git repository of its own with one commit, since DVC's experiments need one. An earlier copy's DVC
    cache and bucket in `target` are kept, so that a second rebuild there is quick; everything else is laid anew.
    """
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=root).split("\0")
    for stale in ("src", "api", "conf", "tests", ".git"):
        shutil.rmtree(target / stale, ignore_errors=True)
    for name in filter(None, listed):
        source = root / name
        if source.is_file():
            destination = target / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination)
    git("init", "-q", "-b", "main", cwd=target)
    git("add", "-A", cwd=target)
    git(*IDENTITY, "commit", "-q", "-m", "Copy of a working tree", cwd=target)
    return target


def export_revision(revision: str, target: Path, root: Path, *paths: str) -> None:
    """Lays what git has at `revision` into `target`: all of it, or what is at `paths`."""
    with tempfile.TemporaryDirectory(prefix="batchyield-export-") as scratch:
        packed = Path(scratch) / "tree.tar"
        git("archive", "--format=tar", f"--output={packed}", revision, "--", *paths, cwd=root)
        with tarfile.open(packed) as archive:
            # Python's patch releases before 3.11.4 have no filter, and git packs no path that leads out.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(target)  # noqa: S202
