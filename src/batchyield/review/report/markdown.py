"""GitHub Markdown from untrusted values."""

from collections.abc import Iterable, Sequence

_ESCAPED = {ord(mark): f"&#{ord(mark)};" for mark in "\\`*_[]<>|#@!~$&"}

ALIGN = {"<": ":---", ">": "---:"}


def cell(value: object) -> str:
    """Return a value on one line, escaped: no markup, mention or link."""
    return " ".join(str(value).split()).translate(_ESCAPED).replace("://", ":&#47;&#47;")


def code(value: object) -> str:
    """Return a value in code type, escaped."""
    return f"<code>{cell(value)}</code>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> list[str]:
    """Return a table of Markdown cells; `align` has `<` (left, the default) or `>` for each column."""
    sides = align.ljust(len(header), "<")
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(ALIGN[side] for side in sides)}|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def details(summary: str, lines: Sequence[str]) -> list[str]:
    """Return lines in a collapsed section; nothing if there are none."""
    if not lines:
        return []
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>", ""]


def number(value: float) -> str:
    """Return a number with four significant digits."""
    return f"{value:.4g}"
