"""`batchyield deploy`: which model the workers of a running service serve, and serving a release."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batchyield.cli.options import Parser, add_json_option, print_result

if TYPE_CHECKING:
    from batchyield.review.model_comparison import ModelComparison, ModelIdentity
    from batchyield.serving.artifact import Artifact
    from batchyield.serving.deployment.model_store import Deployment, ModelStore
    from batchyield.serving.deployment.rollout import Rollout


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield deploy`."""
    deploy = program.add_noun("deploy", "Models of a running service: start, shadow, roll back; serve a release.")

    about = "Fetch a revision's model, report what it changes, and have every worker serve it."
    start = deploy.add("start", _start, about, "v1.2.0")
    start.add_argument("revision", help="a version, an environment, or any git revision: 1.2.0, prod, main, a commit")

    about = "Have every worker serve the previous model again, or that of a revision."
    rollback = deploy.add("rollback", _rollback, about)
    rollback.add_argument("revision", nargs="?", help="as for start (the model that served before)")

    about = "Run a revision's model as shadow: it receives the same rows and answers no request."
    shadow = deploy.add("shadow", _shadow, about, "main")
    shadow.add_argument("revision", help="as for start; `off` ends it")
    for parser in (start, rollback):
        about = "deploy even if the model that serves cannot be kept for a rollback"
        parser.add_argument("--force", action="store_true", help=about)
    about = "time for the workers before the change is taken back; 0 does not wait (%(default)g)"
    for parser in (start, rollback, shadow):
        add_models_option(parser)
        parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help=about)
        add_json_option(parser)

    about = "Report which model each worker serves; exit code 1 if one has not the desired model."
    status = deploy.add("status", _status, about, "--json", json=True)
    add_models_option(status)

    about = "Serve a released model: the newest, that of an environment, or a version."
    serve = deploy.add("serve", _serve, about, "--environment prod", service=True)
    serve.add_argument("--model", metavar="NAME", help="name of the model (yield-model)")
    which = serve.add_mutually_exclusive_group()
    which.add_argument("--environment", metavar="NAME", help="the version that is in this environment, such as prod")
    which.add_argument("--version", metavar="X.Y.Z", help="this version (the newest)")
    serve.add_argument("--workers", type=int, default=1, help="worker processes (%(default)s)")


def add_models_option(parser: argparse.ArgumentParser) -> None:
    """Add `--models`, the folder that the workers of a service watch."""
    about = "its BATCHYIELD_MODELS (the variable, else .serving)"
    parser.add_argument("--models", type=Path, metavar="DIR", help=about)


def model_store(options: argparse.Namespace) -> "ModelStore":
    """Return the store of the models of a service, from `--models`."""
    from batchyield.serving.deployment.model_store import DEFAULT_MODELS_DIRECTORY, ModelStore

    return ModelStore(options.models or Path(os.environ.get("BATCHYIELD_MODELS") or DEFAULT_MODELS_DIRECTORY))


def fetch_model(revision: str) -> "tuple[Path, Deployment]":
    """Fetch the model of a revision and return its folder and its pins."""
    from batchyield.release import pinned_model
    from batchyield.serving.deployment.model_store import read_deployment

    folder = pinned_model.fetch_model(revision)
    return folder, read_deployment(folder)


def open_model(folder: Path, deployment: "Deployment") -> "tuple[Artifact, ModelIdentity]":
    """Open a fetched model, which runs its golden rows; return it with its names for a comparison."""
    from batchyield.review.model_comparison import ModelIdentity
    from batchyield.serving.artifact import open_artifact

    identity = ModelIdentity(deployment.md5, deployment.version, deployment.revision)
    return open_artifact(folder, deployment.pins), identity


def serving_deployment(models: "ModelStore") -> "Deployment":
    """Return the deployment that serves, or that would: the desired one, or the workspace's model.

    Raises:
        ArtifactError: no model is desired, and the workspace pins none.
    """
    from batchyield.serving.artifact import read_pins
    from batchyield.serving.deployment.model_store import Deployment
    from batchyield.serving.deployment.rollout import current_deployment

    if current := current_deployment(models):
        return current
    workspace = Path("data/model").absolute()
    return Deployment(str(workspace), read_pins(Path("dvc.lock").absolute(), workspace), "workspace", "unreleased")


def compare_deployments(
    models: "ModelStore", baseline: "Deployment", folder: Path, deployment: "Deployment"
) -> "ModelComparison":
    """Compare a fetched model with a deployment of the store."""
    from batchyield.review.model_comparison import compare_models

    return compare_models(open_model(models.path(baseline), baseline), open_model(folder, deployment))


def _keep_serving(models: "ModelStore", force: bool) -> "Deployment | None":
    """Keep the model that serves for a rollback, from its files or the DVC cache; None if no model serves.

    Raises:
        ConflictError: it cannot be kept, and `force` is not set.
    """
    from batchyield.errors import ArtifactError, BatchyieldError, ConflictError
    from batchyield.serving.deployment.rollout import current_deployment
    from batchyield.versioning.storage import content_store

    try:
        return models.keep(serving_deployment(models))
    except ArtifactError as error:
        if (serving := current_deployment(models)) is None:
            print(f"nothing to compare with: {error}", file=sys.stderr)
            return None
    try:
        files = content_store.read_pinned(Path(), serving.pins, serving.revision[:12])
        return models.write(serving, files)
    except BatchyieldError as error:
        problem = f"the model that serves, {serving}, cannot be kept for a rollback: {str(error).splitlines()[0]}"
        if not force:
            raise ConflictError(problem, "`--force` deploys anyway; no rollback will be possible") from error
        print(f"batchyield: {problem}", file=sys.stderr)
        return None


def _start(options: argparse.Namespace) -> int:
    from batchyield.review import model_comparison
    from batchyield.serving.deployment import rollout

    models = model_store(options)
    folder, deployment = fetch_model(options.revision)
    with rollout.deployment_lock(models):
        open_model(folder, deployment)
        before = _keep_serving(models, options.force)
        changes = compare_deployments(models, before, folder, deployment) if before else None
        if changes and not options.json:
            print(model_comparison.format_comparison(changes), end="\n\n", flush=True)
        return _report(rollout.deploy(models, models.add(folder, deployment), options.wait, before), options, changes)


def _rollback(options: argparse.Namespace) -> int:
    from batchyield.serving.deployment import rollout

    if options.revision:
        return _start(options)
    models = model_store(options)
    with rollout.deployment_lock(models):
        return _report(rollout.rollback(models, options.wait), options)


def _shadow(options: argparse.Namespace) -> int:
    from batchyield.serving.deployment import rollout

    models = model_store(options)
    with rollout.deployment_lock(models):
        if options.revision == "off":
            return _report(rollout.set_shadow(models, None, options.wait), options)
        folder, deployment = fetch_model(options.revision)
        open_model(folder, deployment)
        return _report(rollout.set_shadow(models, models.add(folder, deployment), options.wait), options)


def _status(options: argparse.Namespace) -> int:
    from batchyield.serving.deployment.rollout import Rollout
    from batchyield.serving.deployment.worker_registry import live_workers

    models = model_store(options)
    desired, workers = models.desired(), tuple(live_workers(models.workers))
    late = ", ".join(str(w.pid) for w in workers if w.desired_revision < desired.revision or w.refused)
    return _report(Rollout(desired, workers, f"workers without the desired model: {late}" if late else ""), options)


def _report(result: "Rollout", options: argparse.Namespace, changes: "ModelComparison | None" = None) -> int:
    lines = []
    if result.problem:
        lines += ["REFUSED, the desired state is as before:" if "wait" in options else "", result.problem]
    lines += [f"passed over, its files are damaged: {deployment}" for deployment in result.skipped]
    if not result.workers:
        serving = result.desired.serving or "the model of dvc.lock"
        lines += [f"no worker is running; the next one to start serves {serving}"]
    for worker in result.workers:
        shadow = f"; in the shadow {worker.shadow}" if worker.shadow else ""
        lines.append(f"worker {worker.pid} serves {worker.serving}{shadow}")
    print_result({"comparison": changes, "rollout": result}, options, lambda _: "\n".join(filter(None, lines)))
    return 1 if result.problem else 0


def _serve(options: argparse.Namespace) -> int:
    from batchyield.release import pinned_model
    from batchyield.versioning import registry

    release = registry.resolve(options.environment or options.version or "", model=options.model or registry.NAME)
    variables = pinned_model.prepare_service(release)
    as_of = registry.read_registry().as_of
    text = f"serving {registry.NAME} {release.version}, commit {release.revision[:12]}, as of {as_of}"
    print(text, file=sys.stderr, flush=True)
    address = ["--host", options.host, "--port", str(options.port), "--workers", str(options.workers)]
    command = [sys.executable, "-m", "api", *address]
    # This process becomes the service, so that signals to it reach the service itself.
    os.execve(sys.executable, command, os.environ | {"PYTHONPATH": "src"} | variables)  # noqa: S606 - fixed command
