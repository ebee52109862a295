"""Markdown as GitHub shows it, from values that may hold anything."""

from collections.abc import Iterable, Sequence

_ESCAPED = {ord(mark): f"&#{ord(mark)};" for mark in "\\`*_[]<>|#@!~$&"}

ALIGN = {"<": ":---", ">": "---:"}


def cell(value: object) -> str:
    """A value in a table or a sentence: on one line, and none of it markup, a mention or a link."""
    return " ".join(str(value).split()).translate(_ESCAPED).replace("://", ":&#47;&#47;")


def code(value: object) -> str:
    """A value in code type; it ends where the value does, whatever that holds."""
    return f"<code>{cell(value)}</code>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> list[str]:
    """A table of cells that are Markdown already; `align` has `<` or `>` for each column, `<` where it is shorter."""
    sides = align.ljust(len(header), "<")
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(ALIGN[side] for side in sides)}|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def details(summary: str, lines: Sequence[str]) -> list[str]:
    """Lines that open on a click; nothing where there are none."""
    if not lines:
        return []
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>", ""]


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def signed(value: float) -> str:
    """A change, with its sign; no sign where there is none."""
    return f"{value:+.3g}" if value else "0"
