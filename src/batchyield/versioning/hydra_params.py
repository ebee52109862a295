"""Compose `conf/` with Hydra into `params.yaml`, or check that `params.yaml` is up to date."""

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
    """Return the text of params.yaml that DVC would write for `conf/` with these Hydra overrides.

    Raises:
        ParamsError: an override is malformed or names a parameter that `conf/` does not have.
    """
    with _params_errors(root, overrides), initialize_config_dir(str(root.resolve() / "conf"), version_base=None):
        return OmegaConf.to_yaml(compose_with_hydra("config", list(overrides)), resolve=True)


def expand_grid(root: Path, overrides: Sequence[str]) -> list[list[str]]:
    """Return the points that `dvc exp run --queue` makes of overrides with commas, each checked as a stage does.

    Raises:
        ParamsError: a point cannot be composed, or has a value outside its type or range.
    """
    with _params_errors(root, overrides):
        choices = []
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            swept = override.is_sweep_override()
            values = override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
            choices.append([f"{override.get_key_element()}={value}" for value in values])
    points = [list(point) for point in itertools.product(*choices)]
    for point in points:
        name = " ".join(point)
        text = compose(root, point)
        try:
            parse_params(text, name)
        except ParamsError as error:
            problem = str(error).splitlines()[0].removeprefix(f"{name}: ")
            raise ParamsError(name, problem, "correct the override") from error
    return points


@contextlib.contextmanager
def _params_errors(root: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Raise errors of Hydra in the block as ParamsError, with the nearest name for an unknown parameter."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        lines = str(error).partition("Config search path")[0].splitlines()
        problem = " ".join(line.strip() for line in lines if line.strip() and not line.startswith("See https"))
        if unknown := re.search(r"Could not override '([^']+)'", problem):
            groups = list(yaml.safe_load(compose(root)))
            # A group that was overridden has the parameters of the chosen option.
            chosen = [override for override in overrides if override.partition("=")[0] in groups]
            names = [*groups, *flatten(yaml.safe_load(compose(root, chosen)))]
            near = difflib.get_close_matches(unknown[1], names, 1)
            problem = f"unknown parameter '{unknown[1]}'" + (f"; did you mean '{near[0]}'?" if near else "")
        if overrides:
            raise ParamsError(" ".join(overrides), problem, "correct the override") from error
        raise ParamsError("conf/", problem) from error


def write_params(root: Path = Path(), overrides: Sequence[str] = ()) -> str:
    """Compose `conf/` into `params.yaml` and return a message."""
    write_atomic(root / PARAMS, compose(root, overrides).encode())
    return f"composed conf/ into {PARAMS}"


def check_params(root: Path = Path()) -> str:
    """Check that `params.yaml` equals the composed `conf/`, and return a message.

    Raises:
        ParamsError: they differ; the message has the difference.
    """
    composed, committed = compose(root), (root / PARAMS).read_text(encoding="utf-8")
    if composed != committed:
        lines = difflib.unified_diff(
            committed.splitlines(), composed.splitlines(), "params.yaml", "conf/ composed", lineterm="", n=1
        )
        raise ParamsError(str(PARAMS), "differs from conf/\n" + "\n".join(lines), "run `make params`")
    return f"{PARAMS} equals conf/"
