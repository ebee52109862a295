"""Hosts on one network of this machine: each a network namespace, which lasts as long as its process.

The namespaces have no names, so that nothing is left when their processes end, also by watchdog.py.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time

import httpx
import psycopg
import pytest
from support.journal_database import new_server
from support.service import NO_TLS, ROOT, START_SECONDS, Running, workers_of

PROGRAMS = ("ip", "iptables", "nsenter", "unshare")
PORT = 8000
CONFIGURATION = ROOT / "deploy/replicas/haproxy.cfg"


def require(*programs):
    """Skip the test where programs are missing, or where it must not make namespaces."""
    if os.geteuid() != 0:
        pytest.skip("only root may make network namespaces")
    if missing := [name for name in (*PROGRAMS, *programs) if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")


class Host:
    """A network namespace.

    Attributes:
        address: of its only interface, if it has one.
    """

    def __init__(self, address=""):
        self.address = address
        command = ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        if not self.process.stdout.readline():
            self.close()
            pytest.skip("this machine does not allow network namespaces")
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *command):
        """Return the command that runs `command` on this host, as the same process."""
        return ["nsenter", f"--target={self.process.pid}", "--net", *map(str, command)]

    def run(self, *command):
        """Run a command on this host until it ends."""
        subprocess.run(self.command(*command), check=True)

    @contextlib.contextmanager
    def cut_off(self, *others):
        """Lose every packet between this host and others during the block; at the receiver: a sender would notice."""
        for other in others:
            self.run("iptables", "-A", "INPUT", "-s", other.address, "-j", "DROP")
            other.run("iptables", "-A", "INPUT", "-s", self.address, "-j", "DROP")
        try:
            yield
        finally:
            for host in (self, *others):
                host.run("iptables", "-F")

    def close(self):
        """End the namespace, unless processes still run in it."""
        self.process.kill()
        self.process.communicate()


class Network:
    """A switch, and hosts with one cable each; this process has the address that ends with 1."""

    def __init__(self):
        self._stack = contextlib.ExitStack()
        self._subnet = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(256)}"
        self.switch = self._keep(Host())
        self.switch.run("ip", "link", "add", "switch", "type", "bridge")
        self.switch.run("ip", "link", "set", "switch", "up")
        name = f"by{secrets.token_hex(4)}"
        self._plug("1", ["ip", "link", "add", name, "type", "veth", "peer", "name", "port1"], self.switch)
        for change in (["addr", "add", f"{self._subnet}.1/24", "dev", name], ["link", "set", name, "up"]):
            subprocess.run(["ip", *change], check=True)

    def host(self, number):
        """Add a host whose address ends with `number`."""
        host = self._keep(Host(f"{self._subnet}.{number}"))
        add = ["ip", "link", "add", "name", "eth0", "netns", str(host.process.pid), "type", "veth"]
        self._plug(number, [*add, "peer", "name", f"port{number}"], self.switch)
        host.run("ip", "addr", "add", f"{host.address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        return host

    @contextlib.contextmanager
    def unplugged(self, number):
        """Take a host's cable out during the block."""
        self.switch.run("ip", "link", "set", f"port{number}", "down")
        try:
            yield
        finally:
            self.switch.run("ip", "link", "set", f"port{number}", "up")

    def close(self):
        self._stack.close()

    def _plug(self, number, add, switch):
        subprocess.run([*add, "netns", str(switch.process.pid)], check=True)
        switch.run("ip", "link", "set", f"port{number}", "master", "switch", "up")

    def _keep(self, host):
        self._stack.callback(host.close)
        return host


@contextlib.contextmanager
def process(command, end=signal.SIGTERM, **more):
    """Run a program during the block; the signal `end` stops it."""
    running = subprocess.Popen(command, **more)
    try:
        yield running
    finally:
        running.send_signal(end)
        running.wait(START_SECONDS)


def until(condition):
    """Return what `condition` returns, once that is true."""
    deadline = time.monotonic() + START_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def postgres_on(host):
    """The URL of a new, empty database of a PostgreSQL that listens on a host's address, and the id of its user."""
    server = new_server(start=False)  # for its programs, its user and its initdb
    folder = server.pgdata
    try:
        server.ensure_pgdata_inited()
        with (folder / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        user = pwd.getpwnam(server.system_user)
        settings = {"listen_addresses": host.address, "unix_socket_directories": folder, "fsync": "off"}
        command = [server.bin_path / "postgres", "-D", folder]
        command += [f"--{name}={value}" for name, value in settings.items()]
        as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        url = f"postgresql://{server.postgres_user}@{host.address}/postgres"
        with (folder / "log").open("wb") as log, process(host.command(*as_user, *command), signal.SIGINT, stderr=log):
            until(lambda: _connects(url))
            yield url, user.pw_uid
    finally:
        shutil.rmtree(folder)


def _connects(url):
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


class Replica:
    """The service with two workers on a host, and its life: started, killed, stopped.

    Attributes:
        route: the host that reaches the database for it: its own, or that of a pooler.
        running: the process, `None` between two lives.
    """

    def __init__(self, host, route, checkout, **environment):
        self.host, self.route, self.checkout, self.environment = host, route, checkout, environment
        self.address = f"{host.address}:{PORT}"
        self.running = None

    def start(self):
        """Start it and wait until it is ready."""
        options = ["--host", self.host.address, "--workers", "2"]
        prefix = self.host.command()
        self.running = Running(self.checkout, *options, at=self.address, prefix=prefix, **self.environment)
        self.running.__enter__()

    def kill(self):
        """Kill all its processes at once, as a power cut does to a host."""
        for pid in (self.running.process.pid, *workers_of(self.running)):
            os.kill(pid, signal.SIGKILL)
        self.running.process.communicate(timeout=START_SECONDS)
        self.running = None

    def stop(self):
        """Stop it in order and return its log."""
        stopped, self.running = self.running, None
        stopped.__exit__()
        return stopped.output

    def client(self, **headers):
        """A client of this replica alone."""
        return httpx.Client(base_url=f"http://{self.address}", headers=headers, timeout=START_SECONDS, verify=NO_TLS)


@contextlib.contextmanager
def haproxy(host, a, b):
    """The URL of HAProxy on a host with the configuration of deploy/replicas."""
    environment = {"BALANCER": f"{host.address}:{PORT}", "REPLICA_A": a.address, "REPLICA_B": b.address}
    command = host.command("haproxy", "-f", CONFIGURATION)
    with process(command, env=os.environ | environment, stdout=subprocess.DEVNULL):
        url = f"http://{host.address}:{PORT}"
        until(lambda: _ready(url))
        yield url


def _ready(url):
    try:
        return httpx.get(f"{url}/health/ready", timeout=START_SECONDS, verify=NO_TLS).status_code == 200
    except httpx.TransportError:
        return False
