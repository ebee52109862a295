"""Dashboards: their queries and those of the rules, against a real Prometheus and a running service."""

import json
import re
from contextlib import ExitStack
from itertools import pairwise

import pytest
import yaml
from support import runbooks
from support.monitored_plant import coming, make_plant
from support.prometheus_server import MONITORING, RULES, Alertmanager, Exporter, Prometheus, needs, until
from support.service import Running
from support.watched_station import Callers, Station

GRAFANA = MONITORING / "grafana"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool"}


def board(file):
    return json.loads(file.read_text())


def panels(file):
    return [panel for panel in board(file)["panels"] if panel["type"] not in ("row", "text")]


def queries(file):
    """Every query of a dashboard, with Grafana's variables filled in as it does for a choice of all."""
    expressions = [target["expr"] for panel in panels(file) for target in panel["targets"]]
    expressions += [one["expr"] for one in board(file)["annotations"]["list"]]
    expressions += [re.fullmatch(r"label_values\((.*), \w+\)", one["query"]["query"])[1] for one in variables(file)]
    return [re.sub(r"\$\w+", ".*", expr.replace("$__rate_interval", "1m")) for expr in expressions]


def variables(file):
    return board(file)["templating"]["list"]


def rules():
    """Every rule of Prometheus."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def metrics(expr):
    """Names of the metrics in a query."""
    bare = re.sub(r'"[^"]*"', "", expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\boffset\s+\w+", "", bare)
    names = re.findall(r"(?<![\w:.])[a-zA-Z_][\w:]*(?!\s*\()(?![\w:])", bare)
    return {name for name in names if name not in WORDS}


def test_metrics_of_query():
    """`metrics` finds the metric names of a query."""
    expr = (
        'sum by (job, le) (rate(a_total{job=~"x{2}", b="c"}[5m])) / on (job) group_left l:m:o > 1e3 unless d offset 28d'
    )
    assert metrics(expr) == {"a_total", "l:m:o", "d"}


@pytest.fixture
def watched(tmp_path, postgres_server):
    """A Prometheus that has seen a service with traffic and measured yields, its database, cAdvisor's metrics and
    Alertmanager."""
    needs("prometheus", "prometheus-alertmanager", "prometheus-postgres-exporter")
    root = make_plant(tmp_path / "checkout")
    settings = {
        "BATCHYIELD_API_KEY": Callers.KEY,
        "BATCHYIELD_JOURNAL": str(tmp_path / "journal.sqlite"),
        "BATCHYIELD_WATCH_SECONDS": "0.5",
    }
    with ExitStack() as running:
        station = running.enter_context(Station())
        alertmanager = running.enter_context(Alertmanager(tmp_path, {}))
        exporter = running.enter_context(Exporter(tmp_path, postgres_server.get_uri()))
        service = running.enter_context(Running(root, **settings))
        targets = {
            "batchyield": service.port,
            "containers": station.port,
            "alertmanager": alertmanager.port,
            "postgres": exporter.port,
        }
        prometheus = running.enter_context(Prometheus(tmp_path, targets, Callers.KEY))
        callers = running.enter_context(Callers(service.url))
        callers.measure(callers.send(coming(150)), 0.01)
        whole = "count(up == 1) == 5 and on () batchyield_outcomes_window == 150"
        until(lambda: prometheus.query(whole), lambda: prometheus.query("up"))
        until(lambda: prometheus.query("batchyield_frequency_per_day"), "no series of the arrival rate")
        prometheus.pass_by(2)
        yield prometheus


def known(prometheus):
    """Names that Prometheus has series of, knows the type of, or records itself."""
    names = set(prometheus.client.get("/api/v1/label/__name__/values").json()["data"])
    for name, types in prometheus.client.get("/api/v1/metadata").json()["data"].items():
        parts = ("_bucket", "_count", "_sum") if types[0]["type"] == "histogram" else ("",)
        names |= {name + part for part in parts}
    return names | {rule["record"] for rule in rules() if "record" in rule} | {"ALERTS"}


@pytest.mark.slow
def test_queries(watched):
    """Queries of dashboards, rules and runbooks use existing metrics, and those of dashboards return data."""
    shown = [expr for file in BOARDS for expr in queries(file)]
    exist = known(watched)
    for expr in shown + [rule["expr"] for rule in rules()] + runbooks.queries():
        assert metrics(expr) or "__name__" in expr, expr
        assert metrics(expr) <= exist, (expr, metrics(expr) - exist)
        watched.query(expr)
    series = set(watched.client.get("/api/v1/label/__name__/values").json()["data"]) - {"ALERTS"}
    for expr in shown:
        samples = watched.query(expr)
        if metrics(expr) <= series and not expr.endswith("> 0"):
            assert samples or until(lambda expr=expr: watched.query(expr), expr, 20)


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_dashboard(file):
    """A dashboard has its uid, unique panels and data source."""
    shown = board(file)
    assert shown["uid"] == f"batchyield-{file.stem}"
    assert shown["schemaVersion"] == 41
    ids = [panel["id"] for panel in shown["panels"]]
    assert len(ids) == len(set(ids))
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    for panel in panels(file):
        for one in (panel, *panel["targets"], *variables(file), *shown["annotations"]["list"]):
            assert one["datasource"] == {"type": source["type"], "uid": source["uid"]}
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert [target["refId"] for target in panel["targets"]] == [chr(65 + n) for n in range(len(panel["targets"]))]
        if panel["type"] in ("stat", "timeseries"):
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
    used = set(re.findall(r"\$(?!__)(\w+)", json.dumps(shown["panels"])))
    assert used == {one["name"] for one in variables(file)}


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_panel_layout(file):
    """Panels fill the grid and do not overlap."""
    places = sorted((p["gridPos"]["y"], p["gridPos"]["x"], p["gridPos"]) for p in board(file)["panels"])
    taken = set()
    for _, _, at in places:
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, at
        assert at["x"] + at["w"] <= 24
        taken |= cells
    heights = sorted({y for _, y in taken})
    assert all(below - above == 1 for above, below in pairwise(heights))


def test_runbook_links():
    """Links to runbooks resolve."""
    anchors = {f"docs/runbooks.md#{rule['alert'].lower()}" for rule in rules() if "alert" in rule}
    named = {link for file in BOARDS for link in re.findall(r"docs/runbooks\.md#\w+", file.read_text())}
    assert named <= anchors
    assert len(named) > len(anchors) / 2


def test_provisioning():
    """Grafana reads the dashboards from their mounted directory."""
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "batchyield.yml").read_text())["providers"][0]
    assert provider["options"]["path"] == "/etc/grafana/batchyield/dashboards"
    assert len({board(file)["title"] for file in BOARDS}) == len(BOARDS) == 3
