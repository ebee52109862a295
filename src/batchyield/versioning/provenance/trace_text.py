"""Writes a trace for people: the lineage as a tree, each stage once, and the commands that rebuild the files."""

import json
import shlex
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import flatten
from batchyield.versioning.provenance.lineage import File, RawObject, Step
from batchyield.versioning.storage import remotes

WIDTH = 118
STEP = 2
LABEL = 13
OUTSIDE = ("code", "environment")
"""Inputs that are told in a line of the stage rather than as branches of the tree."""


def short(md5: str) -> str:
    """Digits enough to tell hashes apart by eye, and to be traced again."""
    return md5[:8]


def tree(subjects: Iterable[File], steps: Iterable[Step], raw: RawObject | None) -> Iterator[str]:
    """Draws the way back from each subject."""
    by_stage = {step.stage: step for step in steps}
    told: set[str] = set()
    for subject in subjects:
        yield from _file(subject, by_stage, raw, told, 0)


def _file(drawn: File, steps: dict[str, Step], raw: RawObject | None, told: set[str], depth: int) -> Iterator[str]:
    pad = " " * (STEP * depth)
    size = "" if drawn.size is None else f"  {drawn.size:,} bytes"
    head = f"{pad}{drawn.path}  {short(drawn.md5)}{size}"
    if drawn.stage is None:
        role = "" if drawn.role == "data" else f"  {drawn.role}"
        if drawn.role != "raw data" or drawn.path in told:
            yield head + role
        else:
            told.add(drawn.path)
            yield head + role
            yield f"{pad}{' ' * STEP}{_import(raw)}"
    elif drawn.stage in told:
        yield f"{head}  made by {drawn.stage}, above"
    else:
        told.add(drawn.stage)
        yield head
        yield from _step(steps[drawn.stage], steps, raw, told, depth + 1)


def _step(step: Step, steps: dict[str, Step], raw: RawObject | None, told: set[str], depth: int) -> Iterator[str]:
    pad = " " * (STEP * depth)
    yield f"{pad}made by {step.stage}: {step.command}"
    inner = pad + " " * STEP
    for source, params in step.params.items():
        values = [f"{name}={_json(value)}" for name, value in flatten(params).items()]
        yield from _listed(inner, source, values)
    for role in OUTSIDE:
        read = [f"{each.path}@{short(each.md5)}" for each in step.inputs if each.role == role]
        yield from _listed(inner, role, read)
    for each in step.inputs:
        if each.role not in OUTSIDE:
            yield from _file(each, steps, raw, told, depth + 1)


def _import(raw: RawObject | None) -> str:
    if raw is None:
        return "the revision has no pin that says where it was imported from"
    size = "of unknown size" if raw.size is None else f"{raw.size:,} bytes"
    return f"imported from {raw.url}, etag {raw.etag or 'unknown'}, {size}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _listed(pad: str, label: str, items: list[str]) -> list[str]:
    if not items:
        return []
    first = f"{pad}{label:<{LABEL}}"
    return textwrap.wrap(
        " ".join(items),
        max(WIDTH, len(first) + 40),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def commands(subjects: tuple[File, ...], revision: str, root: Path) -> Iterator[str]:
    """The command lines that bring the subjects' bytes again, to be run at the top of the checkout."""
    short = revision[:12]
    kept = set(git("ls-tree", "-r", "--name-only", "-z", "--full-tree", revision, cwd=root).split("\0"))
    for subject in subjects:
        if subject.path in kept:
            yield f"git show {shlex.quote(f'{short}:{subject.path}')}  # its bytes are kept in git"
    stages = list(dict.fromkeys(subject.stage for subject in subjects if subject.stage))
    if stages:
        yield f"batchyield pin verify --rev {short}  # rebuilds all of it in a scratch folder and compares the lock"
    elif all(subject.path in kept for subject in subjects):
        return
    folder = f"../batchyield-{short}"
    embedded = (root / ".dvc").is_dir() and not remotes.external_location(root)
    if embedded:
        yield "batchyield data s3 start  # the embedded S3 server of this checkout, which has the raw data"
    yield f"git clone --no-checkout . {folder}"
    yield f"git -C {folder} checkout --detach {short}"
    if embedded or (root / ".dvc/config.local").exists():  # elsewhere the keys may come from the environment
        yield f"cp .dvc/config.local {folder}/.dvc/  # endpoint and keys of the remotes"
    yield f"cd {folder}"
    yield "make setup"
    yield ". .venv/bin/activate"
    yield "batchyield data fetch  # the raw data, by their pin"
    if stages:
        yield f"dvc repro --no-run-cache {' '.join(stages)}"
