"""A model's parameters as a choice in `conf/model/`, which `model=NAME` then takes."""

import re
from pathlib import Path

import msgspec
import yaml

from batchyield.errors import ParamsError, SetupError
from batchyield.families import ModelParams
from batchyield.files import write_atomic

FOLDER = Path("conf/model")


def destination(name: str, force: bool = False, folder: Path = FOLDER) -> Path:
    """Where a choice of that name goes, if it may go there.

    Args:
        name: small letters, digits and `_`.
        force: whether an existing choice of that name may be replaced.
        folder: that of the choices.

    Raises:
        SetupError: the name is none, there is no such folder, or the choice exists already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SetupError(f"{name!r} cannot name a choice", "use small letters, digits and _, such as `tuned`")
    if not folder.is_dir():
        raise SetupError(f"there is no folder {folder}", "run it in a checkout of batchyield")
    path = folder / f"{name}.yaml"
    if path.exists() and not force:
        raise SetupError(f"{path} exists already", "take another name, or replace it with --force")
    return path


def write_choice(path: Path, model: ModelParams, about: str) -> str:
    """Writes the model as the choice `path`, below a comment; returns what to tell the user.

    A model that another choice beside it already is gets no second name.

    Raises:
        ParamsError: another choice there cannot be read.
    """
    for other in sorted(path.parent.glob("*.yaml")):
        if other != path and _decoded(other) == model:
            return f"{other} is this model already, nothing was written; choose it by model={other.stem}"
    # Kinds of trees that the model does without are left out.
    given = {key: value for key, value in msgspec.to_builtins(model).items() if value is not None}
    comment = "".join(f"# {line}\n" for line in about.splitlines())
    write_atomic(path, (comment + yaml.safe_dump(given, sort_keys=False)).encode())
    return f"wrote {path}; choose it by model={path.stem}"


def _decoded(path: Path) -> ModelParams:
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), ModelParams)  # type: ignore[no-any-return]
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ParamsError(str(path), f"is no choice of a model: {error}") from error
