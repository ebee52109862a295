"""The containers on a real Docker Engine: what docs/compose.md promises, in one tour of one stack; about four minutes.

Images that cannot be pulled are replaced by stand-ins of Debian's packages (base_images.sh). Grafana, cAdvisor and the
profile `logs` are not there; their settings are checked in test_compose.py.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.deployments import A, B
from support.docker_engine import HERE, Callers, Stack, engine, until, why_not
from support.runbooks import commands
from support.service import NO_TLS, ROOT

from api.openapi.examples import BATCH

C = 0.625
LARGE = json.dumps({"inputs": [BATCH] * 10_000}).encode()
REASON = why_not()
REQUIRED = bool(os.environ.get("CI")) and os.geteuid() == 0
"""Where .ci/run installs Docker, its absence is a failure."""


class Steps:
    """The table of what was done: step, seconds, result."""

    def __init__(self):
        self.rows = []

    @contextlib.contextmanager
    def step(self, name):
        began, facts = time.monotonic(), {}
        try:
            yield facts
        except BaseException:
            facts = {"FAILED": ""}
            raise
        finally:
            result = ", ".join(f"{key} {value}".strip() for key, value in facts.items()) or "ok"
            self.rows.append(f"{time.monotonic() - began:6.1f} s  {name}: {result}")


@pytest.mark.slow
@pytest.mark.skipif(bool(REASON) and not REQUIRED, reason=f"no Docker Engine: {REASON}")
def test_stack(tmp_path, record_property):
    """Each promise of docs/compose.md holds on a real engine, and no acknowledged prediction is lost."""
    assert not REASON, REASON
    steps = Steps()
    try:
        tour(tmp_path, steps)
    finally:
        record_property("table", "\n".join(steps.rows))


def tour(folder, steps):
    with steps.step("engine"), contextlib.ExitStack() as stack_of:
        env = stack_of.enter_context(engine(folder / "engine"))
        keep = stack_of.pop_all()
    with keep, ThreadPoolExecutor(1) as background:
        with steps.step("stand-ins of the base images"):
            done = subprocess.run([HERE / "base_images.sh"], env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        with steps.step("image built"):
            stack = Stack(folder / "checkout", env)
            first = stack.build()
        private = background.submit(build_privately, stack, folder / "private")
        acknowledged = []
        stack.setting("API_MEMORY", "320M")  # too little for so many, so that the limit is reached below
        stack.setting("BULK_SLOTS", "32")
        with steps.step("make up: all healthy"):
            stack.make("up")
        with steps.step("targets up, no alert at rest") as facts:
            facts["targets"] = until(lambda: targets(stack, 4))
            assert firing(stack) == set()
        chaos(stack, steps, acknowledged)
        for name in ("API_MEMORY", "BULK_SLOTS"):
            stack.setting(name, "")
        upgrades(stack, steps, acknowledged)
        large_requests(stack, steps)
        restores(stack, steps, acknowledged)
        rotations(stack, steps, acknowledged)
        replicas(stack, steps, acknowledged)
        tools(stack, steps, first)
        with steps.step("down and up: all data kept"):
            rows = stack.psql("select count(*) from answer")
            stack.make("down")
            stack.make("up")
            assert stack.psql("select count(*) from answer") == rows
            assert not re.findall(r"\b[0-9a-f]{64}\b", stack.run("docker", "volume", "ls", "--quiet"))
            predict(stack, "after all")
        with steps.step("acknowledged predictions looked up in PostgreSQL") as facts:
            facts |= {"acknowledged": len(acknowledged), "lost": lost(stack, acknowledged)}
            assert facts["lost"] == 0
        with steps.step("the same layers from a checkout under umask 077"):
            assert private.result() == layers(stack, "batchyield:first")
            stack.compose("--profile", "*", "down", "--volumes")


def build_privately(stack, root):
    """Build the image of the first commit from a copy that only its owner may read; return its layers."""
    stack.run("docker", "tag", "batchyield:unreleased", "batchyield:first")
    stack.run("bash", "-c", f"umask 077; git clone --quiet --no-hardlinks . {root}; mkdir -p {root}/data/model")
    for file in (stack.root / "data/model").iterdir():
        shutil.copy(file, root / "data/model")
    stack.run("chmod", "-R", "go=", str(root))
    stack.run("docker", "build", "--quiet", "--no-cache", "--network", "host", "--tag", "batchyield:private", str(root))
    return layers(stack, "batchyield:private")


def layers(stack, image):
    return stack.run("docker", "inspect", "--format", "{{json .RootFS.Layers}}", image)


def targets(stack, count):
    """Return the number of Prometheus' targets if there are that many and all are up."""
    health = [target["health"] for target in stack.prometheus("targets?state=active")["activeTargets"]]
    return count if health == ["up"] * count else 0


def firing(stack):
    alerts = stack.prometheus("alerts")["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def predict(stack, batch):
    """Predict one batch and return the response, when the service answers."""
    headers = {"authorization": f"Bearer {stack.secret('api_key')}"}

    def answer():
        url = stack.urls("api", 8000)[0]
        body = {"inputs": [BATCH | {"id": batch}]}
        reply = httpx.post(f"{url}/v1/predictions", json=body, headers=headers, trust_env=False, verify=NO_TLS)
        return reply if reply.status_code == 200 else None

    return until(answer).json()


def lost(stack, acknowledged):
    """Return how many of the acknowledged batches are not in the journal."""
    return len(set(acknowledged) - set(stack.psql("select batch from asked").splitlines()))


@contextlib.contextmanager
def callers(stack, acknowledged):
    """Callers during the block; none gets a 500, and what is acknowledged is kept for the end."""
    with Callers(stack) as running:
        running.more()
        yield running
        running.more()
    assert set(running.statuses) <= {200, 503}
    acknowledged += running.acknowledged


def log(stack):
    return stack.compose("logs", "--no-log-prefix", "--no-color", "api")


def worker(stack):
    """Return the id of a worker process in its container."""
    status = stack.compose("exec", "-T", "api", "python", "-m", "batchyield.cli", "deploy", "status")
    return re.search(r"worker (\d+) serves", status)[1]


def kill_worker(stack):
    """Kill a worker with -9 and wait until the log reports its end."""
    pid = worker(stack)
    stack.compose("exec", "-T", "api", "sh", "-c", f"kill -9 {pid}")
    until(lambda: f"worker {pid} died: ended by SIGKILL" in log(stack))


def loaded(stack):
    """Return when a model was last loaded, as far as Prometheus has seen; of all addresses that the service has had."""
    result = stack.prometheus("query?query=max(batchyield_model_loaded_timestamp_seconds)")["result"]
    return float(result[0]["value"][1]) if result else 0


OUT_OF_MEMORY = re.compile(r"ended by SIGKILL while it processed the large requests [^\"]*large-\d")


def send_large(stack, count):
    """Send large requests at once; return the statuses, and 0 for each connection that was cut."""
    (url,), key = stack.urls("api", 8000), stack.secret("api_key")

    def send(number):
        headers = {
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "x-request-id": f"large-{number}",
        }
        try:
            reply = httpx.post(
                f"{url}/v1/predictions", content=LARGE, headers=headers, timeout=60, trust_env=False, verify=NO_TLS
            )
        except httpx.TransportError:
            return 0
        return reply.status_code

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))


def chaos(stack, steps, acknowledged):
    with steps.step("PostgreSQL restarted under load"), callers(stack, acknowledged):
        stack.compose("restart", "postgres")
    with steps.step("a worker killed with -9"), callers(stack, acknowledged):
        kill_worker(stack)
    with steps.step("memory limit reached by large requests") as facts, callers(stack, acknowledged):
        statuses = []
        for _ in range(5):  # the kernel may end the first process instead, and on a busy machine few requests meet
            statuses += send_large(stack, 16)
            facts |= {"answered": statuses.count(200), "cut": statuses.count(0)}
            assert set(statuses) <= {0, 200, 503}
            with contextlib.suppress(AssertionError):
                until(lambda: OUT_OF_MEMORY.search(log(stack)), seconds=30)
                break
        assert OUT_OF_MEMORY.search(log(stack))
    with steps.step("the container's first process killed with -9"), callers(stack, acknowledged) as running:
        (name,) = stack.compose("ps", "--quiet", "api").split()
        os.kill(int(stack.run("docker", "inspect", "--format", "{{.State.Pid}}", name)), signal.SIGKILL)
        until(lambda: stack.run("docker", "inspect", "--format", "{{.RestartCount}}", name) != "0")
        running.renew()
    with steps.step("the alert of restarts fires") as facts:
        for kills in range(8):  # a container that restarts may get another address, whose series begins again
            facts["further kills"] = kills
            if "ServiceRestarting" in firing(stack):
                break
            before = loaded(stack)
            kill_worker(stack)
            until(lambda before=before: loaded(stack) > before)
        until(lambda: "ServiceRestarting" in firing(stack))
    with steps.step("commands of Compose in the runbooks") as facts:
        # cAdvisor and Filebeat are not there
        found = [code for code in commands("docker compose") if not re.search("cadvisor|filebeat", code)]
        facts["commands"] = len(found)
        for code in found:
            stack.run("bash", "-o", "pipefail", "-c", code.replace("NAME", "prometheus"))
        (inspect,) = commands("docker inspect")
        name = stack.compose("ps", "--quiet", "api")
        assert stack.run("bash", "-c", inspect.replace("NAME", name)) in ("true", "false")
        until(lambda: targets(stack, 4))


def migration(stack, name, statement):
    """Write a migration that follows the newest one."""
    folder = stack.root / "src/batchyield/journal/migrations/versions"
    texts = [file.read_text() for file in folder.glob("v*.py")]
    known = {match[1] for text in texts if (match := re.search(r'^revision = "(\w+)"', text, re.MULTILINE))}
    known -= {match[1] for text in texts if (match := re.search(r'^down_revision = "(\w+)"', text, re.MULTILINE))}
    (head,) = known
    file = folder / f"v{name}.py"
    file.write_text(
        f'from alembic import op\n\nrevision = "{name}"\ndown_revision = "{head}"\n\n\n'
        f'def upgrade() -> None:\n    op.execute("{statement}")\n'
    )
    return file


def upgrades(stack, steps, acknowledged):
    stack.pin_model(B)
    with steps.step("upgrade with a migration that fails: the old API serves on"), callers(stack, acknowledged):
        file = migration(stack, "9999_failing", "select no_such_function()")
        stack.build()
        failed = stack.make("up", check=False)
        assert failed.returncode != 0
        assert "no_such_function" in failed.stderr
        assert "nothing was replaced" in failed.stderr
        assert predict(stack, "old")["predictions"][0]["yield"] == pytest.approx(A + 0.4)
    with steps.step("upgrade to another model and schema") as facts:
        file.unlink()
        migration(stack, "9999_working", "create table upgraded (id integer)")
        stack.build()
        with callers(stack, acknowledged) as running:
            stack.make("up")
            running.renew()
        facts["refused for"] = f"{running.outage():.1f} s"
        assert predict(stack, "new")["predictions"][0]["yield"] == pytest.approx(B + 0.4)


def large_requests(stack, steps):
    with steps.step("large requests within the default memory: no worker ends") as facts:
        statuses = send_large(stack, 24)
        facts |= {"answered": statuses.count(200), "asked to retry": statuses.count(503)}
        assert set(statuses) <= {200, 503}
        assert " died: " not in log(stack)


def restores(stack, steps, acknowledged):
    with steps.step("make backup"):
        stack.make("backup", "FILE=journal.dump")
    with steps.step("make restore"):
        predict(stack, "after the backup")
        stack.make("restore", "FILE=journal.dump")
        assert lost(stack, ["after the backup"]) == 1
        assert lost(stack, acknowledged) == 0
        assert stack.psql("select count(*) from pg_constraint where contype = 'p' and connamespace = 2200") != "0"
    with steps.step("make restore of a damaged file: the journal stays"):
        whole = (stack.root / "journal.dump").read_bytes()
        (stack.root / "damaged.dump").write_bytes(whole[: len(whole) // 2])
        assert stack.make("restore", "FILE=damaged.dump", check=False).returncode != 0
        assert lost(stack, acknowledged) == 0
        predict(stack, "after the damage")


def rotations(stack, steps, acknowledged):
    for secret in ("journal_password", "postgres_password", "monitor_password", "metrics_key", "api_key"):
        with steps.step(f"make rotate SECRET={secret}"):
            before = stack.secret(secret)
            stack.make("rotate", f"SECRET={secret}")
            assert stack.secret(secret) != before
            predict(stack, secret)
    with steps.step("make rotate SECRET=s3_key"):
        stack.compose("up", "--detach", "--wait", "--no-build", "s3")
        before = stack.secret("s3_key")
        assert stack.lists_objects(before)
        stack.make("rotate", "SECRET=s3_key")
        assert stack.lists_objects(stack.secret("s3_key"))
        assert not stack.lists_objects(before)
        stack.compose("rm", "--force", "--stop", "s3")
    with steps.step("targets up with the rotated secrets"):
        until(lambda: targets(stack, 4))
        assert stack.prometheus("query?query=pg_up")["result"][0]["value"][1] == "1"


def replicas(stack, steps, acknowledged):
    stack.setting("API_REPLICAS", "2")
    with steps.step("two replicas, scraped as two"):
        stack.make("up")
        until(lambda: targets(stack, 5))
    stack.setting("RATE_LIMIT", "1000000")
    with steps.step("upgrade of two replicas behind a balancer") as facts:
        with callers(stack, acknowledged) as running:
            stack.make("up")
        facts["refused"] = sum(refused for _, refused in running.refused)
    stack.setting("API_REPLICAS", "1")


def tools(stack, steps, first):
    with steps.step("image of the tools"):
        stack.compose("build", "--quiet", "tools")

    def run(*command):
        return stack.compose("run", "--rm", "-T", "tools", *command)

    with steps.step("a command that is not in the image of the service"):
        command = ("exec", "-T", "api", "python", "-m", "batchyield.cli", "deploy", "start", "HEAD")
        refused = stack.compose(*command, check=False)
        assert refused.returncode == 2
        assert "docker compose run --rm tools" in refused.stderr
    with steps.step("tools: deploy start"):
        run("deploy", "start", first)
        assert predict(stack, "deployed")["predictions"][0]["yield"] == pytest.approx(A + 0.4)
    with steps.step("a deployed model outlives a restart, and the log names both"):
        stack.compose("restart", "api")
        assert predict(stack, "restarted")["predictions"][0]["yield"] == pytest.approx(A + 0.4)
        assert "a deployment outlives an upgrade" in log(stack)
    with steps.step("tools: deploy rollback"):
        run("deploy", "rollback")
        assert predict(stack, "back")["predictions"][0]["yield"] == pytest.approx(B + 0.4)
    with steps.step("tools: deploy shadow, model compare, model replay, drift report"):
        run("deploy", "shadow", first)
        run("model", "compare", first, "HEAD")
        run("model", "replay", "--since", "1d", "--limit", "50", "--model", first)
        assert run("drift", "report", "--since", "1d", "--out", "-").startswith("<!")
        assert "predictions" in run("journal", "status")
        assert stack.run("git", "status", "--porcelain", "--", "src/batchyield/cli", ".dvc") == ""


@pytest.mark.skipif(bool(REASON), reason=f"no Docker Engine: {REASON}")
def test_interrupted(tmp_path):
    """An engine whose test is killed ends, and leaves no process, bridge, mount or file."""
    code = (
        "import sys; from pathlib import Path; from support.docker_engine import engine\n"
        "with engine(Path(sys.argv[1])): print('up', flush=True); input()"
    )
    folder = tmp_path / "engine"
    test = subprocess.Popen(
        [sys.executable, "-c", code, folder],
        env=os.environ | {"PYTHONPATH": f"{ROOT}/tests:{ROOT}/src:{ROOT}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert test.stdout.readline() == b"up\n"
    network = ["docker", "-H", f"unix://{folder}/docker.sock", "network", "create", "left"]
    bridge = f"br-{subprocess.run(network, check=True, capture_output=True, text=True).stdout[:12]}"
    assert Path("/sys/class/net", bridge).exists()
    test.kill()
    test.communicate()
    until(lambda: not folder.exists())
    assert not Path("/sys/class/net", bridge).exists()
    assert str(folder) not in Path("/proc/self/mounts").read_text()
    assert not subprocess.run(["pgrep", "-f", folder], capture_output=True).stdout
