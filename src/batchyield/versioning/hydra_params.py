"""`params.yaml` is `conf/` composed by Hydra: write it, or tell whether it still is."""

import contextlib
import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra import compose as compose_with_hydra
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from batchyield.errors import ParamsError
from batchyield.files import write_atomic
from batchyield.modelling.params import parse_params
from batchyield.versioning.lock_diff import flatten

PARAMS = Path("params.yaml")


def compose(root: Path = Path(), overrides: Sequence[str] = ()) -> str:
    """The text that DVC itself would write for `conf/` with these Hydra overrides.

    Raises:
        ParamsError: an override is no override, or names what `conf/` does not have.
    """
    with _refusing(root, overrides), initialize_config_dir(str(root.resolve() / "conf"), version_base=None):
        return OmegaConf.to_yaml(compose_with_hydra("config", list(overrides)), resolve=True)


def expand_grid(root: Path, overrides: Sequence[str]) -> list[list[str]]:
    """The points that `dvc exp run --queue` makes of overrides with commas, each checked as a stage would check it.

    Raises:
        ParamsError: one of them cannot be composed, or has a value outside its type or range.
    """
    with _refusing(root, overrides):
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        choices = [
            [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
            if one.is_sweep_override()
            else [f"{one.get_key_element()}={one.get_value_element_as_str()}"]
            for one in parsed
        ]
    points = [list(point) for point in itertools.product(*choices)]
    for point in points:
        named = " ".join(point)
        text = compose(root, point)
        try:
            parse_params(text, named)
        except ParamsError as error:
            problem = str(error).splitlines()[0].removeprefix(f"{named}: ")
            raise ParamsError(named, problem, "correct the override") from error
    return points


@contextlib.contextmanager
def _refusing(root: Path, overrides: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        said = str(error).partition("Config search path")[0].splitlines()
        problem = " ".join(line.strip() for line in said if line.strip() and not line.startswith("See https"))
        if unknown := re.search(r"Could not override '([^']+)'", problem):
            near = difflib.get_close_matches(unknown[1], _known(root, overrides), 1)
            problem = f"unknown parameter '{unknown[1]}'" + (f"; did you mean '{near[0]}'?" if near else "")
        if overrides:
            raise ParamsError(" ".join(overrides), problem, "correct the override") from error
        raise ParamsError("conf/", problem) from error


def _known(root: Path, overrides: Sequence[str]) -> list[str]:
    """Return the groups of choices and every dotted parameter of the choices that the overrides make."""
    groups = list(yaml.safe_load(compose(root)))
    chosen = [override for override in overrides if override.partition("=")[0] in groups]
    return [*groups, *flatten(yaml.safe_load(compose(root, chosen)))]


def write_params(root: Path = Path(), overrides: Sequence[str] = ()) -> str:
    """Composes `conf/` into `params.yaml`."""
    write_atomic(root / PARAMS, compose(root, overrides).encode())
    return f"composed conf/ into {PARAMS}"


def check_params(root: Path = Path()) -> str:
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
