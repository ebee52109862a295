"""The log's schema: docs/logs.md, a real line, Elasticsearch's template, Filebeat's parsing and Kibana's dashboard."""

import json
import os
import re
import subprocess
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import msgspec
import pytest
import yaml
from support.service import ROOT, Running, make_checkout

from api.openapi.examples import INPUTS
from api.telemetry.access_log import RequestLine

TYPES = {"date-time": "date", "string": "keyword", "integer": "long", "number": "double", "boolean": "boolean"}
PYTHON = {str: "string", int: "integer", float: "number", bool: "boolean", datetime: "date-time"}
MONITORING = ROOT / "monitoring"


def documented():
    rows = re.findall(r"^\| `(\w+)` \| ([a-z-]+) \| ", (ROOT / "docs" / "logs.md").read_text(), re.MULTILINE)
    return {name: kind for name, kind in rows if kind in TYPES}


def template():
    return json.loads((MONITORING / "elasticsearch" / "template.json").read_text())


def properties():
    return {name: value["type"] for name, value in template()["template"]["mappings"]["properties"].items()}


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The log lines of a service: start, prediction, refusal, end."""
    checkout = make_checkout(tmp_path_factory.mktemp("model"))
    with Running(checkout, BATCHYIELD_LOG_FORMAT="json", BATCHYIELD_JOURNAL="off") as service:
        service.post("/v1/predictions", json=INPUTS).raise_for_status()
        service.post("/v1/predictions", json={"inputs": [{"A99": 1}]})
    return [json.loads(line) for line in service.output.splitlines()]


def test_documented_fields():
    """The documentation lists the fields of a request line."""
    assert {field.name: PYTHON[field.type] for field in msgspec.structs.fields(RequestLine)} == {
        name: kind for name, kind in documented().items() if name in RequestLine.__struct_fields__
    }


def test_template_types():
    """The index template has the documented types."""
    expected = {name: "text" if name in ("message", "trace") else TYPES[kind] for name, kind in documented().items()}
    assert properties() == expected | {"@timestamp": "date"}
    assert template()["template"]["mappings"]["dynamic"] is False


def test_lines_match_template(lines):
    """Log lines of a running service match the index template."""
    assert {"opened", "serving", "request"} <= {line["event"] for line in lines}
    fits = {
        "date": lambda value: datetime.fromisoformat(value).utcoffset() is not None,
        "keyword": lambda value: isinstance(value, str) and len(value) <= 1024,
        "text": lambda value: isinstance(value, str),
        "long": lambda value: type(value) is int,
        "double": lambda value: type(value) in (int, float),
        "boolean": lambda value: type(value) is bool,
    }
    types = properties()
    for line in lines:
        assert not {name: value for name, value in line.items() if not fits[types[name]](value)}
    assert any(line.get("refusal") for line in lines)


def test_filebeat(lines):
    """Filebeat parses the timestamps and writes to the template's data stream."""
    config = yaml.safe_load((MONITORING / "filebeat" / "filebeat.yml").read_text())
    (log_input,) = config["filebeat.inputs"]
    steps = {name: step for item in log_input["processors"] for name, step in item.items()}
    (layout,) = steps["timestamp"]["layouts"]
    assert layout == "2006-01-02T15:04:05.999999Z"  # Go's way to say: up to six digits of a second, UTC
    moments = [line[steps["timestamp"]["field"]] for line in lines]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", moment) for moment in moments)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    tagged = {name: s["logging"]["options"].get("tag") for name, s in compose.items()}
    assert steps["drop_event"]["when"] == {"not": {"equals": {"docker.attrs.tag": tagged.pop("api")}}}
    assert set(tagged.values()) == {None}
    assert [config["output.elasticsearch"]["index"]] == template()["index_patterns"]
    assert template()["data_stream"] == {}
    assert template()["template"]["settings"]["index.lifecycle.name"] == "batchyield-log"
    assert not set(steps["drop_fields"]["fields"]) & properties().keys()


def dashboard():
    objects = [json.loads(line) for line in (MONITORING / "kibana" / "dashboard.ndjson").read_text().splitlines()]
    return {(thing["type"], thing["id"]): thing for thing in objects}


def test_dashboard_references():
    """References of the dashboard's objects resolve."""
    objects = dashboard()
    for thing in objects.values():
        assert {(to["type"], to["id"]) for to in thing["references"]} <= objects.keys()
    board = objects["dashboard", "batchyield"]
    panels = json.loads(board["attributes"]["panelsJSON"])
    assert [f"{p['panelIndex']}:{p['panelRefName']}" for p in panels] == [to["name"] for to in board["references"]]
    assert {(to["type"], to["id"]) for to in board["references"]} | {
        ("dashboard", "batchyield"),
        ("index-pattern", "batchyield-log"),
    } == objects.keys()
    assert objects["index-pattern", "batchyield-log"]["attributes"]["title"] == template()["index_patterns"][0]


def test_dashboard_fields():
    """The dashboard uses existing fields."""
    types, shown = properties(), set()
    for (kind, _), thing in dashboard().items():
        if kind == "search":
            shown |= set(thing["attributes"]["columns"])
        if kind != "lens":
            continue
        state = thing["attributes"]["state"]
        (layer,) = state["datasourceStates"]["formBased"]["layers"].values()
        assert set(layer["columnOrder"]) == layer["columns"].keys()
        for column in layer["columns"].values():
            field = column["sourceField"]
            if field == "___records___":
                continue
            shown.add(field)
            kinds = {"keyword": "string", "long": "number", "double": "number", "date": "date"}
            if column["operationType"] in ("terms", "date_histogram"):
                assert column["dataType"] == kinds[types[field]]
        looks = json.dumps(state["visualization"])
        assert all(f'"{name}"' in looks for name in layer["columns"])
        queried = set(re.findall(r"(\w+) [:<>]", state["query"]["query"]))
        assert queried <= types.keys()
    assert shown <= types.keys()
    assert {"status", "route", "seconds", "caller", "model", "error", "refusal"} <= shown


@pytest.fixture
def recorded():
    """A server that accepts and records every request: (its URL, [(method, path, authorization, body)])."""
    kept = []

    class Keeper(BaseHTTPRequestHandler):
        def keep(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            kept.append((self.command, self.path, self.headers["authorization"], body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        do_PUT = do_POST = keep  # noqa: N815 - so the server looks them up

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Keeper) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", kept
        server.shutdown()


def test_setup(recorded, tmp_path):
    """The setup script installs users, retention policy, template and dashboard."""
    url, kept = recorded
    for name in ("elastic", "kibana", "filebeat"):
        (tmp_path / f"{name}_password").write_text(f"of{name}")
    environment = os.environ | {"SECRETS": str(tmp_path), "ELASTICSEARCH": url, "KIBANA": url}
    environment["DASHBOARD"] = str(MONITORING / "kibana" / "dashboard.ndjson")
    for what in ("elasticsearch", "kibana"):
        subprocess.run(["sh", MONITORING / "elasticsearch" / "setup.sh", what], env=environment, check=True)
    assert {authorization for _, _, authorization, _ in kept} == {"Basic ZWxhc3RpYzpvZmVsYXN0aWM="}  # elastic:ofelastic
    bodies = {path: body for _, path, _, body in kept}
    assert [*bodies] == [
        "/_security/user/kibana_system/_password",
        "/_security/role/batchyield-filebeat",
        "/_security/user/batchyield-filebeat",
        "/_ilm/policy/batchyield-log",
        "/_index_template/batchyield-log",
        "/api/saved_objects/_import?overwrite=true",
    ]
    assert json.loads(bodies["/_security/user/kibana_system/_password"]) == {"password": "ofkibana"}
    user = {"password": "offilebeat", "roles": ["batchyield-filebeat"]}
    assert json.loads(bodies["/_security/user/batchyield-filebeat"]) == user
    assert json.loads(bodies["/_index_template/batchyield-log"]) == template()
    deleted = json.loads(bodies["/_ilm/policy/batchyield-log"])["policy"]["phases"]["delete"]
    assert deleted["min_age"] == "30d"
    assert (MONITORING / "kibana" / "dashboard.ndjson").read_bytes() in bodies[
        "/api/saved_objects/_import?overwrite=true"
    ]
