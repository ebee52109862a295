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
        findings: every output, in pipeline order.
        causes: inputs that differ from the lock, in pipeline order.
        environment: differences between this machine and the one that made the lock.
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

    The rebuild uses neither the run-cache nor cached outputs. The checkout at `root` is only read. `s3_port` is that of
    the embedded server, if the remotes use it and it is not running; `progress` gets one line before each step.

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
        for number, stage in enumerate(dvc("stage", "list", "--name-only", cwd=scratch, quiet=True).split(), 1):
            progress(f"[{number}/{len(committed.stages)}] {stage}")
            dvc("repro", "--force", "--single-item", "--no-run-cache", "--quiet", stage, cwd=scratch, quiet=True)
        rebuilt = read_lock(scratch / LOCK)
        measured = [(row, _measure(row, root, scratch)) for row in compare_outputs(committed, rebuilt)]
        why = changed_inputs(committed, rebuilt)
        recorded = scratch / environment.FINGERPRINT
        here = (
            environment.compare_fingerprint(recorded.read_text("utf-8"))
            if recorded.exists()
            else ["no fingerprint is committed"]
        )
    findings = tuple(Finding(p.stage, p.path, d.verdict, p.committed, p.rebuilt, d.description) for p, d in measured)
    return Verification(commit, findings, tuple(map(str, why)), tuple(here), round(time.monotonic() - begun, 1))


def _measure(row: OutputPair, root: Path, scratch: Path) -> OutputDiff:
    if row.same:
        return OutputDiff(OutputVerdict.SAME)
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
    count = len(result.findings)
    different = sum(finding.verdict is not OutputVerdict.SAME for finding in result.findings)
    verdict = f"{different} of {count} outputs differ" if different else f"all {count} outputs are as committed"
    lines.append(f"\n{result.revision[:12]}: {verdict} ({result.seconds} s)")
    if different and result.causes:
        lines.append("inputs that differ from the lock:")
        lines += [f"  {cause}" for cause in result.causes]
        lines.append("the lock was not made from this commit's inputs: run `make repro` and commit dvc.lock")
    elif different:
        same = "code, data and params are those of the lock, so the environment below explains the difference"
        unpinned = (
            "code, data, params and environment are those of the lock: an input is not pinned; run it again to compare"
        )
        lines.append(same if result.environment else unpinned)
    if result.environment:
        lines.append("environment, compared with the one that made the lock:")
        lines += [f"  {difference}" for difference in result.environment]
    return "\n".join(lines)
