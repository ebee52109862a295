"""Build the wheels of a release with hatchling: the model with its pin and card, and the library at its commit."""

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from batchyield.errors import CommandError, RevisionError
from batchyield.files import md5_of
from batchyield.release.model_card import render_card
from batchyield.release.pinned_model import fetch_model
from batchyield.serving.artifact import FILES, canonical_json
from batchyield.serving.deployment.model_store import read_deployment
from batchyield.serving.model_package import PIN_FILE, PackagePin
from batchyield.versioning.git import export_revision
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.provenance.lineage import read_raw_object
from batchyield.versioning.registry import NAME, Release
from batchyield.versioning.revisions import read_text_at

PACKAGE = "batchyield_model"

EPOCH = "1580601600"
"""SOURCE_DATE_EPOCH of the wheels, 2020-02-02, so that their bytes do not depend on the build time."""

PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "batchyield-model"
version = "{version}"
description = "{name} {version} with its pin; `from {package} import predict`"
readme = "README.md"
license = "MIT"
requires-python = ">=3.11"
dependencies = ["batchyield=={needed}"]

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""

INIT = '''"""{name} {version}, from commit {revision}: `predict`, `model()` and `pin`."""

from pathlib import Path

from batchyield.serving.model_package import ModelPackage

_packaged = ModelPackage(Path(__file__).parent)
__version__ = _packaged.pin.version
pin = _packaged.pin
model = _packaged.model
predict = _packaged.predict

__all__ = ["__version__", "model", "pin", "predict"]
'''


def build_model_wheel(release: Release, out: Path, root: Path = Path()) -> Path:
    """Build the wheel of a released model in `out`, with the same bytes each time, and return its path.

    Raises:
        StorageError: neither cache nor storage has the model.
        CommandError: hatchling is missing or fails.
        ArtifactError: the storage has other bytes than the pinned ones.
    """
    folder = fetch_model(release.revision, root)
    lock_md5 = md5_of((read_text_at(release.revision, LOCK, root) or "").encode())
    raw, pins = read_raw_object(release.revision, root), read_deployment(folder).pins
    pin = PackagePin(NAME, release.version, release.revision, pins, lock_md5, raw.md5 if raw else "")
    files = {name: (folder / name).read_bytes() for name in FILES} | {
        PIN_FILE: canonical_json(pin),
        "__init__.py": INIT.format(name=NAME, version=release.version, revision=release.revision[:12]).encode(),
        "py.typed": b"",
    }
    needed = library_version(release.revision, root)
    with tempfile.TemporaryDirectory(prefix="batchyield-model-") as scratch:
        project = Path(scratch)
        (project / PACKAGE).mkdir()
        for name, content in files.items():
            (project / PACKAGE / name).write_bytes(content)
        (project / "README.md").write_text(render_card(release.revision, root, folder), encoding="utf-8")
        described = PROJECT.format(name=NAME, version=release.version, needed=needed, package=PACKAGE)
        (project / "pyproject.toml").write_text(described, encoding="utf-8")
        return _build(project, out)


def library_version(revision: str, root: Path) -> str:
    """Return the library's version at a commit."""
    try:
        version: str = tomllib.loads(read_text_at(revision, "pyproject.toml", root) or "")["project"]["version"]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise RevisionError(
            f"pyproject.toml of {revision[:12]} has no version of the library", "release a commit that has one"
        ) from error
    return version


def build_library_wheel(revision: str, out: Path, root: Path = Path()) -> Path:
    """Build the wheel of the library at a commit in `out`, with the same bytes each time, and return its path."""
    with tempfile.TemporaryDirectory(prefix="batchyield-library-") as scratch:
        export_revision(revision, Path(scratch), root)
        return _build(Path(scratch), out)


def _build(project: Path, out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        options = ("--target", "wheel", "--directory", str(Path(folder).resolve()))
        done = subprocess.run(  # noqa: S603 - our own fixed command
            [sys.executable, "-m", "hatchling", "build", *options],
            cwd=project,
            env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode:
            raise CommandError(f"the wheel cannot be built: {done.stderr.strip()}", "run `make setup`")
        (built,) = Path(folder).glob("*.whl")
        return built.replace(out / built.name)
