"""Comparison of the environment of workers with that of the client: what in a process may change a result."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from batchyield.errors import ConfigError

PACKAGE = Path(__file__).parents[1]
"""Source directory of batchyield, whose content is part of the environment."""

SAME_COMMIT_REMEDY = "run the image or the locks (requirements/) of the same commit on every machine"


class EnvironmentMismatchError(ConfigError):
    """Workers whose results could differ from the client's.

    Attributes:
        workers: address -> what differs or is missing.
    """

    def __init__(self, workers: Mapping[str, str], remedy: str = SAME_COMMIT_REMEDY) -> None:
        self.workers = dict(workers)
        lines = "\n".join(f"  {address}: {mismatch}" for address, mismatch in sorted(workers.items()))
        super().__init__(f"these workers have another environment than this client:\n{lines}", remedy)


def environment_mismatch(expected: Mapping[str, str], actual: Mapping[str, str]) -> str:
    """Return how two environments differ, as text; empty if they are equal."""
    names = dict.fromkeys([*expected, *actual])
    pairs = ((name, actual.get(name, "missing"), expected.get(name, "missing")) for name in names)
    return ", ".join(f"{name} {found} and not {wanted}" for name, found, wanted in pairs if found != wanted)


@cache
def code_md5() -> str:
    """Return the md5 of the contents of batchyield's modules."""
    code = hashlib.md5(usedforsecurity=False)
    for path in sorted(PACKAGE.rglob("*.py")):
        code.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return code.hexdigest()
