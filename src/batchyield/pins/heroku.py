"""A revision as Heroku builds it: what its image is made from, the pinned model among it, as a commit of its own."""

import re
import subprocess
from pathlib import Path

import msgspec

from batchyield.artifact import FILES, MODEL
from batchyield.errors import SetupError
from batchyield.files import md5, write_atomic
from batchyield.pins.artifacts import OUTPUTS, PINS, bring
from batchyield.pins.lookup import text_at
from batchyield.pins.workspace import IDENTITY, export, git

MANIFEST = "deploy/heroku/heroku.yml"
DOCKERFILE, CONTEXT = "Dockerfile", ".dockerignore"
APP = re.compile(r"[a-z][a-z0-9-]{1,28}[a-z0-9]")
BRANCH = "main"
"""The branch that Heroku builds."""

ENTRYPOINT = re.compile(r"^ENTRYPOINT .*$", re.MULTILINE)
"""Heroku would hand it the commands of heroku.yml as arguments; where there is none, a shell runs them."""


class Pushed(msgspec.Struct, frozen=True):
    """What is pushed.

    Attributes:
        revision: the commit that it was taken from, in full.
        version: the release that a tag on it names, else `unreleased`.
        md5: of the model.
        files: path -> size in bytes.
    """

    revision: str
    version: str
    md5: str
    files: dict[str, int]


def remote(app: str) -> str:
    """The git repository of an application at Heroku.

    Raises:
        SetupError: no application can have that name.
    """
    if not APP.fullmatch(app):
        raise SetupError(
            f"{app!r} can be no application of Heroku", "give its name: 3 to 30 of a-z, 0-9 and -, a letter first"
        )
    return f"https://git.heroku.com/{app}.git"


def prepare(revision: str, folder: Path, root: Path = Path()) -> Pushed:
    """Lays what Heroku builds into an empty folder and commits it there, with no history.

    Only what `.dockerignore` lets into the image is laid, as git has it at the revision: neither changes of the working
    tree nor anything that git ignores, but for the model, which is compared with its pin.

    Args:
        revision: any git revision.
        folder: the empty folder; becomes a repository.
        root: the checkout.

    Raises:
        SetupError: there is no such revision, it cannot run at Heroku, or its model cannot be had.
        ArtifactError: the storage holds other bytes than the pinned ones.
    """
    model = bring(revision, root)
    pins = msgspec.json.decode((model / PINS).read_bytes(), type=dict[str, str])
    commit, version = pins["revision"], pins["version"]
    manifest = text_at(commit, MANIFEST, root)
    if manifest is None:
        raise SetupError(f"{commit[:12]} has no {MANIFEST}", "name a later revision")
    let_in = [line[1:] for line in (text_at(commit, CONTEXT, root) or "").splitlines() if line.startswith("!")]
    export(commit, folder, root, DOCKERFILE, CONTEXT, *(path for path in let_in if path != OUTPUTS))
    dockerfile = folder / DOCKERFILE
    write_atomic(dockerfile, ENTRYPOINT.sub("ENTRYPOINT []", dockerfile.read_text()).encode())
    for placeholder, said in (("REVISION: unknown", commit), ("VERSION: unreleased", version)):
        name = placeholder.partition(":")[0]
        manifest = manifest.replace(placeholder, f'{name}: "{said}"')
    write_atomic(folder / Path(MANIFEST).name, manifest.encode())
    for name in FILES:
        write_atomic(folder / OUTPUTS / name, (model / name).read_bytes())
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    git("init", "--quiet", "--template=", "--initial-branch", BRANCH, cwd=folder)
    git("-c", "core.autocrlf=false", "add", "--force", "--all", cwd=folder)
    git(*IDENTITY, "commit", "--quiet", "--no-verify", "--message", f"batchyield {version}, {commit}", cwd=folder)
    return Pushed(commit, version, md5(folder / OUTPUTS / MODEL), dict(sorted(files.items())))


def command(url: str) -> list[str]:
    """What pushes a prepared folder. It has no history, so that each push replaces what was pushed before."""
    return ["git", "push", "--force", url, f"HEAD:refs/heads/{BRANCH}"]


def push(folder: Path, url: str) -> None:
    """Pushes a prepared folder; what Heroku says while it builds goes to standard error as it comes.

    Raises:
        SetupError: it was refused, or the build failed.
    """
    done = subprocess.run(command(url), cwd=folder)  # noqa: S603 - git from PATH is the user's own
    if done.returncode:
        raise SetupError(
            f"{url} did not take it: git ended with {done.returncode}",
            "its own words stand above; `heroku login` and `heroku stack:set container` come before the first push",
        )
