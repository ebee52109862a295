"""Which model a running service serves: deploy, shadow, compare, roll back."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batchyield.cli.options import Commands, show, with_json

if TYPE_CHECKING:
    from batchyield.review.model_comparison import Comparison, Side
    from batchyield.serving.artifact import Artifact
    from batchyield.serving.deployment.model_store import Deployment, ModelStore
    from batchyield.serving.deployment.rollout import Rollout

WAIT = 60.0


def add(commands: Commands) -> None:
    """Adds `deploy`, `shadow`, `rollback` and `compare`."""
    deploy = commands.add(
        "deploy", _deploy, "Bring a revision's model, tell what it changes, and have every worker serve it."
    )
    deploy.add_argument("revision", help="any git revision, for example main, v1.2.0 or a commit")
    deploy.add_argument("--shadow", action="store_true", help="let it see the same rows instead, and answer nobody")
    _with_service_of(deploy)

    shadow = commands.add("shadow", _shadow, "Run a revision's model in the shadow of the one that answers.")
    shadow.add_argument("revision", help="any git revision; `off` ends it")
    _with_service_of(shadow)

    rollback = commands.add("rollback", _rollback, "Have every worker serve what served before, or a named revision.")
    rollback.add_argument("revision", nargs="?", help="any git revision (what served before)")
    _with_service_of(rollback)

    compare = commands.add(
        "compare", _compare, "Tell what changes from one pinned model to another on the test batches."
    )
    compare.add_argument("revision", help="the baseline; alone: the candidate, beside the model that serves")
    compare.add_argument("candidate", nargs="?", help="the candidate")
    _with_models(compare)
    with_json(compare)


def _with_models(added: argparse.ArgumentParser) -> None:
    about = "the service's BATCHYIELD_MODELS (that variable, else .serving)"
    added.add_argument("--models", type=Path, metavar="DIR", help=about)


def _with_service_of(added: argparse.ArgumentParser) -> None:
    _with_models(added)
    about = "how long the workers may take before what was is put back; 0 does not wait (%(default)g)"
    added.add_argument("--wait", type=float, default=WAIT, metavar="SECONDS", help=about)
    with_json(added)


def _models(options: argparse.Namespace) -> "ModelStore":
    from batchyield.serving.deployment.model_store import DEFAULT_MODELS_DIRECTORY, ModelStore

    return ModelStore(options.models or Path(os.environ.get("BATCHYIELD_MODELS") or DEFAULT_MODELS_DIRECTORY))


def _brought(revision: str) -> "tuple[Path, Deployment]":
    from batchyield.release.pinned_model import fetch_model
    from batchyield.serving.deployment.rollout import read_deployment

    folder = fetch_model(revision)
    return folder, read_deployment(folder)


def _deploy(options: argparse.Namespace) -> int:
    if options.shadow:
        return _shadow(options)
    from batchyield.review import model_comparison
    from batchyield.serving.deployment import rollout

    models = _models(options)
    folder, deployment = _brought(options.revision)
    with rollout.exclusive_lock(models):
        changes = _changes(models, folder, deployment)
        if changes and not options.json:
            print(model_comparison.render(changes), end="\n\n", flush=True)
        return _tell(rollout.deploy(models, models.add(folder, deployment), options.wait), options, changes)


def _shadow(options: argparse.Namespace) -> int:
    from batchyield.serving.deployment import rollout

    models = _models(options)
    with rollout.exclusive_lock(models):
        if options.revision == "off":
            return _tell(rollout.set_shadow(models, None, options.wait), options)
        folder, deployment = _brought(options.revision)
        _opened(folder, deployment)
        return _tell(rollout.set_shadow(models, models.add(folder, deployment), options.wait), options)


def _rollback(options: argparse.Namespace) -> int:
    from batchyield.serving.deployment import rollout

    if options.revision:
        options.shadow = False
        return _deploy(options)
    models = _models(options)
    with rollout.exclusive_lock(models):
        return _tell(rollout.rollback(models, options.wait), options)


def _compare(options: argparse.Namespace) -> int:
    from batchyield.errors import SetupError
    from batchyield.review import model_comparison

    folder, deployment = _brought(options.candidate or options.revision)
    if options.candidate:
        made = model_comparison.compare(_opened(*_brought(options.revision)), _opened(folder, deployment))
    elif (found := _changes(_models(options), folder, deployment)) is None:
        raise SetupError("there is no model that serves, to compare with", "name two revisions")
    else:
        made = found
    show(made, options, model_comparison.render)
    return 0


def _changes(models: "ModelStore", folder: Path, deployment: "Deployment") -> "Comparison | None":
    """What the candidate changes against what serves, or would serve; None where that is no model that opens."""
    from batchyield.errors import ArtifactError
    from batchyield.review import model_comparison
    from batchyield.serving.deployment.rollout import current_deployment

    candidate = _opened(folder, deployment)
    try:
        now = current_deployment(models) or _of_workspace()
        return model_comparison.compare(_opened(models.path(now), now), candidate)
    except ArtifactError as error:
        print(f"nothing to compare with: {error}", file=sys.stderr)
        return None


def _of_workspace() -> "Deployment":
    from batchyield.serving.artifact import read_pins
    from batchyield.serving.deployment.model_store import Deployment

    directory = Path("data/model").absolute()
    return Deployment(str(directory), read_pins(Path("dvc.lock").absolute(), directory), "workspace", "unreleased")


def _opened(folder: Path, deployment: "Deployment") -> "tuple[Artifact, Side]":
    from batchyield.review.model_comparison import Side
    from batchyield.serving.artifact import open_artifact

    return open_artifact(folder, deployment.pins), Side(deployment.md5, deployment.version, deployment.revision)


def _tell(made: "Rollout", options: argparse.Namespace, changes: "Comparison | None" = None) -> int:
    show({"comparison": changes, "rollout": made}, options, lambda _: _said(made))
    return 1 if made.problem else 0


def _said(made: "Rollout") -> str:
    lines = []
    if made.problem:
        lines += [f"REFUSED, what was wanted before is put back:\n{made.problem}"]
    if not made.workers:
        lines += [
            f"no worker is running; the next one to start serves {made.desired.serving or 'the model of dvc.lock'}"
        ]
    for one in made.workers:
        beside = f"; in the shadow {one.shadow}" if one.shadow else ""
        lines.append(f"worker {one.pid} serves {one.serving}{beside}")
    return "\n".join(lines)
