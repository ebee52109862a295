"""Git commands, and copies of a checkout that may be rebuilt without touching the original."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from batchyield.errors import CommandError

IDENTITY = ("-c", "user.name=batchyield", "-c", "user.email=batchyield@localhost", "-c", "commit.gpgsign=false")
"""Options for commits in scratch repositories."""

UNSHALLOW = "`git fetch --unshallow --tags`; in CI, check out with fetch-depth: 0"


def git(*arguments: str, cwd: Path) -> str:
    """Run `git ARGUMENTS` in `cwd` and return its standard output.

    Raises:
        CommandError: git failed.
    """
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True)  # noqa: S603, S607 - git from PATH is the user's own
    if done.returncode:
        raise CommandError(
            f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}", "run it in a checkout of batchyield"
        )
    return done.stdout


def is_shallow(root: Path) -> bool:
    """Return whether the clone at `root` has only the end of the history."""
    return git("rev-parse", "--is-shallow-repository", cwd=root).strip() == "true"


def copy_working_tree(root: Path, target: Path) -> Path:
    """Copy the files that git tracks or would track below `root` into `target`, commit them there, and return `target`.

    The copy is a git repository with one commit, because DVC's experiments need one. Of an existing copy, the folders
    src, api, conf, tests and .git are replaced; other files stay unless `root` has a file of that name, so that its
    DVC cache, bucket and outputs make a second rebuild quick.
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
    """Write the files of a revision into `target`: all of them, or those at `paths`."""
    with tempfile.TemporaryDirectory(prefix="batchyield-export-") as scratch:
        packed = Path(scratch) / "tree.tar"
        git("archive", "--format=tar", f"--output={packed}", revision, "--", *paths, cwd=root)
        with tarfile.open(packed) as archive:
            # Python 3.11.0 to 3.11.3 have no filter; git archives contain no path that leads out of the folder.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(target)  # noqa: S202
