"""Every file that some revision pins: what a storage must keep so that any of them can be rebuilt."""

import re
from pathlib import Path
from typing import NamedTuple

from batchyield.pins.workspace import git, shallow

PINS = ("dvc.lock", ".dvc")
HASH = re.compile(r"\bmd5: '?([0-9a-f]{32}(?:\.dir)?)\b")


class Pinned(NamedTuple):
    """What was looked through, and what it pins.

    Attributes:
        md5s: of every file that a lock or a `.dvc` file names, as output or as input.
        said: which revisions these are.
        whole: whether all revisions were at hand.
    """

    md5s: frozenset[str]
    said: str
    whole: bool


def pinned_ever(root: Path = Path()) -> Pinned:
    """Reads the locks of the working tree and of every commit that any ref reaches.

    Hashes are picked from the text, so that an old lock which no longer parses still protects what it names.

    Raises:
        SetupError: `root` is no git repository.
    """
    specs = [f":(top,glob)**/*{name}" for name in PINS]
    # --full-history: a lock that lived only on a branch merged away with `-s ours` could still be checked out.
    files = ("--objects", "--filter=object:type=blob")  # a folder may be called `.dvc` too
    listed = git("rev-list", *files, "--all", "HEAD", "--full-history", "--", *specs, cwd=root)
    blobs = sorted({line.split(" ", 1)[0] for line in listed.splitlines() if line.endswith(PINS)})
    texts = [git("cat-file", "blob", blob, cwd=root) for blob in blobs]
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *specs, cwd=root)
    here = [root / name for name in listed.split("\0") if name]
    texts += [file.read_text(errors="replace") for file in here if file.is_file()]
    commits = git("rev-list", "--count", "--all", "HEAD", cwd=root).strip()
    said = f"the working tree, HEAD and all {commits} commits of every local ref (branches, tags, experiments, stashes)"
    return Pinned(frozenset(HASH.findall("\n".join(texts))), said, not shallow(root))
