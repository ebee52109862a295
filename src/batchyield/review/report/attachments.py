"""Sections from the JSON output of other commands: reproduction, replay, serving benchmark."""

from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from batchyield.errors import ConfigError
from batchyield.review.gate import in_unit, with_unit
from batchyield.review.report.markdown import cell, code, number, table
from batchyield.review.revision import Revision
from batchyield.serving.deployment.prediction_diff import DiffSummary, SliceDiff
from batchyield.versioning.provenance.output_diff import OutputVerdict
from batchyield.versioning.provenance.verify import Verification

SHOWN = 8


class Replayed(msgspec.Struct, frozen=True):
    """Fields of `batchyield model replay --json` that the report shows."""

    baseline: str
    candidate: str
    overall: DiffSummary
    slices: list[SliceDiff]
    measured: int = 0
    live: dict[str, dict[str, float]] = {}


class Target(msgspec.Struct, frozen=True):
    """A target of the serving benchmark: measured value, bound, and whether it is met."""

    what: str
    found: str
    bound: str
    met: bool


class Served(msgspec.Struct, frozen=True):
    """Fields of `benchmarks/serving.py --json` that the report shows."""

    machine: str
    targets: list[Target]


class Attachments(NamedTuple):
    """Files with the JSON output; None if a command was not run."""

    verification: Path | None = None
    replay: Path | None = None
    bench: Path | None = None


Found = TypeVar("Found")


def _read(file: Path, kind: type[Found], command: str) -> Found:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", f"write it again: `{command} > {file}`") from error


class Rebuild(NamedTuple):
    """What a rebuild of the commit gave.

    Attributes:
        summary: the result in words.
        different: whether outputs differ from the committed ones.
        failed: whether the rebuild did not finish.
        causes: why outputs differ, as far as known.
        rows: of each output the stage, path, verdict, md5 and distance, as Markdown cells.
    """

    summary: str = "not rebuilt here"
    different: bool = False
    failed: bool = False
    causes: tuple[str, ...] = ()
    rows: tuple[list[str], ...] = ()


def read_rebuild(extras: Attachments, head: Revision) -> Rebuild:
    """Return the result of `batchyield pin verify`; one of another commit than the head's is left out."""
    if extras.verification is None:
        return Rebuild()
    if not extras.verification.is_file() or not extras.verification.stat().st_size:
        return Rebuild("the rebuild did not finish", failed=True)
    made = _read(extras.verification, Verification, "batchyield pin verify --json")
    if not made.revision.startswith(head.name):  # files that differ from HEAD are part of the name
        return Rebuild(f"not rebuilt here: the last rebuild was of {code(made.revision[:12])}")
    counts = {verdict: sum(f.verdict is verdict for f in made.findings) for verdict in OutputVerdict}
    counted = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    rows = tuple(
        [cell(f.stage), code(f.path), str(f.verdict), code((f.rebuilt or "–")[:8]), cell(f.distance)]
        for f in made.findings
    )
    causes = () if made.same else (*made.causes, *made.environment)
    return Rebuild(f"rebuilt from raw data: {counted}", not made.same, False, causes, rows)


def replay(extras: Attachments) -> list[str]:
    """Return how predictions for journalled inputs change."""
    if extras.replay is None:
        return []
    made = _read(extras.replay, Replayed, "batchyield model replay --json")
    change = f"{cell(made.baseline)} → {cell(made.candidate)}: {made.overall}."
    lines = ["### Replay of journalled inputs", "", change, ""]
    rows = [
        [cell(f"{one.by} {one.label}"), str(of.batches), *map(number, (of.mean, of.mean_absolute, of.p95, of.largest))]
        for one in made.slices[:SHOWN]
        for of in [one.differences]
    ]
    if rows:
        lines += table(("slice", "batches", "mean", "mean absolute", "95 % within", "largest"), rows, "<>>>>>")
    if made.live:
        was, now = made.live["baseline"]["rmse"], made.live["candidate"]["rmse"]
        lines += [
            f"By {made.measured} outcomes: RMSE {in_unit('rmse', was)} → {with_unit('rmse', now, name=False)}.",
            "",
        ]
    return lines


def bench(extras: Attachments) -> list[str]:
    """How fast the service is beside a plain echo and a usual service, measured in the same run."""
    if extras.bench is None:
        return []
    made = _read(extras.bench, Served, "python benchmarks/serving.py --json")
    rows = [[cell(t.what), cell(t.found), cell(t.bound), "pass" if t.met else "**miss**"] for t in made.targets]
    return ["### Serving", "", cell(made.machine), "", *table(("target", "measured", "bound", ""), rows, "<>>")]
