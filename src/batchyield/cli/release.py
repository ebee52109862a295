"""`batchyield release`: versions of the model as git tags, the environments they are in, their notes and wheels."""

import argparse
from pathlib import Path

from batchyield.cli.options import Parser, print_progress, print_result


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield release`."""
    releases = program.add_noun("release", "Releases of the model: create, promote, list, describe, package.")

    about = "Tag HEAD as a version of the model, after all checks pass."
    create = releases.add("create", _create, about, "--bump minor --push", json=True, s3=True)
    which = create.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="X.Y.Z", help="of the release; above the newest one")
    bumps = ("major", "minor", "patch")
    which.add_argument("--bump", choices=bumps, default="patch", help="part of the newest version (%(default)s)")
    create.add_argument("--dry-run", action="store_true", help="run the checks and make no tag")
    create.add_argument("--offline", action="store_true", help="do not check that the storage holds the pinned objects")

    about = "Assign a version of the model to an environment, or the one before it again."
    promote = releases.add("promote", _promote, about, "prod 1.2.0 --push", json=True)
    promote.add_argument("environment", help="dev, staging or prod: those in .gto")
    which = promote.add_mutually_exclusive_group()
    which.add_argument(
        "version", nargs="?", help="or an environment, whose version it is; an older one is possible (the newest)"
    )
    which.add_argument("--back", action="store_true", help="the version that was in the environment before")
    for parser in (create, promote):
        parser.add_argument("--push", action="store_true", help="push the tag to origin; delete it if that fails")

    about = "List the released versions of the model and the environments they are in."
    releases.add("list", _list, about, "--json", json=True)

    about = "Print what a tag releases or promotes, as KEY=VALUE lines."
    show = releases.add("show", _show, about, "yield-model@v1.2.0", json=True)
    show.add_argument("tag", help="for example yield-model@v1.2.0, 'yield-model#prod#7', 1.2.0 or prod")

    notes = releases.add("notes", _notes, "Print the release notes of a version as Markdown.", "1.2.0")
    which = notes.add_mutually_exclusive_group()
    which.add_argument("version", nargs="?", help="or an environment (the newest)")
    which.add_argument("--all", action="store_true", help="of all versions, the newest first: the model's changelog")

    card = releases.add("card", _card, "Print the model card of a revision as Markdown.", "v1.2.0")
    card.add_argument(
        "revision", nargs="?", default="HEAD", help="any git revision, version or environment (%(default)s)"
    )

    about = "Build the wheels of a release: the model and its library."
    package = releases.add("package", _package, about, "1.2.0 --out dist", json=True)
    package.add_argument("version", nargs="?", help="or an environment (the newest)")
    package.add_argument("--out", type=Path, default=Path("dist"), help="folder (%(default)s)")
    package.add_argument("--model-only", action="store_true", help="leave the library out")


def _create(options: argparse.Namespace) -> int:
    from batchyield.release.preflight import run_checks
    from batchyield.release.tagging import next_version, register, tag_message
    from batchyield.versioning.registry import NAME

    version = next_version(options.version, options.bump)
    checks = run_checks(offline=options.offline, s3_port=options.s3_port)
    if not options.json:
        print("\n".join(map(str, checks)), flush=True)
    failed, release = any(check.problems for check in checks), None
    if failed:
        print_progress(f"{NAME} {version} is not released")
    elif not options.dry_run:
        release = register(version, tag_message(version), push=options.push)
    if options.json:
        print_result({"version": version, "checks": checks, "release": release}, options, str)
    elif release:
        print(_tagged(f"{release.tag} releases {release.revision[:12]}", release.tag, options.push))
    elif not failed:
        print(f"{NAME} {version} could be released; nothing was tagged")
    return 1 if failed else 0


def _promote(options: argparse.Namespace) -> None:
    from batchyield.release import tagging
    from batchyield.versioning.registry import NAME

    if options.back:
        release, tag = tagging.promote_previous(options.environment, push=options.push)
    else:
        release, tag = tagging.promote(options.environment, options.version, push=options.push)
    text = f"{options.environment} holds {NAME} {release.version}"
    text = _tagged(text, tag, options.push) if tag else f"{text} already"
    print_result({"release": release, "tag": tag}, options, lambda _: text)


def _tagged(text: str, tag: str, pushed: bool) -> str:
    return f"{text}; {tag} is pushed" if pushed else f"{text}; to publish it: git push origin '{tag}'"


def _list(options: argparse.Namespace) -> None:
    from batchyield.versioning.registry import read_registry

    registry = read_registry()
    lines = [
        f"{one.version:<10} {one.date[:10]}  {one.revision[:12]}  {', '.join(one.environments)}".rstrip()
        for one in registry.releases
    ] or ["no release; `batchyield release create` makes one, `git fetch --tags` fetches those of others"]
    if registry.as_of:
        lines.append(f"as of {registry.as_of}; `git fetch --tags` fetches later ones")
    print_result(registry, options, lambda _: "\n".join(lines))


def _show(options: argparse.Namespace) -> None:
    from batchyield.versioning.registry import resolve_tag

    release, environment = resolve_tag(options.tag)
    fields = {"version": release.version, "revision": release.revision, "environment": environment}
    print_result(fields, options, lambda fields: "\n".join(f"{key}={value}" for key, value in fields.items()))


def _notes(options: argparse.Namespace) -> None:
    from batchyield.release.release_notes import render_notes
    from batchyield.versioning.registry import read_registry, resolve

    releases = read_registry().releases if options.all else (resolve(options.version or ""),)
    print("\n".join(render_notes(release) for release in releases), end="")


def _card(options: argparse.Namespace) -> None:
    from batchyield.cli.deploy import fetch_model
    from batchyield.release.model_card import render_card

    folder, deployment = fetch_model(options.revision)
    print(render_card(deployment.revision, Path(), folder), end="")


def _package(options: argparse.Namespace) -> None:
    from batchyield.release.wheels import build_library_wheel, build_model_wheel
    from batchyield.versioning.registry import resolve

    release = resolve(options.version or "")
    wheels = [build_model_wheel(release, options.out)]
    if not options.model_only:
        wheels.append(build_library_wheel(release.revision, options.out))
    print_result([str(wheel) for wheel in wheels], options, "\n".join)
