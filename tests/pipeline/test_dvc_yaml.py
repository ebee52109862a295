"""The lock can be trusted only if every stage declares all that it reads: code, params and data."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from support.commands import EVALUATED, ROOT, run

from batchyield.versioning import hydra_params

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

# Runs a stage as `python -m` does, and notes which files below the workspace it read, wrote
# and imported, and which params it asked for; and apart from these what the guard of its inputs looked at.
WATCH = """
import json, os, runpy, sys
from pathlib import Path
root, read, written, guarded = Path.cwd(), set(), set(), set()
def by_the_guard():
    frame = sys._getframe(2)
    while frame and frame.f_globals.get("__name__") != "batchyield.pipeline.input_guard":
        frame = frame.f_back
    return frame is not None
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)) and not os.path.isdir(arguments[0]):
        path = Path(os.path.abspath(arguments[0]))
        if path.is_relative_to(root) and by_the_guard() and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            if path.suffix != ".pyc":
                guarded.add(str(path.relative_to(root)))
        elif path.is_relative_to(root / "data") or path.suffix == ".yaml" and path.is_relative_to(root):
            (written if arguments[2] & (os.O_WRONLY | os.O_RDWR) else read).add(str(path.relative_to(root)))
    elif event == "os.rename":
        written.add(str(Path(os.path.abspath(arguments[1])).relative_to(root)))
import batchyield.modelling.params
asked, read_params = set(), batchyield.modelling.params.read_params
class Watched:
    def __init__(self, params): self.__dict__["_"] = params
    def __getattr__(self, name):
        asked.add(name)
        return getattr(self._, name)
batchyield.modelling.params.read_params = lambda: Watched(read_params())
sys.addaudithook(hook)
sys.argv = [sys.argv[1]]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
modules = {m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
code = {str(Path(f).relative_to(root)) for f in modules if Path(f).is_relative_to(root / "src")}
seen = {"read": read, "written": written, "code": code, "params": asked, "guarded": guarded}
print(json.dumps({what: sorted(names) for what, names in seen.items()}))
"""

PARAMS = {f"src/batchyield/{name}.py" for name in ("modelling/params", "parallel/params", "plant/contract_params")}


def paths(entries):
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def folded(files, declared):
    """Return the files, with each that lies in a declared folder replaced by that folder."""
    return {next((path for path in declared if file.startswith(f"{path}/")), file) for file in files}


def outputs(stage):
    return paths([*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])])


@pytest.fixture(scope="module")
def watched(rebuilt, tmp_path_factory):
    root = tmp_path_factory.mktemp("watched") / "checkout"
    shutil.copytree(rebuilt, root, ignore=shutil.ignore_patterns(".s3", ".dvc"))
    hydra_params.write_params(
        root, [*EVALUATED, "model=line_trees", "model.extra_trees.n_estimators=10", "sample.batches=200"]
    )

    variables = {"PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}

    def watch(name):
        done = run(sys.executable, "-c", WATCH, f"batchyield.pipeline.{name}", cwd=root, **variables)
        return json.loads(done.stdout.splitlines()[-1])

    return {name: watch(name) for name in STAGES}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_every_module_it_imports(watched, name):
    declared = {path for path in paths(STAGES[name]["deps"]) if path.startswith("src/")}
    ran_as = f"src/batchyield/pipeline/{name}.py"
    # params.py is imported by the watch itself; those that take no params do not declare it.
    seen = set(watched[name]["code"]) | {ran_as}
    if not watched[name]["params"]:
        seen -= PARAMS
    assert folded(seen, declared) == declared


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_every_file_it_reads_and_writes(watched, name):
    seen = watched[name]
    read = {path for path in seen["read"] if path.startswith("data/")} - outputs(STAGES[name])
    assert read == {path for path in paths(STAGES[name]["deps"]) if path.startswith("data/")}
    written = {path for path in seen["written"] if not Path(path).name.startswith(".")}
    assert written == outputs(STAGES[name])
    assert set(seen["read"]) - read - outputs(STAGES[name]) <= {"params.yaml", "dvc.lock"}


UNDECLARED = {"engine"}
"""Where tasks run: tests/parallel compares the bytes, and another engine must not make a stage run again."""


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_every_param_it_reads(watched, name):
    assert set(watched[name]["params"]) - UNDECLARED == set(STAGES[name].get("params", []))


@pytest.mark.parametrize("name", STAGES)
def test_the_guard_of_a_stage_looks_at_all_that_it_declares(watched, name):
    declared = paths(STAGES[name]["deps"]) | ({"params.yaml"} if STAGES[name].get("params") else set())
    assert folded(watched[name]["guarded"], declared) == declared | {"dvc.yaml"}
