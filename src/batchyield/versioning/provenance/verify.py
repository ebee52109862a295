"""Rebuild a commit in a scratch clone and compare every output with the committed lock."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from batchyield.errors import BatchyieldError
from batchyield.serving.lockfile import read_lock
from batchyield.versioning.dvc import dvc
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import LOCK, OutputPair, align_columns, changed_inputs, compare_outputs
from batchyield.versioning.provenance import environment
from batchyield.versioning.provenance.output_diff import OutputDiff, OutputVerdict, diff_output
from batchyield.versioning.revisions import read_lock_at, require_commit
from batchyield.versioning.storage import raw_data, remotes
from batchyield.versioning.storage.content_store import cache_path


class Finding(msgspec.Struct, frozen=True):
    """Comparison of one rebuilt output with the committed one; a hash is None if that lock has no such output."""

    stage: str
    path: str
    verdict: OutputVerdict
    committed: str | None
    rebuilt: str | None
    distance: str


class Verification(msgspec.Struct, frozen=True):
    """Result of a verification.

    Attributes:
        revision: the commit that was rebuilt.
        findings: every output, in pipeline order.
        causes: inputs that differ from the lock, in pipeline order.
        environment: differences between this machine and the one that made the lock.
        seconds: duration.
    """

    revision: str
    findings: tuple[Finding, ...]
    causes: tuple[str, ...]
    environment: tuple[str, ...]
    seconds: float

    @property
    def same(self) -> bool:
        """Whether every rebuilt output has the committed bytes."""
        return all(finding.verdict is OutputVerdict.SAME for finding in self.findings)


def verify(
    revision: str = "HEAD",
    *,
    root: Path = Path(),
    s3_port: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Clone `revision` into a scratch folder, fetch only the raw data, rebuild everything and compare.

    The rebuild uses neither the run-cache nor cached outputs. The checkout at `root` is only read.

    Args:
        revision: any git revision of the checkout.
        root: the checkout.
        s3_port: of the embedded server, if the remotes use it and it is not running.
        progress: called with one line before each step.

    Raises:
        RevisionError: there is no such revision.
        StorageError: the raw data cannot be fetched.
        CommandError: a stage failed.
    """
    begun = time.monotonic()
    commit = require_commit(revision, root)
    progress(f"cloning {commit[:12]} into a scratch folder")
    with remotes.started(root, s3_port), remotes.scratch_clone(root, commit) as scratch:
        progress(f"raw data {raw_data.fetch(scratch)}; nothing else is fetched")
        committed = read_lock_at("HEAD", scratch)
        _rebuild(scratch, len(committed.stages), progress)
        rebuilt = read_lock(scratch / LOCK)
        findings = tuple(_finding(row, root, scratch) for row in compare_outputs(committed, rebuilt))
        why = changed_inputs(committed, rebuilt)
        recorded = scratch / environment.FINGERPRINT
        here = (
            environment.compare_fingerprint(recorded.read_text())
            if recorded.exists()
            else ["no fingerprint is committed"]
        )
    return Verification(commit, findings, tuple(map(str, why)), tuple(here), round(time.monotonic() - begun, 1))


def _rebuild(scratch: Path, stages: int, progress: Callable[[str], None]) -> None:
    listed = dvc("stage", "list", "--name-only", cwd=scratch, quiet=True).split()
    for number, stage in enumerate(listed, 1):
        progress(f"[{number}/{stages}] {stage}")
        dvc("repro", "--force", "--single-item", "--no-run-cache", "--quiet", stage, cwd=scratch, quiet=True)


def _finding(row: OutputPair, root: Path, scratch: Path) -> Finding:
    measured = OutputDiff(OutputVerdict.SAME)
    if not row.same:
        measured = _measure(row, root, scratch)
    return Finding(row.stage, row.path, measured.verdict, row.committed, row.rebuilt, measured.description)


def _measure(row: OutputPair, root: Path, scratch: Path) -> OutputDiff:
    if row.committed is None or row.rebuilt is None:
        return OutputDiff(OutputVerdict.DIFFERENT, "not in the lock" if row.committed is None else "no longer built")
    cached = cache_path(root, row.committed)
    try:
        before = cached.read_bytes() if cached.exists() else git("show", f"HEAD:{row.path}", cwd=scratch).encode()
    except BatchyieldError:
        return OutputDiff(
            OutputVerdict.DIFFERENT, "not measured: `dvc fetch` fetches the committed bytes to compare with"
        )
    return diff_output(row.path, before, (scratch / row.path).read_bytes())


def render(result: Verification) -> str:
    """Return the verification as text: a table, then the differences that explain it."""
    lines = align_columns((f.stage, f.path, f.verdict, f.rebuilt or "-", f.distance) for f in result.findings)
    different = sum(finding.verdict is not OutputVerdict.SAME for finding in result.findings)
    if result.same:
        lines.append(
            f"\n{result.revision[:12]}: all {len(result.findings)} outputs are as committed ({result.seconds} s)"
        )
    else:
        lines.append(
            f"\n{result.revision[:12]}: {different} of {len(result.findings)} outputs differ ({result.seconds} s)"
        )
        lines += _explanation(result)
    if result.environment:
        lines.append("environment, compared with the one that made the lock:")
        lines += [f"  {difference}" for difference in result.environment]
    return "\n".join(lines)


def _explanation(result: Verification) -> list[str]:
    if result.causes:
        return [
            "inputs that differ from the lock:",
            *(f"  {cause}" for cause in result.causes),
            "the lock was not made from this commit's inputs: run `make repro` and commit dvc.lock",
        ]
    if result.environment:
        return ["code, data and params are those of the lock, so the environment below explains the difference"]
    return ["code, data, params and environment are those of the lock: an input is not pinned; run it again to compare"]
