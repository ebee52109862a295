"""Checks before a release: everything that users of the release rely on."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from batchyield.errors import BatchyieldError, RevisionError
from batchyield.modelling.params import read_params
from batchyield.release.pinned_model import fetch_model
from batchyield.release.wheels import library_version
from batchyield.review.gate import check_bounds
from batchyield.serving.artifact import open_artifact
from batchyield.serving.deployment.model_store import read_deployment
from batchyield.versioning import hydra_params
from batchyield.versioning.git import git
from batchyield.versioning.provenance.trace import trace
from batchyield.versioning.registry import read_registry
from batchyield.versioning.revisions import resolve_commit
from batchyield.versioning.storage import remotes
from batchyield.versioning.storage.audit import audit, copy_problems

LIBRARY = "src/batchyield"


class Check(msgspec.Struct, frozen=True):
    """One check and its problems; no problems: it passed."""

    name: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        verdict = "FAILED" if self.problems else "passed"
        return "\n".join([f"{verdict}  {self.name}", *(f"        {problem}" for problem in self.problems)])


def run_checks(root: Path = Path(), *, offline: bool = False, s3_port: int | None = None) -> tuple[Check, ...]:
    """Run all checks on HEAD and return them, passed or failed.

    Args:
        offline: skip the check of the storage.
        s3_port: of the embedded server, if the remotes use it and it is not running.

    Raises:
        RevisionError: `root` has no commit.
    """
    head = resolve_commit("HEAD", root)
    if head is None:
        raise RevisionError("there is no commit to release", "run the command in a checkout of batchyield")
    checks: dict[str, Callable[[], Iterable[str] | None]] = {
        "the working tree is what HEAD holds": lambda: [
            f"{line[3:]} differs: commit it, or restore it"
            for line in git("status", "--porcelain", cwd=root).splitlines()
        ],
        "params.yaml is conf/ composed": lambda: _params(root),
        "the lock was made from HEAD's code, data and params": lambda: trace(head, root=root).breaks,
        "the measured figures pass the gate": lambda: [
            str(check)
            for check in check_bounds(read_params(root / hydra_params.PARAMS).gate, root / "data/metrics")
            if not check.passed
        ],
        "the pinned model opens and answers its golden rows": lambda: _model(head, root),
        "the library has a version of its own": lambda: _library(head, root),
    }
    if not offline:
        checks["the storage holds all that the lock pins"] = lambda: _storage(root, s3_port)
    with contextlib.nullcontext() if offline else remotes.started(root, s3_port):
        return tuple(Check(name, tuple(_problems(check))) for name, check in checks.items())


def _problems(check: Callable[[], Iterable[str] | None]) -> Iterable[str]:
    try:
        return check() or ()
    except BatchyieldError as error:
        return [" ".join(str(error).split())]


def _params(root: Path) -> None:
    hydra_params.check_params(root)


def _model(head: str, root: Path) -> None:
    folder = fetch_model(head, root)
    open_artifact(folder, read_deployment(folder).pins)


def _library(head: str, root: Path) -> list[str]:
    """An index keeps the first wheel of a version, so changed code needs another version."""
    version = library_version(head, root)
    same = [release for release in read_registry(root).releases if library_version(release.revision, root) == version]
    return [
        f"{LIBRARY} is not what {release.tag} released as batchyield {version}: raise version in pyproject.toml"
        for release in same[:1]
        if git("diff", "--name-only", release.revision, head, "--", LIBRARY, cwd=root)
    ]


def _storage(root: Path, s3_port: int | None) -> list[str]:
    result = audit(root, s3_port=s3_port)
    return list(copy_problems(result.copies, result.storage))
