"""A release as wheels: the model with its pin and its card, and the library at the release's own commit."""

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from batchyield.artifact import FILES, canonical_json
from batchyield.errors import SetupError
from batchyield.files import write_atomic
from batchyield.packaged import PIN, Pin
from batchyield.pins.artifacts import bring
from batchyield.pins.card import card, pins
from batchyield.pins.compare import LOCK
from batchyield.pins.copies import name_of
from batchyield.pins.lookup import text_at
from batchyield.pins.registry import NAME, Release
from batchyield.pins.walk import raw_object
from batchyield.pins.wheel import EPOCH, filename, wheel
from batchyield.pins.workspace import export

DISTRIBUTION = "batchyield-model"
PACKAGE = "batchyield_model"

INIT = '''"""{name} {version}, from commit {revision}: `predict`, `model()` and `pin`."""

from pathlib import Path

from batchyield.packaged import Packaged

_packaged = Packaged(Path(__file__).parent)
__version__ = _packaged.pin.version
pin = _packaged.pin
model = _packaged.model
predict = _packaged.predict

__all__ = ["__version__", "model", "pin", "predict"]
'''


def pin_of(release: Release, folder: Path, root: Path = Path()) -> Pin:
    """What a release pins; `folder` is its model, from `artifacts.bring`."""
    lock = text_at(release.revision, LOCK, root) or ""
    digest = name_of(lock.encode())
    raw = raw_object(release.revision, root)
    return Pin(NAME, release.version, release.revision, pins(folder), digest, raw.md5 if raw else "")


def package(release: Release, out: Path, root: Path = Path()) -> Path:
    """Writes the wheel of a released model; the same bytes each time.

    Raises:
        SetupError: neither cache nor storage has the model.
        ArtifactError: the storage holds other bytes than the pinned ones.
    """
    folder = bring(release.revision, root)
    files = {name: (folder / name).read_bytes() for name in FILES} | {
        PIN: canonical_json(pin_of(release, folder, root)),
        "__init__.py": INIT.format(name=NAME, version=release.version, revision=release.revision[:12]).encode(),
        "py.typed": b"",
    }
    data = wheel(
        DISTRIBUTION,
        release.version,
        _metadata(release, library_version(release.revision, root), card(release.revision, root, folder)),
        {f"{PACKAGE}/{name}": content for name, content in files.items()},
    )
    written = out / filename(DISTRIBUTION, release.version)
    write_atomic(written, data)
    return written


def library_version(revision: str, root: Path) -> str:
    """The library's version at a commit.

    Raises:
        SetupError: its pyproject.toml says none.
    """
    try:
        version: str = tomllib.loads(text_at(revision, "pyproject.toml", root) or "")["project"]["version"]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise SetupError(
            f"pyproject.toml of {revision[:12]} names no version of the library", "release a commit whose does"
        ) from error
    return version


def library(revision: str, out: Path, root: Path = Path()) -> Path:
    """Builds the wheel of the library from a commit, not from the working tree; the same bytes each time.

    Raises:
        SetupError: hatchling is missing or refuses.
    """
    with tempfile.TemporaryDirectory(prefix="batchyield-library-") as scratch:
        tree, made = (Path(scratch) / name for name in ("tree", "made"))
        export(revision, tree, root)
        done = subprocess.run(  # noqa: S603 - our own fixed command
            [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(made)],
            cwd=tree,
            env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SetupError(f"the library's wheel cannot be built: {done.stderr.strip()}", "run `make setup`")
        (built,) = made.glob("*.whl")
        written = out / built.name
        write_atomic(written, built.read_bytes())
    return written


def _metadata(release: Release, needed: str, said: str) -> str:
    head = {
        "Metadata-Version": "2.4",
        "Name": DISTRIBUTION,
        "Version": release.version,
        "Summary": f"{NAME} {release.version} with its pin; `from {PACKAGE} import predict`",
        "License-Expression": "MIT",
        "Requires-Python": ">=3.11",
        "Requires-Dist": f"batchyield=={needed}",
        "Description-Content-Type": "text/markdown",
    }
    return "\n".join(f"{key}: {value}" for key, value in head.items()) + f"\n\n{said}"
