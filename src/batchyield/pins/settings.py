"""What tells the experiments of a sweep apart: their params, without those that a choice merely brings along."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Settings = Mapping[str, Any]
"""Dotted name of a param -> its value."""


def apart(base: Settings, each: Sequence[Settings]) -> tuple[Settings, list[Settings]]:
    """What differs from the baseline: first in all experiments alike, then what is left in each.

    Where a choice is another (`model.kind`), its own params are told only if experiments of that kind differ in them.
    """
    differing = [
        {
            name: value
            for name, value in settings.items()
            if base.get(name) != value and _told(name, settings, base, each)
        }
        for settings in each
    ]
    shared = (
        {name: value for name, value in differing[0].items() if all(d.get(name) == value for d in differing)}
        if len(each) > 1
        else {}
    )
    return shared, [{name: d[name] for name in d if name not in shared} for d in differing]


def _told(name: str, settings: Settings, base: Settings, each: Sequence[Settings]) -> bool:
    parts = name.split(".")
    for depth in range(1, len(parts)):
        kind = f"{'.'.join(parts[:depth])}.kind"
        if name != kind and settings.get(kind) != base.get(kind):
            alike = [other.get(name) for other in each if other.get(kind) == settings.get(kind)]
            return any(value != alike[0] for value in alike)
    return True


def said(settings: Settings) -> str:
    """As the overrides that choose them."""
    return " ".join(f"{name.removesuffix('.kind')}={_value(value)}" for name, value in settings.items())


def _value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
