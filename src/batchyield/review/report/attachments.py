"""Sections from the JSON output of other commands: reproduction, replay, serving benchmark."""

from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from batchyield.errors import ConfigError
from batchyield.review.report.markdown import cell, code, details, number, table
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


def reproduction(extras: Attachments) -> list[str]:
    """Return whether a rebuild gives the committed bytes."""
    if extras.verification is None:
        return ["### Reproduction", "", "Not verified here: `batchyield pin verify` rebuilds the commit elsewhere.", ""]
    made = _read(extras.verification, Verification, "batchyield pin verify --json")
    counts = {verdict: sum(f.verdict is verdict for f in made.findings) for verdict in OutputVerdict}
    counted = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    lines, commit = ["### Reproduction", ""], code(made.revision[:12])
    if made.same:
        lines.append(f"✅ A rebuild of {commit} from raw data alone gives the committed bytes: {counted}.")
    else:
        lines.append(f"❌ **The lock of {commit} is not what its code builds**: {counted}.")
        lines += [f"- {cell(cause)}" for cause in (*made.causes, *made.environment)[:SHOWN]]
    rows = [
        [cell(f.stage), code(f.path), str(f.verdict), code((f.rebuilt or "–")[:8]), cell(f.distance)]
        for f in made.findings
    ]
    return [*lines, "", *details("Every output", table(("stage", "output", "", "md5", "how far"), rows))]


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
        lines += [f"By {made.measured} measured yields: RMSE {number(was)} → {number(now)}.", ""]
    return lines


def bench(extras: Attachments) -> list[str]:
    """How fast the service is beside a plain echo and a usual service, measured in the same run."""
    if extras.bench is None:
        return []
    made = _read(extras.bench, Served, "python benchmarks/serving.py --json")
    rows = [[cell(t.what), cell(t.found), cell(t.bound), "pass" if t.met else "**miss**"] for t in made.targets]
    return ["### Serving", "", cell(made.machine), "", *table(("target", "measured", "bound", ""), rows, "<>>")]
