"""The environment as an input: what, beside code, data and params, could change a byte."""

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from batchyield.errors import SetupError
from batchyield.files import write_atomic
from batchyield.modelling.reproducibility import pin
from batchyield.versioning.lock_diff import flatten

FINGERPRINT = Path("requirements/environment.json")
LIBRARIES = (
    *("numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "onnx", "onnxruntime", "protobuf"),
    *("msgspec", "pyyaml", "pandera"),
)
"""Those that write a value into an output or compute one; the rest of the lock only moves bytes."""


def fingerprint() -> dict[str, Any]:
    """This machine and its libraries, as far as they can matter, as a stage finds them.

    It is taken in a process of its own: threads and kernels are chosen when NumPy loads, and here it may have loaded.

    Returns:
        Nested plain values; no host name, path or time.
    """
    done = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, check=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _look() -> dict[str, Any]:
    import numpy
    import sklearn  # noqa: F401 - loads its OpenMP, which is told below
    from threadpoolctl import threadpool_info

    config: Any = numpy.show_config(mode="dicts")
    extensions = config["SIMD Extensions"]
    pools = [
        {key: pool[key] for key in ("internal_api", "version", "architecture", "num_threads") if key in pool}
        for pool in threadpool_info()
    ]
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "libraries": {name: _version(name) for name in LIBRARIES},
        "cpu": sorted({*extensions["baseline"], *extensions["found"]}),
        "threads": sorted(pools, key=json.dumps),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def write_fingerprint(root: Path = Path()) -> str:
    """Records this environment beside the locks, to be committed with dvc.lock."""
    write_atomic(root / FINGERPRINT, (json.dumps(fingerprint(), indent=2, sort_keys=True) + "\n").encode())
    return f"wrote {FINGERPRINT}"


def compare_fingerprint(recorded: str) -> list[str]:
    """What is another here than in a recorded fingerprint, one sentence each.

    Args:
        recorded: the text of a fingerprint file.

    Raises:
        SetupError: it is no fingerprint.
    """
    try:
        before = _facts(json.loads(recorded))
    except ValueError as error:
        raise SetupError(f"{FINGERPRINT} is not readable: {error}", "`git checkout` it") from error
    here = _facts(fingerprint())
    return [
        f"{name}: {before.get(name, 'nothing')} there, {here.get(name, 'nothing')} here"
        for name in sorted(before.keys() | here.keys())
        if before.get(name) != here.get(name)
    ]


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    cpu = dict.fromkeys(found.pop("cpu", ()), "yes")
    return flatten(found, lists=True) | {f"cpu {feature}": there for feature, there in cpu.items()}


if __name__ == "__main__":
    pin()
    print(json.dumps(_look()))
