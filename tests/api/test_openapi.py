"""The OpenAPI document matches the service, in both directions and for generated requests."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import CHECKS, load_all_checks
from support.service import ROOT, add_evaluation, make_checkout, openapi_document

from api.app import create_app
from api.inference.hot_swap import open_pinned
from api.openapi.examples import BATCH, EXPLAINED, MISTYPED, PREDICTED, sheet
from api.problems import KINDS
from api.routes.workbooks import XLSX, csv_to_workbook
from api.settings import Settings
from batchyield.plant.batch import READING_NAMES
from batchyield.serving.chunking import MAX_EXPLAINED_BATCHES

DOCUMENT = openapi_document()
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = add_evaluation(make_checkout(tmp_path_factory.mktemp("model")))
    with TestClient(create_app(Settings(lock=str(root / "dvc.lock"), revision="1" * 40))) as client:
        yield client


def resolved(schema):
    """A JSON schema of its own, with the components beside it."""
    return schema | {"components": DOCUMENT["components"], "$schema": "https://json-schema.org/draft/2020-12/schema"}


def check(value, schema):
    jsonschema_rs.Draft202012Validator(resolved(schema)).validate(value)


def test_served_document(client):
    """/schema/openapi.json serves the document."""
    served = client.get("/schema/openapi.json")
    assert served.headers["content-type"] == "application/json"
    assert served.json() == DOCUMENT
    servers = {"servers": [{"url": "."}]}  # the same service, seen from another path
    assert client.get("/schema").json() == served.json() | servers


def test_page(client):
    """A browser gets the HTML page at /schema."""
    assert "reference.js" in client.get("/schema", headers={"accept": "text/html,*/*;q=0.8"}).text


def test_specification():
    """The document is valid OpenAPI 3.1, and every schema has a description."""
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["openapi"].startswith("3.1.")
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema_rs.meta.validate(resolved(schema))
        assert schema["description"], name
        assert "\n" not in schema["description"]


def test_every_path_is_served(client):
    """Each path of the document is a route: it takes the methods that the document names, and no other."""
    for path, methods in DOCUMENT["paths"].items():
        answer = client.patch(path)
        assert answer.status_code == 405, path
        assert {method.lower() for method in answer.headers["allow"].split(", ")} - {"options", "head"} == set(methods)


def test_batch_schema():
    """The batch schema has the id, the readings and the order, all nullable."""
    batch = DOCUMENT["components"]["schemas"]["Batch"]
    assert list(batch["properties"]) == ["id", *READING_NAMES, "sequence", "started_at"]
    assert batch["additionalProperties"] is False
    assert all("null" in field["type"] for field in batch["properties"].values())
    assert all(field["description"] for field in batch["properties"].values())


def test_example_batch():
    """The example batch has every reading."""
    assert list(BATCH) == ["id", *READING_NAMES]
    assert sheet([BATCH]).count(",") == 2 * 42


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_operation(path, method):
    """Each operation has a summary, its statuses and examples of problems."""
    operation = DOCUMENT["paths"][path][method]
    assert operation["operationId"]
    assert operation["summary"]
    assert {"200", "405", "500"} <= set(operation["responses"])
    guarded = (path.startswith("/v1/") and path != "/v1/session") or path == "/metrics"
    assert bool({"401", "403"} & set(operation["responses"])) is (guarded or operation["operationId"] == "signIn")
    for status, response in operation["responses"].items():
        assert response["description"]
        assert "X-Request-ID" in response["headers"]
        if status not in ("200", "304"):
            content = response["content"]["application/problem+json"]
            for example in content["examples"].values():
                check(example["value"], content["schema"])
                assert example["value"]["status"] == int(status)


def test_problem_examples():
    """Every problem type of a route has an example."""
    shown = {
        name
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        for status, response in operation["responses"].items()
        if status not in ("200", "304")
        for name in response["content"]["application/problem+json"]["examples"]
    }
    assert shown == {kind.name for kind in KINDS} - {"not-found"}  # which is of no route


def test_documentation():
    """docs/api.md lists every route and problem type."""
    guide = (ROOT / "docs/api.md").read_text()
    routes = re.findall(r"^\| `([A-Z]+) (/\S*)` \|", guide, re.MULTILINE)
    assert sorted(routes) == sorted((method.upper(), path) for path, method in OPERATIONS)
    rows = re.findall(r"^\| `(urn:batchyield:\S+)` \| (\d+) \|", guide, re.MULTILINE)
    assert rows == [(kind.urn, str(kind.status)) for kind in KINDS]


def test_request_examples(client):
    """Examples of requests match their schema and get documented responses."""
    for path, method in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            for example in content.get("examples", {}).values():
                value = example["value"]
                check(value, content["schema"])
                body = value if isinstance(value, str) else json.dumps(value)
                answer = client.post(path, content=body.encode(), headers={"content-type": media_type})
                assert answer.status_code == 200, answer.text
                media = operation["responses"]["200"]["content"][answer.headers["content-type"].partition(";")[0]]
                check(answer.json() if "json" in answer.headers["content-type"] else answer.text, media["schema"])


@pytest.mark.parametrize(
    "path", ["/v1/model", "/v1/model/evaluation", "/health/live", "/health/ready", "/schema/openapi.json"]
)
def test_responses(client, path):
    """Responses match their schema."""
    answer = client.get(path)
    check(answer.json(), DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"])


def test_response_examples():
    """The example of explained predictions matches its schema and adds up."""
    content = DOCUMENT["paths"]["/v1/predictions"]["post"]["responses"]["200"]["content"]["application/json"]
    assert content["examples"]["explained"]["value"] == EXPLAINED
    check(EXPLAINED, DOCUMENT["components"]["schemas"]["ExplainedPredictions"])
    for prediction in EXPLAINED["predictions"]:
        why = prediction["explanation"]
        effects = [one["effect"] for one in why["contributions"]]
        assert why["baseline"] + sum(effects) + why["rest"] == pytest.approx(prediction["yield"], abs=1e-9)


@pytest.mark.slow
def test_generated_client(tmp_path):
    """A client generated from the document takes a batch by the readings that it has, and reads an answer."""
    (tmp_path / "openapi.json").write_text(json.dumps(DOCUMENT))
    made = tmp_path / "client"
    options = ["--path", str(tmp_path / "openapi.json"), "--meta", "none", "--output-path", str(made)]
    done = subprocess.run(
        [Path(sys.executable).with_name("openapi-python-client"), "generate", *options],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    use = """
from client.models import Batch, PredictionRequest, Predictions
import json, sys
sent = PredictionRequest(inputs=[Batch(a1=300.0, b14=400.0)]).to_dict()
read = Predictions.from_dict(json.load(sys.stdin))
print(json.dumps([sent, read.predictions[0].yield_]))
"""
    answer = json.dumps({"model": EXPLAINED["model"], "predictions": EXPLAINED["predictions"]})
    run = subprocess.run(
        [sys.executable, "-c", use], cwd=tmp_path, input=answer, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == [{"inputs": [{"A1": 300.0, "B14": 400.0}]}, PREDICTED["predictions"][0]["yield"]]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None and os.environ.get("CI") != "true", reason="npm is not installed")
def test_generated_types(tmp_path):
    """Types generated from the document for TypeScript compile, take a batch as it is, and refuse mistakes."""
    shutil.copytree(Path(__file__).with_name("openapi_typescript"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "openapi.json").write_text(json.dumps(DOCUMENT))
    for command in (
        ["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"],
        ["npx", "--no", "openapi-typescript", "openapi.json", "--output", "schema.d.ts"],
        ["npx", "--no", "tsc", "--strict", "--noEmit", "use.ts", "schema.d.ts"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_no_default_of_null():
    """Generators take a field with a default for one that is always there; those of null have none."""
    assert '"default": null' not in json.dumps(DOCUMENT)


def test_csv_is_first():
    """Of several media types, the first is that of the response without an Accept header."""
    content = DOCUMENT["paths"]["/v1/predictions/csv"]["post"]["responses"]["200"]["content"]
    assert next(iter(content)) == "text/csv"


def test_problems(client):
    """Problems match their schema."""
    problem = DOCUMENT["components"]["schemas"]["Problem"]
    for body in ('{"inputs": [{"A1": "x"}]}', "{", '{"inputs": []}'):
        check(
            client.post("/v1/predictions", content=body, headers={"content-type": "application/json"}).json(), problem
        )


rows = st.lists(st.sampled_from([BATCH, MISTYPED]), min_size=1, max_size=4)
sheets = rows.map(lambda rows: sheet([row | {"id": f"sample_{n}"} for n, row in enumerate(rows)]))
schemathesis.openapi.media_type("text/csv", sheets.map(str.encode))
schemathesis.openapi.format("plant-sheet", sheets)
schemathesis.openapi.format("binary", sheets)
schemathesis.openapi.format("iso-time", st.sampled_from(["2026-11-29", "2026-11-29T08:00:00+08:00"]))
schemathesis.openapi.format("cursor-of-predictions", st.sampled_from(["1795916959879344~1~1"]))
schemathesis.openapi.format("cursor-of-outcomes", st.sampled_from(["1795916959879344~b1"]))
schemathesis.openapi.media_type(XLSX.decode(), st.just(csv_to_workbook(sheet([BATCH]).encode())))


KEY = "k" * 32
GUARDED = copy.deepcopy(DOCUMENT)
for _methods in GUARDED["paths"].values():
    for _operation in _methods.values():
        if "security" in _operation:
            _operation["security"].remove({})  # that a service may go without keys, this one does not
SERVED = []


async def served(scope, receive, send):
    """The service, which is only there once its fixture has run; each request would end it."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await SERVED[-1](scope, receive, send)


SCHEMA = schemathesis.openapi.from_dict(GUARDED)
SCHEMA.app = served  # the checks of keys ask again by themselves


@SCHEMA.auth()
class Key:
    def get(self, *_):
        return KEY

    def set(self, case, data, _):
        case.headers["X-API-Key"] = data


@pytest.fixture(scope="module")
def keyed_service(tmp_path_factory):
    root = make_checkout(tmp_path_factory.mktemp("model"))
    service_settings = Settings(lock=str(root / "dvc.lock"), api_key=KEY)
    SERVED.append(create_app(service_settings, open_pinned(service_settings)))


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_requests_are_answered_as_the_document_says(case, keyed_service):
    """All of schemathesis's checks, on valid and invalid requests, with and without the key."""
    inputs = case.body.get("inputs") if isinstance(case.body, dict) else None
    if "explain" in case.query and isinstance(inputs, list):
        del inputs[MAX_EXPLAINED_BATCHES:]  # OpenAPI cannot express it; test_explanations.py tests it
    if case.media_type == "multipart/form-data" and case.meta.generation.mode.is_positive:
        assume("样本id" in str(case.body))  # strings that were met elsewhere are tried too, and are no sheets
    if "Idempotency-Key" in case.headers and case.meta.generation.mode.is_positive:
        case.headers["Idempotency-Key"] = str(uuid4())  # new for each body, which OpenAPI cannot express either
    case.call_and_validate()


def test_schemathesis_checks():
    """No check of schemathesis is disabled."""
    load_all_checks()
    checks = SCHEMA.config.checks_config_for()
    assert {name for name in CHECKS.get_all_names() if not checks.get_by_name(name=name).enabled} == set()
