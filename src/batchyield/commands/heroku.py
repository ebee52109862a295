"""The service at Heroku: what is pushed there, and the push."""

import argparse
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from batchyield.commands import Commands

if TYPE_CHECKING:
    from batchyield.pins.heroku import Pushed


def add(commands: Commands) -> None:
    """Adds `deploy-heroku`."""
    deploy = commands.add(
        "deploy-heroku", _deploy, "Push what the image is made from, and the pinned model, to an application at Heroku."
    )
    deploy.add_argument("app", help="its name there")
    deploy.add_argument("--version", metavar="X.Y.Z", help="a released version of the model (HEAD)")
    deploy.add_argument("--dry-run", action="store_true", help="lay and check everything, show it, and push nothing")
    deploy.add_argument("--remote", metavar="URL", help="another git repository than the application's own at Heroku")


def _deploy(options: argparse.Namespace) -> int:
    from batchyield.pins import heroku
    from batchyield.pins.registry import resolve

    url = options.remote or heroku.remote(options.app)
    revision = resolve(version=options.version).revision if options.version else "HEAD"
    with tempfile.TemporaryDirectory(prefix="batchyield-heroku-") as folder:
        pushed = heroku.prepare(revision, Path(folder))
        print(_said(pushed, options.dry_run))
        print(shlex.join(heroku.command(url)), flush=True)
        if options.dry_run:
            print("nothing was pushed")
            return 0
        heroku.push(Path(folder), url)
    print(f"pushed; whether the release phase let it through: heroku releases --app {options.app}")
    return 0


def _said(pushed: "Pushed", all_files: bool) -> str:
    files = [f"{size:>10,}  {path}" for path, size in pushed.files.items()] if all_files else []
    return "\n".join(
        [
            f"commit {pushed.revision[:12]}, version {pushed.version}, model {pushed.md5} as dvc.lock pins it",
            *files,
            f"{len(pushed.files)} files, {sum(pushed.files.values()):,} bytes, committed in a folder of their own",
        ]
    )
