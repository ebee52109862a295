"""Is the committed lock what the committed code builds? A rebuild elsewhere, laid beside the lock hash by hash."""

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
from batchyield.versioning.revisions import read_lock_at
from batchyield.versioning.storage import raw_data, remotes
from batchyield.versioning.storage.content_store import cache_path


class Finding(msgspec.Struct, frozen=True):
    """What the rebuild made of one output."""

    stage: str
    path: str
    verdict: OutputVerdict
    committed: str | None
    rebuilt: str | None
    distance: str


class Verification(msgspec.Struct, frozen=True):
    """A whole verification.

    Attributes:
        revision: the commit that was rebuilt.
        findings: every output, in pipeline order.
        causes: inputs that are not what the lock says, the first one first.
        environment: what is another on this machine than where the lock was made.
        seconds: of the whole.
    """

    revision: str
    findings: tuple[Finding, ...]
    causes: tuple[str, ...]
    environment: tuple[str, ...]
    seconds: float

    @property
    def same(self) -> bool:
        """Whether every output came out with the committed bytes."""
        return all(finding.verdict is OutputVerdict.SAME for finding in self.findings)


def verify(
    revision: str = "HEAD",
    *,
    root: Path = Path(),
    s3_port: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Clones `revision` into a scratch folder, brings the raw data alone, rebuilds all and compares.

    Neither the run-cache nor any cached output is used, and the checkout at `root` is only read.

    Args:
        revision: any git revision of the checkout.
        root: the checkout.
        s3_port: of the embedded server, where the remotes point at it and it does not run yet.
        progress: called with one line before each step.

    Raises:
        SetupError: the revision, the raw data or a tool is missing.
    """
    begun = time.monotonic()
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}", cwd=root).strip()
    progress(f"cloning {commit[:12]} into a scratch folder")
    with remotes.started(root, s3_port), remotes.scratch_clone(root, commit) as scratch:
        progress(f"raw data {raw_data.fetch(scratch)}; nothing else is brought")
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
    return Finding(row.stage, row.path, measured.verdict, row.committed, row.rebuilt, measured.said)


def _measure(row: OutputPair, root: Path, scratch: Path) -> OutputDiff:
    if row.committed is None or row.rebuilt is None:
        return OutputDiff(OutputVerdict.DIFFERENT, "not in the lock" if row.committed is None else "not built any more")
    kept = cache_path(root, row.committed)
    try:
        before = kept.read_bytes() if kept.exists() else git("show", f"HEAD:{row.path}", cwd=scratch).encode()
    except BatchyieldError:
        return OutputDiff(
            OutputVerdict.DIFFERENT, "how far is not known: `dvc fetch` brings the committed bytes to compare with"
        )
    return diff_output(row.path, before, (scratch / row.path).read_bytes())


def render(made: Verification) -> str:
    """The verification for people: a table, then what explains it."""
    lines = align_columns((f.stage, f.path, f.verdict, f.rebuilt or "-", f.distance) for f in made.findings)
    different = sum(finding.verdict is not OutputVerdict.SAME for finding in made.findings)
    if made.same:
        lines.append(
            f"\n{made.revision[:12]}: all {len(made.findings)} outputs are the committed bytes ({made.seconds} s)"
        )
    else:
        lines.append(f"\n{made.revision[:12]}: {different} of {len(made.findings)} outputs differ ({made.seconds} s)")
        lines += _why(made)
    if made.environment:
        lines.append("environment, against where the lock was made:")
        lines += [f"  {difference}" for difference in made.environment]
    return "\n".join(lines)


def _why(made: Verification) -> list[str]:
    if made.causes:
        return [
            "the first input that is not what the lock says:",
            *(f"  {cause}" for cause in made.causes),
            "the lock was not made from this commit's inputs: run `make repro` and commit dvc.lock",
        ]
    if made.environment:
        return ["code, data and params are those of the lock, so the environment below is what differs"]
    return [
        "code, data, params and environment are those of the lock: something is not pinned; does it differ every time?"
    ]
