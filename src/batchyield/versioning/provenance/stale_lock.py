"""Check that `dvc.lock` is what the code, the data and the params of the working tree build, without a rebuild."""

from pathlib import Path

from batchyield.errors import ConflictError, ParamsError
from batchyield.versioning import hydra_params
from batchyield.versioning.git import SCRATCH_SETTINGS, git
from batchyield.versioning.provenance.trace import trace


def unmerged_files(root: Path) -> list[str]:
    """Return the files that git could not merge."""
    # Not `git diff`, which prints its usage where git may not read the repository.
    listed = git("ls-files", "--unmerged", "-z", cwd=root).split("\0")[:-1]
    return list(dict.fromkeys(entry.partition("\t")[2] for entry in listed))


def find_stale(root: Path = Path()) -> tuple[str, ...]:
    """Return where the working tree's `dvc.lock` is not what its code, data and params build; nothing is rebuilt.

    Raises:
        ArtifactError: the lock cannot be read.
        ConflictError: a merge is not finished.
    """
    if conflicts := unmerged_files(root):
        raise ConflictError(
            f"git has not merged {', '.join(conflicts)}",
            "`batchyield review resolve` rebuilds and stages what `dvc repro` writes",
        )
    # The tracked files as a commit that no branch holds; empty if they are HEAD's.
    commit = git("stash", "create", cwd=root, settings=SCRATCH_SETTINGS).strip()
    problems = trace(commit or git("rev-parse", "HEAD", cwd=root).strip(), root=root).breaks
    try:
        hydra_params.check_params(root)
    except ParamsError as error:
        problem, *_, remedy = str(error).splitlines()
        problems = (f"{problem}: {remedy.strip()}", *problems)
    return problems
