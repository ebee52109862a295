"""Releases of the model: tagged, staged, described, packaged, uploaded and served by name."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batchyield.cli.options import Commands, show, with_json, with_s3, with_service
from batchyield.release.registry import NAME

if TYPE_CHECKING:
    from batchyield.release.registry import Registry, Release


def add(commands: Commands) -> None:
    """Adds `release`, `promote`, `models`, `tagged`, `notes`, `card`, `package` and `serve`."""
    release = commands.add("release", _release, "Tag HEAD as a version of the model, if it may be one.")
    which = release.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="X.Y.Z", help="of the release; above the newest one")
    which.add_argument(
        "--bump", choices=("major", "minor", "patch"), default="patch", help="of the newest one (%(default)s)"
    )
    release.add_argument("--dry-run", action="store_true", help="ask everything and make no tag")
    release.add_argument("--offline", action="store_true", help="do not ask whether the storage holds what is pinned")
    _with_push(release)
    with_s3(release)

    promote = commands.add("promote", _promote, "Put a version of the model into a stage, or the one before it back.")
    promote.add_argument("stage", help="dev, staging or prod: those in .gto")
    which = promote.add_mutually_exclusive_group()
    which.add_argument("version", nargs="?", help="an older one too (the newest)")
    which.add_argument("--back", action="store_true", help="the version that was in the stage before")
    _with_push(promote)

    models = commands.add("models", _models, "List the released versions of the model and the stages they are in.")
    with_json(models, "versions and moves as JSON on standard output")

    tagged = commands.add("tagged", _tagged, "Say what a tag releases or moves, a KEY=VALUE a line.")
    tagged.add_argument("tag", help="for example yield-model@v1.2.0 or 'yield-model#prod#7'")

    notes = commands.add("notes", _notes, "Write the release notes of a version as Markdown.")
    which = notes.add_mutually_exclusive_group()
    which.add_argument("version", nargs="?", help="(the newest)")
    which.add_argument("--all", action="store_true", help="of all versions, the newest first: the model's changelog")

    card = commands.add("card", _card, "Write the model card of a revision as Markdown.")
    card.add_argument("revision", nargs="?", default="HEAD", help="any git revision (%(default)s)")

    package = commands.add("package", _package, "Build the wheels of a release: the model and its library.")
    package.add_argument("version", nargs="?", help="(the newest)")
    package.add_argument("--out", type=Path, default=Path("dist"), help="folder (%(default)s)")
    package.add_argument("--model-only", action="store_true", help="leave the library out")

    serve = commands.add("serve", _serve, "Serve a released model.")
    serve.add_argument("--model", default=NAME, help="its name (%(default)s)")
    which = serve.add_mutually_exclusive_group()
    which.add_argument("--stage", help="the version that is in this stage")
    which.add_argument("--version", metavar="X.Y.Z", help="this version (the newest)")
    serve.add_argument("--workers", type=int, default=1, help="processes that serve (%(default)s)")
    with_service(serve)


def _with_push(added: argparse.ArgumentParser) -> None:
    added.add_argument("--push", action="store_true", help="push the tag to origin; taken back where that is refused")


def _release(options: argparse.Namespace) -> int:
    from batchyield.release.preflight import run_checks
    from batchyield.release.tagging import next_version, register, tag_message

    version = next_version(options.version, options.bump)
    checks = run_checks(offline=options.offline, s3_port=options.s3_port)
    print("\n".join(map(str, checks)), flush=True)
    if any(check.problems for check in checks):
        print(f"{NAME} {version} is not released", file=sys.stderr)
        return 1
    if options.dry_run:
        print(f"{NAME} {version} could be released; nothing was tagged")
        return 0
    made = register(version, tag_message(version), push=options.push)
    _tell(f"{made.tag} releases {made.revision[:12]}", made.tag, options.push)
    return 0


def _promote(options: argparse.Namespace) -> int:
    from batchyield.release import tagging

    if options.back:
        made, tag = tagging.promote_previous(options.stage, push=options.push)
    else:
        made, tag = tagging.promote(options.stage, options.version, push=options.push)
    if not tag:
        print(f"{options.stage} holds {NAME} {made.version} already")
        return 0
    _tell(f"{options.stage} holds {NAME} {made.version}", tag, options.push)
    return 0


def _tell(done: str, tag: str, pushed: bool) -> None:
    print(f"{done}; {tag} is pushed" if pushed else f"{done}; to publish it: git push origin '{tag}'")


def _models(options: argparse.Namespace) -> int:
    from batchyield.release.registry import read_registry

    show(read_registry(), options, _table)
    return 0


def _table(found: "Registry") -> str:
    if not found.releases:
        return "nothing is released; `batchyield release` does, `git fetch --tags` brings what others released"
    return "\n".join(
        f"{one.version:<10} {one.date[:10]}  {one.revision[:12]}  {', '.join(one.stages)}".rstrip()
        for one in found.releases
    )


def _tagged(options: argparse.Namespace) -> int:
    from batchyield.release.registry import resolve_tag

    release, stage = resolve_tag(options.tag)
    print(f"version={release.version}\nrevision={release.revision}\nstage={stage}")
    return 0


def _notes(options: argparse.Namespace) -> int:
    from batchyield.release.registry import read_registry
    from batchyield.release.release_notes import render_notes

    releases = read_registry().releases if options.all else (_resolved(options.version),)
    print("\n".join(render_notes(release) for release in releases), end="")
    return 0


def _card(options: argparse.Namespace) -> int:
    from batchyield.release.model_card import render_card
    from batchyield.release.pinned_model import fetch_model
    from batchyield.serving.deployment.rollout import read_deployment

    folder = fetch_model(options.revision)
    print(render_card(read_deployment(folder).revision, Path(), folder), end="")
    return 0


def _package(options: argparse.Namespace) -> int:
    from batchyield.release.wheels import build_library_wheel, build_model_wheel

    release = _resolved(options.version)
    print(build_model_wheel(release, options.out))
    if not options.model_only:
        print(build_library_wheel(release.revision, options.out))
    return 0


def _serve(options: argparse.Namespace) -> int:
    import os

    from batchyield.release import pinned_model, registry

    release = registry.resolve(options.model, stage=options.stage, version=options.version)
    told = pinned_model.prepare_service(release)
    print(f"serving {NAME} {release.version}, commit {release.revision[:12]}", file=sys.stderr, flush=True)
    where = ["--host", options.host, "--port", str(options.port), "--workers", str(options.workers)]
    command = [sys.executable, "-m", "api", *where]
    # This process becomes the service, so that whoever started it signals the service itself.
    os.execve(sys.executable, command, os.environ | {"PYTHONPATH": "src"} | told)  # noqa: S606 - our own fixed command


def _resolved(version: str | None) -> "Release":
    from batchyield.release.registry import resolve

    return resolve(version=version)
