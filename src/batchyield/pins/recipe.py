"""The command lines that bring pinned bytes again: from git where it keeps them, else by a rebuild in a clone."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from batchyield.pins import remotes
from batchyield.pins.walk import File
from batchyield.pins.workspace import git


def commands(subjects: tuple[File, ...], revision: str, root: Path) -> Iterator[str]:
    """The command lines that bring the subjects' bytes again, to be run at the top of the checkout."""
    short = revision[:12]
    kept = set(git("ls-tree", "-r", "--name-only", "-z", "--full-tree", revision, cwd=root).split("\0"))
    for subject in subjects:
        if subject.path in kept:
            yield f"git show {shlex.quote(f'{short}:{subject.path}')}  # its bytes are kept in git"
    stages = list(dict.fromkeys(subject.stage for subject in subjects if subject.stage))
    if stages:
        yield f"batchyield verify --rev {short}  # rebuilds all of it in a scratch folder and compares with the lock"
    elif all(subject.path in kept for subject in subjects):
        return
    folder = f"../batchyield-{short}"
    embedded = (root / ".dvc").is_dir() and not remotes.elsewhere(root)
    if embedded:
        yield "batchyield s3 start  # the embedded S3 server of this checkout, which has the raw data"
    yield f"git clone --no-checkout . {folder}"
    yield f"git -C {folder} checkout --detach {short}"
    if embedded or (root / ".dvc/config.local").exists():  # elsewhere the keys may come from the environment
        yield f"cp .dvc/config.local {folder}/.dvc/  # endpoint and keys of the remotes"
    yield f"cd {folder}"
    yield "make setup"
    yield ". .venv/bin/activate"
    yield "batchyield fetch  # the raw data, by their pin"
    if stages:
        yield f"dvc repro --no-run-cache {' '.join(stages)}"
