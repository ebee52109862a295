"""Fingerprint of the environment: the Python, libraries, CPU and threads that may change the bytes of an output."""

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from batchyield.errors import ConfigError
from batchyield.files import write_atomic
from batchyield.parallel.reproducibility import pin, thread_pools
from batchyield.versioning.lock_diff import flatten

FINGERPRINT = Path("requirements/environment.json")
LIBRARIES = (
    *("numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "onnx", "onnxruntime", "protobuf"),
    *("msgspec", "pyyaml", "pandera"),
)
"""Libraries that compute or write a value of an output."""


def read_fingerprint() -> dict[str, Any]:
    """Return the fingerprint of this machine and its libraries under the settings of a stage, without host and paths.

    A new process computes it, because NumPy chooses threads and kernels when it loads, and may have loaded here.
    """
    done = subprocess.run([sys.executable, "-m", __name__], capture_output=True, check=True)  # noqa: S603
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _measure() -> dict[str, Any]:
    import numpy

    config: Any = numpy.show_config(mode="dicts")
    extensions = config["SIMD Extensions"]
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "libraries": {name: _version(name) for name in LIBRARIES},
        "cpu": sorted({*extensions["baseline"], *extensions["found"]}),
        "threads": sorted(thread_pools(), key=json.dumps),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def write_fingerprint(root: Path = Path()) -> str:
    """Write the fingerprint to requirements/environment.json, to be committed with dvc.lock; return a message."""
    write_atomic(root / FINGERPRINT, (json.dumps(read_fingerprint(), indent=2, sort_keys=True) + "\n").encode())
    return f"wrote {FINGERPRINT}"


def compare_fingerprint(recorded: str) -> list[str]:
    """Return the differences between the text of a fingerprint file and this machine, one message each.

    Raises:
        ConfigError: the text is not a fingerprint.
    """
    try:
        before = _facts(json.loads(recorded))
    except ValueError as error:
        raise ConfigError(f"{FINGERPRINT} is not readable: {error}", f"`git checkout {FINGERPRINT}`") from error
    here = _facts(read_fingerprint())
    return [
        f"{name}: {before.get(name, 'nothing')} there, {here.get(name, 'nothing')} here"
        for name in sorted(before.keys() | here.keys())
        if before.get(name) != here.get(name)
    ]


def _facts(fingerprint: dict[str, Any]) -> dict[str, Any]:
    cpu = {f"cpu {feature}": "yes" for feature in fingerprint.pop("cpu", ())}
    return flatten(fingerprint, lists=True) | cpu


if __name__ == "__main__":
    pin()
    print(json.dumps(_measure()))
