"""Compose `conf/` with Hydra into `params.yaml`, or check that `params.yaml` is up to date."""

import contextlib
import difflib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
from batchyield.versioning.lock_diff import ENGINE, flatten

PARAMS, CONFIG = Path("params.yaml"), Path("conf/config.yaml")


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
    except yaml.YAMLError as error:
        raise ParamsError("conf/", " ".join(str(error).split())) from error
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


def find_overrides(root: Path, params: str) -> list[str]:
    """Return overrides with which `conf/` composes into the text of a params.yaml, choices of groups first.

    The engine of `conf/` stays: it belongs to the machine.

    Raises:
        ParamsError: there are none.
    """
    now, wanted = yaml.safe_load(compose(root)), yaml.safe_load(params)
    wanted = {group: wanted[group] for group in wanted if group != ENGINE} | {g: now[g] for g in now if g == ENGINE}
    choices, values = list[str](), list[str]()
    for group in [name for name in wanted if wanted[name] != now.get(name)]:
        target = flatten(wanted[group])

        def differing(settings: Any, target: dict[str, Any] = target) -> list[str]:
            found = flatten(settings)
            return [key for key in {**found, **target} if key not in found or found[key] != target.get(key, found)]

        options = sorted(path.stem for path in (root / "conf" / group).glob("*.yaml"))
        made = {name: yaml.safe_load(compose(root, [f"{group}={name}"]))[group] for name in options}
        nearest = min(options, key=lambda name: (len(differing(made[name])), made[name] != now[group]))
        if made[nearest] != now[group]:
            choices.append(f"{group}={nearest}")
        texts = {key: json.dumps(target[key]) for key in differing(made[nearest]) if key in target}
        values += [f"{group}.{key}={text}" for key, text in texts.items()]
    if yaml.safe_load(compose(root, [*choices, *values])) != wanted:
        raise ParamsError("conf/", "no overrides give these params", "write them into conf/ yourself")
    return [*choices, *values]


def write_overrides(root: Path, overrides: Sequence[str]) -> list[Path]:
    """Write overrides into `conf/`, so that it composes with them, and return the files that changed.

    A choice of a group goes into `conf/config.yaml`, a value into the file of the group's chosen option; the rest of
    the files stays as it is.

    Raises:
        ParamsError: an override cannot be written; nothing was changed.
    """
    texts = {CONFIG: (root / CONFIG).read_text(encoding="utf-8")}
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in sorted(parsed, key=lambda one: "." in one.get_key_element()):
        group, *path = override.get_key_element().split(".")
        line = re.search(rf"^(  - {re.escape(group)}: )(\w+)$", texts[CONFIG], re.MULTILINE)
        if line is None:
            raise ParamsError(str(override.input_line), f"conf/ has no group {group!r}", "correct the override")
        if not path:
            choice = override.get_value_element_as_str()
            texts[CONFIG] = texts[CONFIG].replace(line[0], f"{line[1]}{choice}", 1)
            continue
        file = Path("conf") / group / f"{line[2]}.yaml"
        texts.setdefault(file, (root / file).read_text(encoding="utf-8"))
        node = yaml.compose(texts[file])
        for key in path:
            entries = node.value if isinstance(node, yaml.MappingNode) else []
            node = next((value for name, value in entries if name.value == key), None)
        if node is None:
            raise ParamsError(str(override.input_line), f"{file} has no such value", "write it there yourself")
        # In place, because PyYAML would drop the comments.
        start, end = node.start_mark.index, node.end_mark.index
        tail = "\n" if texts[file][end - 1 : end] == "\n" else ""
        value = json.dumps(yaml.safe_load(override.get_value_element_as_str()))
        texts[file] = f"{texts[file][:start]}{value}{tail}{texts[file][end:]}"
    changed = [file for file, text in texts.items() if text != (root / file).read_text(encoding="utf-8")]
    for file in changed:
        write_atomic(root / file, texts[file].encode())
    return changed


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
        raise ParamsError(
            str(PARAMS),
            "differs from conf/\n" + "\n".join(lines),
            "if conf/ is right, run `make params`; if params.yaml is that of an experiment, "
            "`batchyield experiments keep NAME` writes its choices into conf/",
        )
    return f"{PARAMS} equals conf/"
