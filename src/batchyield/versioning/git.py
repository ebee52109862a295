"""Git commands, and copies of a checkout that may be rebuilt without touching the original."""

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from batchyield.errors import CommandError

SETTINGS = (
    *("color.ui=false", "column.ui=never", "core.quotePath=false", "i18n.logOutputEncoding=UTF-8"),
    *("log.showSignature=false", "status.showUntrackedFiles=normal"),
)
"""For all commands, in place of settings of the user that change what git prints."""

SCRATCH_SETTINGS = (
    *("user.name=batchyield", "user.email=batchyield@localhost", "commit.gpgSign=false", "core.autocrlf=false"),
    *(f"core.excludesFile={os.devnull}", f"core.hooksPath={os.devnull}"),
)
"""For scratch repositories, in place of the user's identity, hooks, line ends and ignored files."""

REPOSITORY_VARIABLES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"}
"""Set while git runs a hook; with them, a command in a scratch repository would write to the user's own."""

UNSHALLOW = "`git fetch --unshallow --tags`; in CI, check out with fetch-depth: 0"


def git(*arguments: str, cwd: Path, settings: Iterable[str] = (), seconds: float | None = None) -> str:
    """Run `git ARGUMENTS` in `cwd`, with git's messages in English, and return its standard output, decoded as UTF-8.

    Raises:
        CommandError: git failed, or took longer than `seconds`.
        UnicodeDecodeError: the output is not UTF-8.
    """
    environment = {name: value for name, value in os.environ.items() if name not in REPOSITORY_VARIABLES}
    options = [word for setting in (*SETTINGS, *settings) for word in ("-c", setting)]
    failed, remedy = f"`git {' '.join(arguments)}` failed", "run it in a checkout of batchyield"
    try:
        done = subprocess.run(  # noqa: S603 - git from PATH is the user's own
            ["git", *options, *arguments],  # noqa: S607
            cwd=cwd,
            env=environment | {"LC_ALL": "C"},
            capture_output=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{failed}: no answer within {seconds} s", "try again when it can be reached") from error
    if done.returncode:
        reason = done.stderr.strip() or done.stdout.strip()  # "nothing to commit" is on standard output
        raise CommandError(f"{failed}: {reason.decode(errors='replace')}", remedy)
    return done.stdout.decode()


def is_shallow(root: Path) -> bool:
    """Return whether the clone at `root` has only the end of the history."""
    return git("rev-parse", "--is-shallow-repository", cwd=root).strip() == "true"


def copy_working_tree(root: Path, target: Path) -> Path:
    """Copy the files that git tracks or would track below `root` into `target`, commit them there, and return `target`.

    The copy is a git repository with one commit, because DVC's experiments need one. Of an existing copy, the folders
    src, api, conf, tests and .git are replaced, and files of its commit that `root` no longer has are removed; files
    that git ignores stay, so that its DVC cache, bucket and outputs make a second rebuild quick.
    """
    names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=root).split("\0")
    listed = [name for name in names if name and (root / name).is_file()]
    if (target / ".git").is_dir():
        for gone in set(filter(None, git("ls-files", "-z", cwd=target).split("\0"))).difference(listed):
            (target / gone).unlink(missing_ok=True)
    for stale in ("src", "api", "conf", "tests", ".git"):
        shutil.rmtree(target / stale, ignore_errors=True)
    for name in listed:
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, destination)
    git("init", "-q", "-b", "main", "--template=", cwd=target)
    commit(target, "Copy of a working tree")
    return target


def commit(scratch: Path, message: str) -> None:
    """Commit all files of a scratch repository, changed or not, without the user's hooks, signature and ignores."""
    git("add", "-A", cwd=scratch, settings=SCRATCH_SETTINGS)
    git("commit", "-q", "--allow-empty", "-m", message, cwd=scratch, settings=SCRATCH_SETTINGS)


def export_revision(revision: str, target: Path, root: Path, *paths: str) -> None:
    """Write the files of a revision into `target`: all of them, or those at `paths`."""
    with tempfile.TemporaryDirectory(prefix="batchyield-export-") as scratch:
        packed = Path(scratch) / "tree.tar"
        # As committed, whatever line ends the user prefers: the bytes of a wheel must not depend on them.
        as_committed = ("core.autocrlf=false", "core.eol=lf")
        git("archive", "--format=tar", f"--output={packed}", revision, "--", *paths, cwd=root, settings=as_committed)
        with tarfile.open(packed) as archive:
            # Python 3.11.0 to 3.11.3 have no filter; git archives contain no path that leads out of the folder.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(target)  # noqa: S202
