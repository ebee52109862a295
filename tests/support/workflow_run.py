"""Runs the files in .github/workflows/ by act on this machine; local folders replace the actions of the marketplace.

What GitHub does itself is here: a repository, artifacts, the API's one answer, the comments that CML writes, and an AWS
role, which stands for the keys of a second S3 server.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import yaml
from support.commands import ROOT, run

from batchyield.versioning.storage.embedded_s3 import free_port

REPOSITORY = "plant/yield"
TOKEN = "token-of-the-run-1234"
ROLE = "arn:aws:iam::123456789012:role/batchyield-storage"

# A checkout's .venv is the suite's own environment, dated so that `make setup` has nothing to do.
CHECKOUT = """
git clone -q "$GITHUB_SIDE/origin.git" . && git checkout -q --detach "${REF:-$GITHUB_SHA}"
mkdir .venv && ln -s "$SUITE"/* .venv/ && touch -d 2100-01-01 .venv/.made-from-locks
"""
UPLOAD = """
import os, pathlib, shutil
target = pathlib.Path(os.environ["GITHUB_SIDE"], "artifacts", os.environ["NAME"])
shutil.rmtree(target, ignore_errors=True)
given = [pathlib.Path(line) for line in os.environ["FILES"].split()]
found = [path for path in given if path.exists()]
assert found or os.environ["EMPTY"] != "error", f"no file of {given}"
top = given[0] if len(given) == 1 and given[0].is_dir() else pathlib.Path(os.path.commonpath([p.parent for p in given]))
for path in found:
    for file in [path, *path.rglob("*")]:
        if file.is_file():
            (target / file.relative_to(top)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target / file.relative_to(top))
"""
STUBS = {
    "actions/checkout": CHECKOUT,
    "actions/upload-artifact": f"{sys.executable} -c '{UPLOAD}'",
    "actions/download-artifact": 'mkdir -p "$TO" && cp -r "$GITHUB_SIDE/artifacts/$NAME/." "$TO"',
    "aws-actions/configure-aws-credentials": (
        f'[ "$ROLE" = {ROLE} ] &&'
        ' printf "AWS_ACCESS_KEY_ID=%s\\nAWS_SECRET_ACCESS_KEY=%s\\n" $ROLE_KEYS >> "$GITHUB_ENV"'
    ),
    "iterative/setup-cml": 'echo "$GITHUB_SIDE/bin" >> "$GITHUB_PATH"',
}
"""Shell of each replaced action; the others do nothing."""

INPUTS = {
    "REF": "ref",
    "NAME": "name",
    "FILES": "path",
    "TO": "path",
    "EMPTY": "if-no-files-found",
    "ROLE": "role-to-assume",
}
CML = """#!/bin/sh
for file in "$@"; do :; done
{ echo "$*"; cat "$file"; } > "$GITHUB_SIDE/comment.txt"
"""
GH = '#!/bin/sh\necho "$*" > "$GITHUB_SIDE/release.txt"\n'


class Run(NamedTuple):
    """Result of a workflow: of each job, and of each of its steps by command or action; the whole log."""

    jobs: dict[str, str]
    steps: dict[str, str]
    log: str


class GitHub:
    """The side of GitHub: `folder` has origin.git, and gets artifacts and comments."""

    def __init__(self, folder: Path, server, bucket: str) -> None:
        self.folder, self.server, self.bucket = folder, server, bucket
        self.heads: dict[int, str] = {}
        self.actions: dict[str, Path] = {}
        (folder / "bin").mkdir()
        for name, script in {"cml": CML, "gh": GH, "sudo": "#!/bin/sh\n"}.items():
            (folder / "bin" / name).write_text(script)
            (folder / "bin" / name).chmod(0o755)
        for file in [*(ROOT / ".github").glob("workflows/*.yml"), *(ROOT / ".github").glob("actions/*/action.yml")]:
            for action in re.findall(r"uses: ([\w/.-]+@[0-9a-f]{40})", file.read_text()):
                self._replace(action)

    def _replace(self, action: str) -> None:
        name = action.split("@")[0]
        folder = self.folder / "actions" / name
        self.actions[action] = folder
        if folder.exists():
            return
        step = {"run": STUBS.get(name, "true"), "shell": "bash"}
        step["env"] = {variable: f"${{{{ inputs.{given} }}}}" for variable, given in INPUTS.items()}
        inputs = {given: {"default": ""} for given in INPUTS.values()}
        text = yaml.safe_dump(
            {"name": name, "description": name, "inputs": inputs, "runs": {"using": "composite", "steps": [step]}}
        )
        folder.mkdir(parents=True)
        (folder / "action.yml").write_text(text)
        run("git", "init", "-q", cwd=folder)
        run("git", "add", "-A", cwd=folder)
        run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", name, cwd=folder)

    @property
    def comment(self) -> str:
        """The comment that the last run wrote: CML's arguments in the first line, then the page."""
        return (self.folder / "comment.txt").read_text()

    def run(self, workflow: str, checkout: Path, name: str, event: dict, *, jobs=(), **variables: str) -> Run:
        """Runs a workflow file of `checkout` for an event of that name, with the variables of the repository."""
        (self.folder / "comment.txt").unlink(missing_ok=True)
        event |= {"repository": {"full_name": REPOSITORY, "name": "yield", "default_branch": "main"}}
        (self.folder / "event.json").write_text(json.dumps(event))
        given = {"GITHUB_SIDE": self.folder, "SUITE": sys.prefix, "GITHUB_REPOSITORY": REPOSITORY}
        given |= {"GITHUB_API_URL": self.api, "ROLE_KEYS": f"{self.server.key} {self.server.secret}"}
        given |= {"S3_PORT": free_port()}
        command = ["act", name, "--workflows", f".github/workflows/{workflow}", "--json", "--rm", "--no-cache-server"]
        command += ["--platform", "ubuntu-24.04=-self-hosted", "--eventpath", str(self.folder / "event.json")]
        command += ["--action-cache-path", str(self.folder / "cache"), "--secret", f"GITHUB_TOKEN={TOKEN}"]
        command += ["--concurrent-jobs", "1", "--env-file", os.devnull, "--secret-file", os.devnull]
        for action, folder in self.actions.items():
            command += ["--local-repository", f"{action}={folder}"]
        for key, value in given.items():
            command += ["--env", f"{key}={value}"]
        for key, value in variables.items():
            command += ["--var", f"{key}={value}"]
        for job in jobs:
            command += ["--job", job]
        path = f"{self.folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command, cwd=checkout, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=540
        )
        found = Run({}, {}, done.stderr)
        for line in done.stdout.splitlines():
            entry = json.loads(line)
            if "jobResult" in entry:
                found.jobs[entry["jobID"]] = entry["jobResult"]
            if entry.get("stage") == "Main" and "stepResult" in entry and len(entry.get("stepID", "..")) == 1:
                found.steps[re.sub(r"@[0-9a-f]{40}", "", entry["step"])] = entry["stepResult"]
        log = "".join(json.loads(line).get("msg", "") + "\n" for line in done.stdout.splitlines())
        return found._replace(log=f"{log}\n{done.stderr}")

    @contextlib.contextmanager
    def answering(self):
        """Answers the one request of `comment`: the head of a pull request."""
        heads = self.heads

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                number = self.path.removeprefix(f"/repos/{REPOSITORY}/pulls/")
                known = self.headers["Authorization"] == f"Bearer {TOKEN}" and heads.get(int(number))
                self.send_response(200 if known else 404)
                self.end_headers()
                self.wfile.write(json.dumps({"head": {"sha": known}}).encode() if known else b"{}")

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), Answer) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            self.api = f"http://127.0.0.1:{server.server_port}"
            yield self
            server.shutdown()
            thread.join()
