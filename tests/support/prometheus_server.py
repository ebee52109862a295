"""The real Prometheus, Alertmanager and PostgreSQL exporter with the files of monitoring/, and shortened durations."""

import os
import re
import shutil
import subprocess
import time

import httpx
import pytest
import yaml
from support.commands import end
from support.service import NO_TLS, ROOT

from batchyield.versioning.storage.embedded_s3 import free_port

MONITORING = ROOT / "monitoring"
RULES = sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PACKAGES = "prometheus prometheus-alertmanager prometheus-postgres-exporter"
WINDOW, PATIENCE, LEAST_PATIENCE = 60, 900, 2.0
"""A range of a minute becomes a second; a `for` of a quarter of an hour too, but none is under two seconds: with a
scrape a second, an alert then takes three bad ones in a row, and no busy machine raises it by one that is late."""


def needs(*programs):
    """Skips where a program of Debian's packages below is absent; in CI that is a failure."""
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        message = f"{', '.join(absent)} not found: apt-get install {PACKAGES}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def until(probe, about, seconds=60):
    """Return the first true value of `probe()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = probe()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {about() if callable(about) else about}")


def _seconds(count, unit):
    return int(count) * SECONDS[unit]


def hastened(rules):
    """The text of a rule file with every range, offset, `for` and interval shortened; thresholds stay."""
    ranges = re.sub(
        r"(\[|offset )(\d+)([smhd])", lambda m: f"{m[1]}{round(_seconds(m[2], m[3]) / WINDOW * 1000)}ms", rules
    )
    patient = re.sub(
        r"(?m)^( +for: )(\d+)([smhd])$",
        lambda m: f"{m[1]}{round(max(LEAST_PATIENCE, _seconds(m[2], m[3]) / PATIENCE) * 1000)}ms",
        ranges,
    )
    frequent = re.sub(r"(?m)^( +interval:) \d+[mh]\b", r"\1 1s", patient)
    assert not re.search(r"(\[|offset |for: |interval: )\d+[mhd]\b", frequent), "a duration that was not shortened"
    return frequent


class _Program:
    """A process that runs during the block, entered once it reports ready."""

    health = "/-/ready"

    def __init__(self, folder, name, *options, **environment):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = os.environ | environment
        self._log = folder / f"{name}.log"
        self._command = [name, *options, f"--web.listen-address=127.0.0.1:{self.port}"]

    def __enter__(self):
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            until(self._ready, self._log.read_text)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self.client = httpx.Client(base_url=self.url, timeout=30, verify=NO_TLS)
        return self

    def __exit__(self, *_):
        self.client.close()
        end(self._process)

    def _ready(self):
        assert self._process.poll() is None, self._log.read_text()
        try:
            return httpx.get(self.url + self.health, verify=NO_TLS).status_code == 200
        except httpx.TransportError:
            return False


class Alertmanager(_Program):
    """Debian's Alertmanager with our routes; `receivers` are the URLs of the webhooks by name."""

    def __init__(self, folder, receivers):
        home = folder / "alertmanager"
        shutil.copytree(MONITORING / "alertmanager", home)
        for name, url in receivers.items():
            (home / "receivers" / name).write_text(url)
        config = (home / "alertmanager.yml").read_text().replace("/etc/alertmanager", str(home))
        waits = r"(group_wait|group_interval): \d+[smh]"
        (home / "alertmanager.yml").write_text(re.sub(waits, r"\1: 1s", config))
        options = (f"--config.file={home / 'alertmanager.yml'}", f"--storage.path={home / 'data'}")
        super().__init__(folder, "prometheus-alertmanager", *options, "--cluster.listen-address=")

    def alerts(self):
        """Its active alerts, with labels, annotations and status."""
        return self.client.get("/api/v2/alerts").json()

    def states(self):
        """`active`, or `suppressed` where another alert explains it, by name."""
        return {one["labels"]["alertname"]: one["status"]["state"] for one in self.alerts()}


class Exporter(_Program):
    """Debian's exporter of the figures of a PostgreSQL, which it asks whenever Prometheus asks it."""

    health = "/"

    def __init__(self, folder, url):
        source = httpx.URL(url).copy_set_param("sslmode", "disable")
        super().__init__(folder, "prometheus-postgres-exporter", DATA_SOURCE_NAME=str(source))


SLOW_SCRAPE_SECONDS = 0.3
"""Some twenty times what a scrape takes."""

OF_A_BUSY_MACHINE = frozenset({"ContainersUnwatched", "JournalDatabaseDown", "JournalSlow", "TargetDown"})
"""Fire when a scrape or a commit takes some seconds, which are minutes in the shortened time."""


class Prometheus(_Program):
    """Debian's Prometheus with our configuration and rules; `targets` are ports by job, other jobs are left out."""

    def __init__(self, folder, targets, key):
        home = folder / "prometheus"
        (home / "rules").mkdir(parents=True)
        for file in RULES:
            (home / "rules" / file.name).write_text(hastened(file.read_text()))
        (home / "metrics_key").write_text(key)
        config = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "500ms"}
        addressee = {"targets": [f"127.0.0.1:{targets['alertmanager']}"]}
        config["alerting"]["alertmanagers"][0]["static_configs"] = [addressee]
        config["scrape_configs"] = [
            job for job in config["scrape_configs"] if job["job_name"] in (*targets, "prometheus")
        ]
        (config_file := home / "prometheus.yml").touch()
        options = (f"--config.file={config_file}", f"--storage.tsdb.path={home / 'data'}")
        super().__init__(folder, "prometheus", *options)
        disk = {"source_labels": ["__name__"], "regex": "batchyield_journal_disk_.*", "action": "drop"}
        for job in config["scrape_configs"]:
            job["metric_relabel_configs"] = [*job.get("metric_relabel_configs", ()), disk]  # of the machine's own disk
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": [f"127.0.0.1:{targets.get(job['job_name'], self.port)}"]}]
            if "authorization" in job:
                job["authorization"]["credentials_file"] = str(home / "metrics_key")
        config_file.write_text(yaml.safe_dump(config))

    def query(self, expression):
        """The series of an instant query: (labels, value)."""
        answer = self.client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    def value(self, expression):
        """The value of the only series of a query, None where there is none."""
        samples = self.query(expression)
        assert len(samples) <= 1, samples
        return samples[0][1] if samples else None

    def now(self):
        """Its clock."""
        return float(self.client.get("/api/v1/query", params={"query": "time()"}).json()["data"]["result"][1])

    def firing(self):
        """Names of the alerts that fire now."""
        alerts = self.client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def fired(self, since, expected=frozenset()):
        """Names of the alerts that fired at any evaluation from `since` on.

        Those of a machine without time for scrapes and commits count only if `expected`, or if it had the time.
        """
        passed = max(1, round(1000 * (self.now() - since)))
        samples = self.query(f'count by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{passed}ms]))')
        fired = {labels["alertname"] for labels, _ in samples}
        slow = self.query(f"max_over_time(scrape_duration_seconds[{passed}ms]) > {SLOW_SCRAPE_SECONDS}")
        return fired - (OF_A_BUSY_MACHINE - expected) if slow else fired

    def pass_by(self, seconds):
        """Returns once every group of rules was evaluated that much later."""
        end = self.now() + seconds
        late = f"count(prometheus_rule_group_last_evaluation_timestamp_seconds < {end}) or vector(0)"
        until(lambda: self.value(late) == 0, "the rules are not evaluated")
