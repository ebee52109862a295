"""`params.yaml` is `conf/` composed by Hydra: write it, or tell whether it still is."""

import difflib
import tempfile
from pathlib import Path

from dvc.utils.hydra import compose_and_dump

from batchyield.errors import ParamsError
from batchyield.files import write_atomic

PARAMS = Path("params.yaml")


def compose(root: Path = Path(), overrides: list[str] | None = None) -> str:
    """The text that DVC itself would write for `conf/` with these Hydra overrides."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "params.yaml"
        conf = root.resolve() / "conf"
        compose_and_dump(str(out), str(conf), None, "config", str(conf.parent), overrides or [])
        return out.read_text(encoding="utf-8")


def write(root: Path = Path(), overrides: list[str] | None = None) -> str:
    """Composes `conf/` into `params.yaml`."""
    write_atomic(root / PARAMS, compose(root, overrides).encode())
    return f"composed conf/ into {PARAMS}"


def check(root: Path = Path()) -> str:
    """Tells that `params.yaml` equals the composed `conf/`.

    Raises:
        ParamsError: it does not; the message holds the difference.
    """
    composed, committed = compose(root), (root / PARAMS).read_text(encoding="utf-8")
    if composed != committed:
        lines = difflib.unified_diff(
            committed.splitlines(), composed.splitlines(), "params.yaml", "conf/ composed", lineterm="", n=1
        )
        raise ParamsError(str(PARAMS), "differs from conf/\n" + "\n".join(lines), "run `make params`")
    return f"{PARAMS} equals conf/"
