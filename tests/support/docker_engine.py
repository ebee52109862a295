"""A Docker Engine of the test's own, a checkout that runs on it, and callers that keep what was acknowledged."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from support.calling_threads import CallingThreads
from support.commands import MARK
from support.deployments import A, model
from support.scratch_repository import cache, commit
from support.service import NO_TLS, ROOT, pin

from api.openapi.examples import BATCH
from batchyield.versioning.git import copy_working_tree

HERE = ROOT / "tests/deploy"
PACKAGES = Path(sysconfig.get_path("purelib"))
NEEDED = (
    "dockerd",
    "docker",
    "ip",
    "iptables-save",
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-postgres-exporter",
)


def why_not():
    """Return why no engine can be had here; empty if one can."""
    if os.geteuid() != 0:
        return "an engine of its own needs root"
    if lacking := [name for name in NEEDED if not shutil.which(name)]:
        return f"not installed: {', '.join(lacking)}"
    if not plugin():
        return "Docker Compose is not installed"
    if subprocess.run(["docker", "version"], capture_output=True, env=environment()).returncode == 0:
        return "an engine runs here already, and two would change the same firewall rules"
    return ""


def environment():
    """The environment without that of an outer test run, and without the address of another engine."""
    return {name: value for name, value in os.environ.items() if name not in (MARK, "DOCKER_HOST", "DOCKER_CONTEXT")}


def plugin():
    """Return the file of Docker Compose: of the engine's package, or `$COMPOSE_PLUGIN`."""
    places = [os.environ.get("COMPOSE_PLUGIN", "")]
    places += [f"{home}/docker/cli-plugins/docker-compose" for home in ("/usr/libexec", "/usr/lib", "/usr/local/lib")]
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


@contextlib.contextmanager
def engine(folder):
    """Run an engine below `folder`; yields the environment of its clients."""
    command = [HERE / "engine.sh", folder]
    # In a session of its own and without the mark of this run: it ends by itself when our end of the pipe is closed.
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as keeper:
        try:
            ready = keeper.stdout.readline().strip()
            if ready != "ready":
                message = f"the engine does not start: {ready}"
                pytest.fail(message) if os.environ.get("CI") else pytest.skip(
                    message
                )  # as in a container without rights
            yield client_environment(folder)
        finally:
            keeper.stdin.close()
            keeper.wait(timeout=600)


def client_environment(folder):
    config = folder.parent / "docker-config"
    (config / "cli-plugins").mkdir(parents=True, exist_ok=True)
    shutil.copy(plugin(), config / "cli-plugins/docker-compose")
    (config / "cli-plugins/docker-compose").chmod(0o755)
    programs = folder.parent / "bin"
    programs.mkdir(exist_ok=True)
    if not (programs / "docker").exists():  # Debian's, which has BuildKit built in, before any other
        (programs / "docker").symlink_to("/usr/bin/docker")
    return environment() | {
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
        "DOCKER_CONFIG": str(config),
        "DOCKER_BUILDKIT": "1",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "RCLONE": str(Path(sys.executable).with_name("rclone")),
        "COMPOSE_FILE": "docker-compose.yml:test.yml",
        "COMPOSE_PROGRESS": "quiet",
        "PYTHON": "python3",
    }


OVERRIDE = f"""
services:
  api:
    build: {{network: host}} # the test's engine has no bridge of its own
    environment: {{BATCHYIELD_DRAIN_SECONDS: "1"}}
    healthcheck: {{interval: 1s, start_period: 180s}} # the machine may be busy with other tests
  postgres: {{healthcheck: {{interval: 1s, start_period: 180s}}}}
  postgres-exporter: {{healthcheck: {{interval: 1s}}}}
  prometheus: {{healthcheck: {{interval: 1s}}}}
  alertmanager: {{healthcheck: {{interval: 1s}}}}
  s3: {{healthcheck: {{interval: 1s}}}}
  grafana: {{profiles: [unavailable]}} # no Debian package has it
  tools: # the packages of this test run, in place of downloading the same again
    build: {{network: host}}
    environment: {{PYTHONPATH: "/opt/batchyield/app/src:/opt/batchyield/app:/packages"}}
    volumes: ["{PACKAGES}:/packages:ro"]
"""

SETTINGS = """
API_PORT=127.0.0.1:0
GRAFANA_PORT=127.0.0.1:0
PROMETHEUS_PORT=0
ALERTMANAGER_PORT=0
S3_PORT=0
"""


class Stack:
    """A checkout with a pinned model, and its containers."""

    def __init__(self, root, env):
        self.root, self.env = copy_working_tree(ROOT, root), env
        for name in ("Dockerfile", "docker-compose.yml"):  # a stand-in has another digest
            self.edit(name, r"@sha256:[0-9a-f]{64}", "")
        self.edit("Dockerfile", "--from=tools-wheels", "--from=wheels")
        self.edit("monitoring/prometheus/prometheus.yml", r"(scrape|evaluation)_interval: 15s", r"\1_interval: 2s")
        (root / "test.yml").write_text(OVERRIDE)
        self.pin_model(A)
        self.make("secrets")
        with (root / ".env").open("a") as file:
            file.write(SETTINGS)

    def edit(self, name, pattern, by):
        file = self.root / name
        text, count = re.subn(pattern, by, file.read_text())
        assert count, (name, pattern)
        file.write_text(text)

    def pin_model(self, constant):
        """Pin another model, keep it in the DVC cache, and commit; return the commit."""
        model(self.root / "data/model", constant)
        cache(self.root)
        pin(self.root)
        return commit(self.root, f"model {constant}")

    def run(self, *command, check=True, **more):
        done = subprocess.run(command, cwd=self.root, env=self.env | more, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 or not check, f"{command}\n{done.stdout}\n{done.stderr}"
        return done if not check else done.stdout.strip()

    def make(self, *targets, **more):
        return self.run("make", "PYTHON=python3", *targets, **more)

    def compose(self, *words, **more):
        return self.run("docker", "compose", *words, **more)

    def build(self, **more):
        revision = self.run("git", "rev-parse", "HEAD")
        self.compose("build", "--quiet", "api", REVISION=revision, **more)
        return revision

    def setting(self, name, value):
        file = self.root / ".env"
        lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}=")]
        file.write_text("\n".join([*lines, f"{name}={value}", ""]))

    def urls(self, service, port):
        """The addresses of each replica of a service from this machine."""
        names = self.compose("ps", "--quiet", service).split()
        pattern = f'{{{{(index (index .NetworkSettings.Ports "{port}/tcp") 0).HostPort}}}}'
        ports = [self.run("docker", "inspect", "--format", pattern, name) for name in names]
        return [f"http://127.0.0.1:{port}" for port in ports]

    def psql(self, query):
        return self.compose("exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "batchyield", "-Atc", query)

    def prometheus(self, path):
        (url,) = self.urls("prometheus", 9090)
        return httpx.get(f"{url}/api/v1/{path}", trust_env=False, verify=NO_TLS).json()["data"]

    def lists_objects(self, key):
        """Return whether the S3 server answers a key, `access key,secret key` as in secrets/s3_key."""
        (url,) = self.urls("s3", 9000)
        access, _, secret = key.strip().partition(",")
        keys = {"aws_access_key_id": access, "aws_secret_access_key": secret, "region_name": "us-east-1"}
        try:
            boto3.client("s3", endpoint_url=url, config=Config(proxies={}), **keys).list_buckets()
        except ClientError:
            return False
        return True

    def secret(self, name):
        return (self.root / "secrets" / name).read_text()


def until(found, seconds=90):
    """Poll `found` until it returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if result := found():
                return result
        assert time.monotonic() < deadline
        time.sleep(0.2)


class Callers(CallingThreads):
    """Callers that predict without a pause, each through whichever replica answers, as behind a balancer."""

    def __init__(self, stack, callers=3):
        super().__init__(callers)
        self.urls, self.key = stack.urls("api", 8000), stack.secret("api_key")
        self.stack, self.acknowledged, self.statuses, self.refused = stack, [], [], []

    def renew(self):
        """Find the replicas again, which have other ports after they were replaced."""
        self.urls = self.stack.urls("api", 8000)

    def more(self, count=50):
        """Wait until `count` more predictions are acknowledged."""
        goal = len(self.acknowledged) + count
        until(lambda: len(self.acknowledged) >= goal)

    def outage(self):
        """Return the longest time in seconds that requests were refused in a row."""
        longest, began = 0.0, None
        for at, refused in sorted(self.refused):
            began = (at if began is None else began) if refused else None
            longest = max(longest, at - began if began is not None else 0.0)
        return longest

    def _call(self, caller):
        count = 0
        headers = {"authorization": f"Bearer {self.key}"}
        with httpx.Client(timeout=20, trust_env=False, verify=NO_TLS, headers=headers) as client:
            while not self._stop.is_set():
                count += 1
                batch = f"{id(self)}-{caller}-{count}"
                answered = False
                for url in self._replicas():
                    try:
                        reply = client.post(f"{url}/v1/predictions", json={"inputs": [BATCH | {"id": batch}]})
                    except httpx.TransportError:
                        continue
                    self.statuses.append(reply.status_code)
                    if reply.status_code == 200:
                        self.acknowledged.append(batch)
                        answered = True
                        break
                self.refused.append((time.monotonic(), not answered))
                self._stop.wait(0.03)

    def _replicas(self):
        """Yield the known replicas, then those that there are now: replaced ones have other ports."""
        yield from [*self.urls]
        for _ in range(3):
            with contextlib.suppress(AssertionError):  # one of them was removed between two commands
                self.urls = self.stack.urls("api", 8000) or self.urls
                break
        yield from [*self.urls]
