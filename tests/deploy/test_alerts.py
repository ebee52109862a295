"""The alerts: their rules by promtool, their routes by amtool, and all of it live over the running service."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from support.deployments import A, B, set_desired_model, store_model, wait_applied
from support.journal_database import database
from support.monitored_plant import coming, make_plant, raised
from support.prometheus_server import MONITORING, RULES, Alertmanager, Exporter, Prometheus, hastened, needs, until
from support.runbooks import RUNBOOKS, commands
from support.service import ROOT, Running, workers_of
from support.watched_station import Callers, Station

CASES = sorted((MONITORING / "prometheus" / "tests").glob("*.yml"))
ALERTS = ROOT / "docs" / "alerts.md"
REPOSITORY = "https://git.plant.example/yield"
ROUTES = MONITORING / "alertmanager" / "alertmanager.yml"


def checked(*command, **environment):
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts():
    """Every alerting rule by name."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_prometheus_configuration():
    """promtool accepts the rules and the configuration."""
    needs("promtool")
    checked("promtool", "check", "rules", *map(str, RULES))
    checked("promtool", "check", "config", "--syntax-only", str(MONITORING / "prometheus" / "prometheus.yml"))


@pytest.mark.parametrize("cases", CASES, ids=lambda file: file.stem)
def test_rules(cases):
    """promtool's unit tests of the alert rules pass."""
    needs("promtool")
    checked("promtool", "test", "rules", str(cases))


def test_rule_cases():
    """Each alert has a case that fires and one that does not."""
    fires, silent = set(), set()
    for file in CASES:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
    assert fires == silent == set(alerts())


def test_alert_fields():
    """Each alert has its labels, annotations and a runbook."""
    headings = set(re.findall(r"^### (\w+)$", RUNBOOKS.read_text(), re.MULTILINE))
    assert headings == set(alerts())
    for name, rule in alerts().items():
        assert rule["labels"].keys() == {"severity", "team"}, name
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"


def test_runbook_parts():
    """Each runbook has all five parts."""
    sections = re.split(r"^### ", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]
    for section in sections:
        for part in ("**Means**", "**Costs**", "**Look**", "**Do**", "**Silence**"):
            assert part in section, (section.splitlines()[0], part)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"severity": "page", "team": "service"}, "page"),
        ({"severity": "page", "team": "model"}, "page"),
        ({"severity": "ticket", "team": "service"}, "service"),
        ({"severity": "ticket", "team": "model"}, "model"),
        ({}, "shown"),
    ],
)
def test_routes(labels, receiver):
    """amtool routes each severity and team to its receiver."""
    needs("amtool")
    checked("amtool", "check-config", str(ROUTES))
    matchers = [f"{name}={value}" for name, value in labels.items()]
    output = checked(
        "amtool", "config", "routes", "test", f"--config.file={ROUTES}", f"--verify.receivers={receiver}", *matchers
    )
    assert receiver in output


def test_inhibition_rules():
    """Inhibition rules name existing alerts."""
    names = set(alerts())
    for rule in yaml.safe_load(ROUTES.read_text())["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            label, _, pattern = re.fullmatch(r'(\w+)(=~?)"(.*)"', matcher).groups()
            assert label != "alertname" or any(re.fullmatch(pattern, name) for name in names), matcher


def test_secrets():
    """Receivers read their addresses from files."""
    config = yaml.safe_load(ROUTES.read_text())
    for receiver in config["receivers"]:
        for one in receiver.get("slack_configs", ()):
            assert one["api_url_file"] == f"/etc/alertmanager/receivers/{receiver['name']}"
            assert "api_url" not in one


def test_missing_programs(monkeypatch):
    """Tests without their programs are skipped, and fail in CI."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install prometheus"):
        needs("prometheus", "no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program not found"):
        needs("no-such-program")


def test_hastened():
    """`hastened` shortens durations and changes nothing else."""
    rule = "  - expr: increase(a[5m]) > 900 and b offset 28d\n    for: 30m\n    annotations: {summary: for 10m}\n"
    assert hastened(rule) == (
        "  - expr: increase(a[5000ms]) > 900 and b offset 40320000ms\n"
        "    for: 2000ms\n    annotations: {summary: for 10m}\n"
    )


DRIFT = {"ReadingDrifted", "PredictionsDrifted", "PredictionMeanShifted", "PredictionsOutOfControl"}
ERROR = {"LiveErrorGrown", "CoverageLost"}
LONGEST = 3
"""Seconds that are longer than the shortened `for` of all rules but ModelStale, whose four weeks are not here."""


def steady(prometheus, callers):
    """Batches and yields as in training fire no alert."""
    callers.measure(callers.send(coming(400)), 0.01)
    whole = "batchyield_drift_window_batches == 400 and batchyield_outcomes_window == 400"
    until(
        lambda: prometheus.query(f"count(up == 1) == 4 and on () ({whole})"),
        lambda: [prometheus.query(one) for one in ("up", whole)],
    )
    since = prometheus.now()
    prometheus.pass_by(LONGEST)
    assert prometheus.fired(since) == set()
    assert prometheus.value("batchyield_ready") == 1


def drifted(prometheus, alertmanager, station, callers):
    """Less of B14, no A10, and yields that are far off: the model's alerts fire, the service's do not."""
    since = prometheus.now()
    callers.measure(callers.send(coming(400, start=400, B14=raised(-40), A10=None)), 0.08)
    until(lambda: prometheus.firing() >= DRIFT | ERROR, prometheus.firing)
    messages = until(
        lambda: station.messages("model", "ReadingDrifted", "reading B14 has drifted"), lambda: station.posted
    )
    assert f"What to do: {REPOSITORY}/docs/runbooks.md#readingdrifted" in messages[0]
    assert "standard deviations" in messages[0]
    until(
        lambda: station.messages("model", "PredictionMeanShifted", "predictions have moved by 3."),
        lambda: station.posted,
    )
    until(lambda: station.messages("model", "CoverageLost"), lambda: station.posted)
    readings = prometheus.query('ALERTS{alertname="ReadingDrifted", alertstate="firing"}')
    assert {labels["reading"] for labels, _ in readings} == {"A10", "B14"}
    kept = {one["labels"]["alertname"]: one for one in alertmanager.alerts()}
    states = {"PredictionMeanShifted": "active", "PredictionsDrifted": "suppressed"}
    assert alertmanager.states().items() >= states.items()
    assert kept["CoverageLost"]["labels"]["team"] == "model"
    assert kept["CoverageLost"]["annotations"]["runbook_url"] == "docs/runbooks.md#coveragelost"
    prometheus.pass_by(1)
    assert prometheus.fired(since) - {"ReadingBlank"} == DRIFT | ERROR
    (silence,) = commands("amtool")
    checked(*shlex.split(silence.replace("http://127.0.0.1:9093", alertmanager.url)))
    quiet = {one["labels"]["reading"] for one in alertmanager.alerts() if one["status"]["silencedBy"]}
    assert quiet == {"B14"}
    assert not station.messages("page")
    assert not station.messages("service")


def lead(link, target):
    """Replace a symbolic link atomically: a folder that is missing for a moment would be created again."""
    temporary = link.with_name("made")
    temporary.symlink_to(target)
    temporary.replace(link)


def journal_away(prometheus, station, folder):
    """Without the journal's folder predictions are refused and a page is sent, until it is restored."""
    since = prometheus.now()
    there = folder.readlink()
    lead(folder, ROUTES)
    messages = until(lambda: station.messages("page", "JournalFailing"), lambda: (prometheus.firing(), station.posted))
    assert "docs/runbooks.md#journalfailing" in messages[0]
    # Its consequences may follow: requests that wait and fail, and a watch that cannot read. Nothing else is wrong.
    assert not prometheus.fired(since) & {"ServiceDown", "NotReady", "MetricsGone", "TargetDown", "ContainersUnwatched"}
    lead(folder, there)
    until(lambda: "JournalFailing" not in prometheus.firing(), prometheus.firing)
    until(lambda: station.messages("page", "JournalFailing", "RESOLVED"), lambda: station.posted)


class Watched(NamedTuple):
    """A service with callers and its monitoring."""

    root: Path
    service: Running
    callers: Callers
    station: Station
    alertmanager: Alertmanager
    prometheus: Prometheus
    stop: Callable[[], None]


@contextmanager
def watched(folder, exporter=None, files=None, **settings):
    """A service with two workers; `stop()` ends it, and its monitoring continues; `files` are further receivers."""
    root = make_plant(folder / "checkout")
    settings = {"BATCHYIELD_API_KEY": Callers.KEY, "BATCHYIELD_WATCH_SECONDS": "0.5", **settings}
    with ExitStack() as watching, ExitStack() as running:
        station = watching.enter_context(Station())
        hooks = {name: f"http://{station.address}/{name}" for name in ("page", "service", "model")}
        alertmanager = watching.enter_context(Alertmanager(folder, hooks | (files or {})))
        service = running.enter_context(Running(root, "--workers", "2", **settings))
        targets = {"batchyield": service.port, "containers": station.port, "alertmanager": alertmanager.port}
        if exporter:
            targets["postgres"] = exporter.port
        prometheus = watching.enter_context(Prometheus(folder, targets, Callers.KEY))
        callers = running.enter_context(Callers(service.url))
        yield Watched(root, service, callers, station, alertmanager, prometheus, running.close)


@pytest.mark.slow
def test_alerts_of_service(tmp_path):
    """Drift, an unavailable journal and a stopped service each fire their alerts and no others."""
    needs("prometheus", "prometheus-alertmanager")
    journal = tmp_path / "journal" / "journal.sqlite"
    (tmp_path / "there").mkdir()
    lead(journal.parent, tmp_path / "there")
    (write,) = re.findall(r"^(printf .*)receivers/repository.tmpl$", ALERTS.read_text(), re.MULTILINE)
    template = checked("sh", "-c", write.rpartition(" > ")[0], URL=REPOSITORY)
    with watched(tmp_path, files={"repository.tmpl": template}, BATCHYIELD_JOURNAL=str(journal)) as seen:
        steady(seen.prometheus, seen.callers)
        drifted(seen.prometheus, seen.alertmanager, seen.station, seen.callers)
        journal_away(seen.prometheus, seen.station, journal.parent)
        assert not seen.station.messages("page", "ServiceDown")
        seen.stop()
        until(
            lambda: seen.station.messages("page", "ServiceDown", "docs/runbooks.md#servicedown"), seen.prometheus.firing
        )


def wrong_models(seen):
    """A desired model with other bytes than pinned, and a shadow that differs, raise an alert each."""
    prometheus, since = seen.prometheus, seen.prometheus.now()
    bad, other = store_model(seen.root, A, name="bad"), store_model(seen.root, B)
    file = seen.root / ".serving" / "models" / "bad" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    wait_applied(seen.root, set_desired_model(seen.root, serving=bad, shadow=other), workers=2)
    until(lambda: prometheus.query("batchyield_shadow_difference_count > 0"), "nothing runs in the shadow")
    seen.callers.send(coming(150, start=150))
    until(lambda: prometheus.firing() >= {"ModelRefused", "ShadowDisagrees"}, prometheus.firing)
    refused = until(lambda: seen.station.messages("model", "ModelRefused"), lambda: seen.station.posted)
    assert "What to do: docs/runbooks.md#modelrefused" in refused[0]
    assert "title_link" not in refused[0]
    assert "the model for serving was refused" in refused[0]
    differs = until(lambda: seen.station.messages("model", "ShadowDisagrees"), lambda: seen.station.posted)
    assert other.md5 in differs[0]
    assert prometheus.fired(since) == {"ModelRefused", "ShadowDisagrees"}
    wait_applied(seen.root, set_desired_model(seen.root), workers=2)


CONSEQUENCES = {"ErrorBudgetBurnsFast", "ErrorBudgetBurnsSlowly", "WatchFailing"}
"""Of a journal that is away: they may follow, and are silenced by its own alert."""


def database_down(seen, server):
    """PostgreSQL stops: the page names the database, and the failing journal is suppressed as its consequence."""
    prometheus, since = seen.prometheus, seen.prometheus.now()
    server.stop()
    until(lambda: prometheus.firing() >= {"JournalDatabaseDown", "JournalFailing"}, prometheus.firing)
    messages = until(lambda: seen.station.messages("page", "JournalDatabaseDown"), lambda: seen.station.posted)
    assert "docs/runbooks.md#journaldatabasedown" in messages[0]
    states = {"JournalDatabaseDown": "active", "JournalFailing": "suppressed"}
    until(lambda: seen.alertmanager.states().items() >= states.items(), seen.alertmanager.states)
    fired = prometheus.fired(since, states.keys())
    assert fired - CONSEQUENCES - {"ModelRefused", "ShadowDisagrees"} == states.keys()
    until(lambda: "ModelRefused" not in prometheus.firing(), "a model that is no longer desired is still refused")
    server.start()


def leaving(seen):
    """A long drain: the service answers and reports not ready."""
    prometheus, since, earlier = seen.prometheus, seen.prometheus.now(), seen.prometheus.firing()
    seen.service.process.terminate()
    messages = until(
        lambda: seen.station.messages("page", "NotReady"), lambda: (prometheus.firing(), seen.station.posted)
    )
    assert "docs/runbooks.md#notready" in messages[0]
    assert prometheus.fired(since) - earlier - CONSEQUENCES == {"NotReady"}
    seen.callers.send(coming(1))
    assert not seen.station.messages("page", "ServiceDown")
    for worker in workers_of(seen.service):  # the rest of the ten minutes is not waited for
        os.kill(worker, signal.SIGINT)


@pytest.mark.slow
def test_alerts_of_deployment(tmp_path, postgres_server):
    """A refused model, a differing shadow, a stopped database and a drain each fire their alert."""
    needs("prometheus", "prometheus-alertmanager", "prometheus-postgres-exporter")
    with database(postgres_server) as url, Exporter(tmp_path, url) as exporter:
        settings = {"BATCHYIELD_JOURNAL": url, "BATCHYIELD_DRAIN_SECONDS": "600"}
        with watched(tmp_path, exporter, **settings) as seen:
            seen.callers.send(coming(150))
            until(lambda: seen.prometheus.query("count(up == 1) == 5"), lambda: seen.prometheus.query("up"))
            assert seen.prometheus.value("pg_up") == 1
            wrong_models(seen)
            database_down(seen, postgres_server)
            leaving(seen)
