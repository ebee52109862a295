"""The way back drawn as a tree: each file under the stage that read it, each stage told once."""

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from batchyield.pins.causes import flat
from batchyield.pins.walk import File, RawObject, Step

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
        yield from _listed(inner, source, _settings(params))
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


def _settings(params: Any) -> list[str]:
    """Params as `key=value`, nested keys joined by dots, values as JSON."""
    written = {key: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for key, value in flat(params).items()}
    return [f"{key}={value}" for key, value in written.items()]


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
