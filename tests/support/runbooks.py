"""The commands and the queries in docs/runbooks.md."""

import re

from support.service import ROOT

RUNBOOKS = ROOT / "docs/runbooks.md"


def snippets():
    """Return the code in the text, each piece once and in one line."""
    blocks = re.split(r"```\n(.*?)```", RUNBOOKS.read_text(), flags=re.DOTALL)
    found = [code for text in blocks[::2] for code in re.findall(r"`([^`]+)`", text)] + blocks[1::2]
    return list(dict.fromkeys(" ".join(code.replace("\\\n", " ").split()) for code in found))


def commands(program):
    """Return the commands that begin with a program's name."""
    return [code for code in snippets() if code.startswith(f"{program} ")]


def queries():
    """Return the queries for Prometheus."""
    pattern = r"\bbatchyield_[a-z]|^(up|pg_up|container_\w+)\b|^\w+:\w+:|^\{"
    return [code for code in snippets() if re.search(pattern, code)]
