"""`params.yaml` is `conf/` composed by Hydra: write it, or tell whether it still is."""

import contextlib
import difflib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.utils.hydra import compose_and_dump, get_hydra_sweeps
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from batchyield.errors import ParamsError
from batchyield.files import write_atomic
from batchyield.params import parse

PARAMS = Path("params.yaml")


def compose(root: Path = Path(), overrides: Sequence[str] = ()) -> str:
    """The text that DVC itself would write for `conf/` with these Hydra overrides.

    Raises:
        ParamsError: an override is no override, or names what `conf/` does not have.
    """
    with tempfile.TemporaryDirectory() as folder, _refusing(overrides):
        out = Path(folder) / "params.yaml"
        conf = root.resolve() / "conf"
        compose_and_dump(str(out), str(conf), None, "config", str(conf.parent), list(overrides))
        return out.read_text(encoding="utf-8")


def grid(root: Path, overrides: Sequence[str]) -> list[list[str]]:
    """The points that `dvc exp run --queue` makes of overrides with commas, each checked as a stage would check it.

    Raises:
        ParamsError: one of them cannot be composed, or has a value outside its type or range.
    """
    with _refusing(overrides):
        points: list[list[str]] = [point[str(PARAMS)] for point in get_hydra_sweeps({str(PARAMS): list(overrides)})]
    for point in points:
        named = " ".join(point)
        text = compose(root, point)
        try:
            parse(text, named)
        except ParamsError as error:
            problem = str(error).splitlines()[0].removeprefix(f"{named}: ")
            raise ParamsError(named, problem, "correct the override") from error
    return points


@contextlib.contextmanager
def _refusing(overrides: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException, DvcException, ValueError) as error:
        said = str(error).partition("Config search path")[0].splitlines()
        problem = " ".join(line.strip() for line in said if line.strip() and not line.startswith("See https"))
        if overrides:
            raise ParamsError(" ".join(overrides), problem, "correct the override") from error
        raise ParamsError("conf/", problem) from error


def write(root: Path = Path(), overrides: Sequence[str] = ()) -> str:
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
