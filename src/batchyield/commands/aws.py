"""The service on AWS: made, deployed to, given keys, and looked at."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batchyield.commands import Call, Commands, show, with_json

if TYPE_CHECKING:
    from batchyield.aws.stage import State


def add(commands: Commands) -> None:
    """Adds `aws` with `foundation`, `up`, `deploy`, `keys` and `status`."""
    about = "The service on AWS, by the stacks of deploy/aws: docs/deploy-aws.md is the page."
    actions = commands.add("aws", lambda _: 2, about).add_subparsers(required=True, metavar="ACTION")

    base = _action(
        actions, "foundation", _foundation, "Once: the registry of images, the bucket, roles of the workflows."
    )
    base.add_argument("repository", metavar="OWNER/NAME", help="on GitHub; only its workflows may assume the roles")
    base.add_argument("--oidc-provider", default="", metavar="ARN", help="of GitHub Actions, where the account has one")
    _with_dry_run(base)

    up = _action(actions, "up", _up, "Make a stage, or bring it to what the templates say now.")
    up.add_argument("stage", type=_stage, help="dev, staging or prod: those in .gto")
    up.add_argument("--certificate", metavar="ARN", help="of the service's name, from ACM; needed the first time")
    _with_settings(up)
    _with_dry_run(up)

    deploy = _action(actions, "deploy", _deploy, "Have a stage serve a released version, the journal migrated first.")
    deploy.add_argument("stage", type=_stage, help="dev, staging or prod")
    deploy.add_argument("version", nargs="?", help="as X.Y.Z (the one that the registry has in that stage)")
    _with_settings(deploy)
    _with_dry_run(deploy)

    keys = _action(actions, "keys", _keys, "Have a stage accept the API keys of a file that `batchyield key` keeps.")
    keys.add_argument("stage", type=_stage, help="dev, staging or prod")
    keys.add_argument("file", type=Path, help="of the keys; it holds hashes alone")

    status = _action(actions, "status", _status, "What a stage serves, with how many tasks. Exit code 1: too few.")
    status.add_argument("stage", type=_stage, help="dev, staging or prod")
    with_json(status)


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, call: Call, about: str
) -> argparse.ArgumentParser:
    added = actions.add_parser(name, help=about, description=about)
    added.set_defaults(call=_told(call))
    return added


def _with_settings(added: argparse.ArgumentParser) -> None:
    about = "a parameter of the templates, for example MostTasks=4; what is not given stays as it was"
    added.add_argument("--set", action="append", default=[], type=_setting, metavar="NAME=VALUE", help=about)


def _with_dry_run(added: argparse.ArgumentParser) -> None:
    added.add_argument("--dry-run", action="store_true", help="tell what would change, and change nothing")


def _told(call: Call) -> Call:
    def with_refusals_told(options: argparse.Namespace) -> int:
        from batchyield.aws.calls import told

        with told():
            return call(options)

    return with_refusals_told


def _stage(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,15}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a stage: lower-case letters, digits and -, 16 at most"
        )
    return text


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _foundation(options: argparse.Namespace) -> int:
    from batchyield.aws.cloud import cloud
    from batchyield.aws.stage import foundation

    made = foundation(cloud(_say), options.repository, options.oidc_provider, dry_run=options.dry_run)
    print("\n".join(f"{name}={value}" for name, value in made.items()))
    return 0


def _up(options: argparse.Namespace) -> int:
    from batchyield.aws.cloud import cloud
    from batchyield.aws.stage import up

    given = dict(options.set) | ({"Certificate": options.certificate} if options.certificate else {})
    made = up(cloud(_say), options.stage, given, dry_run=options.dry_run)
    print("\n".join(f"{name}={made[name]}" for name in ("Address", "DeployRole") if name in made))
    return 0


def _deploy(options: argparse.Namespace) -> int:
    from batchyield.aws.cloud import cloud
    from batchyield.aws.stage import deploy
    from batchyield.pins.registry import plain, resolve

    version = plain(options.version) if options.version else resolve(stage=options.stage).version
    changed = deploy(cloud(_say), options.stage, version, dict(options.set), dry_run=options.dry_run)
    done = "would serve" if options.dry_run else "serves" if changed else "served already"
    print(f"{options.stage} {done} {version}")
    return 0


def _keys(options: argparse.Namespace) -> int:
    from batchyield.aws.cloud import cloud
    from batchyield.aws.stage import keys

    keys(cloud(_say), options.stage, options.file)
    return 0


def _status(options: argparse.Namespace) -> int:
    from batchyield.aws.cloud import cloud
    from batchyield.aws.stage import state

    found = state(cloud(_say), options.stage)
    show(found, options, _line)
    return int(not found.version or found.running < found.wanted)


def _line(found: "State") -> str:
    if not found.version:
        return f"{found.stage}: nothing is deployed yet; `batchyield aws deploy {found.stage}` does"
    rollout = f", deployment {found.rollout.lower()}" if found.rollout else ""
    return (
        f"{found.stage}: {found.version}, {found.running} of {found.wanted} tasks{rollout}, at https://{found.address}"
    )
