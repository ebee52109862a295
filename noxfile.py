"""Environments besides `.venv`: other Pythons, and the small ones that a service, a caller or an installed wheel has.

`.venv/bin/nox --list` names them. What runs in a small environment is driven by the suite of the one that nox is in.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

import nox

PYTHONS = ("3.11", "3.12", "3.13")
OF_TRAINING = ("dvc", "pandas", "sklearn", "scipy", "hydra", "pandera", "pyarrow", "onnx", "pytest")
CHOICES = (
    ["model=ridge"],
    ["model.extra_trees.seed=2", "split.seed=3"],
    ["features=readings", "intervals=random", "model=gradient_boosting"],
)
OF_THE_MODEL = (
    "tests/cli",
    "tests/docs",
    "tests/modelling",
    "tests/pipeline",
    "tests/release",
    "tests/review",
    "tests/suite",
)

COMMIT = """
import sys
from pathlib import Path
from batchyield.versioning import git, hydra_params
from batchyield.versioning.dvc import dvc
from batchyield.versioning.storage import demo_remote, embedded_s3, raw_data, remotes
root = git.copy_working_tree(Path(), Path(sys.argv[1]))
hydra_params.write_overrides(root, sys.argv[2:])
hydra_params.write_params(root)
with embedded_s3.running(remotes.embedded_server(embedded_s3.free_port(), root)) as server:
    demo_remote.seed_bucket(server, root)
    raw_data.fetch(root)
    dvc("repro", "--quiet", cwd=root)
git.git("commit", "-qam", "Other choices", cwd=root, settings=git.SCRATCH_SETTINGS)
"""
"""Copies the working tree into a folder, rebuilds it with overrides and commits."""

SUITE = ("--numprocesses", "auto", "--dist", "worksteal", "--slow")

# A missing Python is skipped with a message; on CI, which installs each, it is an error.
nox.options.download_python = "never"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["serve", "client", "package"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite under each Python that is here, or what is named after `--`."""
    _locked(session, "dev")
    session.install("--no-deps", "--no-build-isolation", "--editable", ".")
    session.run("python", "-m", "pytest", *(session.posargs or SUITE))


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """`make lint` in an environment of its own."""
    _locked(session, "dev")
    session.install("--no-deps", "--no-build-isolation", "--editable", ".")
    made = Path(session.virtualenv.location).relative_to(Path.cwd())
    session.run("make", "lint", "--old-file=setup", f"VENV={made}", external=True)


@nox.session(python=PYTHONS)
def serve(session: nox.Session) -> None:
    """The service with requirements/serve.txt alone, as its image has it: the suite starts it and asks."""
    _locked(session, "serve")
    _lacks(session, *OF_TRAINING)
    _suite(session, "SERVICE_PYTHON", "tests/api/test_process.py")


@nox.session(python=PYTHONS)
def client(session: nox.Session) -> None:
    """The client with httpx and msgspec alone: the suite runs the Python of docs/client.md."""
    session.install("--constraint", "requirements/dev.txt", "httpx", "msgspec")
    _lacks(session, *OF_TRAINING, "numpy", "onnxruntime", "litestar", "yaml")
    _suite(
        session,
        "CLIENT_PYTHON",
        "tests/client/test_client.py",
        "tests/client/test_client_docs.py",
        "-k",
        "python or no_model",
    )


@nox.session(python=PYTHONS)
def package(session: nox.Session) -> None:
    """The library's wheel beside requirements/serve.txt alone: all that serves loads, and its command scores a file."""
    _locked(session, "serve")
    with tempfile.TemporaryDirectory() as folder:
        build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
        session.run(*build, external=True, silent=True)
        session.install("--no-deps", *map(str, Path(folder).glob("*.whl")))
    _lacks(session, *OF_TRAINING)
    # -I: not the source beside it
    session.run(
        "python", "-I", "-c", "import importlib, sys; [*map(importlib.import_module, sys.argv[1:])]", *_served()
    )
    _suite(session, "PACKAGE_PYTHON", "tests/client/test_client_docs.py", "-k", "score")


@nox.session(python=False)
def choices(session: nox.Session) -> None:
    """What reads the committed model, on commits whose model, seed, split or features are others.

    A pull request that changes the model must be green. After `--`: one set of overrides instead of all.
    """
    python = (sys.executable, "-m")
    for overrides in [session.posargs] if session.posargs else CHOICES:
        with tempfile.TemporaryDirectory() as folder:
            session.run(sys.executable, "-c", COMMIT, folder, *overrides, external=True)
            with session.chdir(folder):
                # Not relative: DVC in a test's checkout would import from there what is meant for its stages alone.
                given = {"PYTHONPATH": f"{folder}/src", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
                session.run(*python, "pytest", *SUITE, *OF_THE_MODEL, external=True, env=given)


def _served() -> list[str]:
    """The modules of the library that promise to need no training library."""
    contracts = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (found,) = (one["source_modules"] for one in contracts if one["name"] == "What serves needs no training library")
    return [name for name in found if name not in ("api", "batchyield.client")]


def _locked(session: nox.Session, lock: str) -> None:
    session.install("--no-deps", "--require-hashes", "--requirement", f"requirements/{lock}.txt")


def _lacks(session: nox.Session, *modules: str) -> None:
    code = "import importlib.util, sys; sys.exit(' '.join(filter(importlib.util.find_spec, sys.argv[1:])) or None)"
    session.run("python", "-I", "-c", code, *modules)


def _suite(session: nox.Session, which: str, *files: str) -> None:
    """Tests whose processes run under the session's Python, which has no pytest."""
    python = Path(session.virtualenv.bin) / "python"
    session.run(sys.executable, "-m", "pytest", *files, *session.posargs, external=True, env={which: str(python)})
