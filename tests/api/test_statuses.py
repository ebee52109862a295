"""Each documented status of a route is provoked, and no other occurs."""

import asyncio
import io
import json
import sys
import zipfile

import pytest
from support.service import REFERENCE as PROFILE
from support.service import REVISION, add_evaluation, batches, card, linear_onnx, make_checkout, openapi_document, pin

import api.monitoring.routes
import api.routes.admin
import api.routes.evaluation
import api.routes.operations
import api.routes.outcomes
import api.routes.records
import api.routes.session
import api.routes.workbooks
from api.app import create_app
from api.inference.hot_swap import open_pinned
from api.middleware.authorization import SESSION_COOKIE
from api.openapi.examples import INPUTS, OUTCOMES, sheet
from api.pages import Page
from api.problems import KINDS
from api.routes.workbooks import XLSX, csv_to_workbook
from api.settings import Settings
from batchyield.serving.artifact import golden_rows, read_pins, write_artifact
from batchyield.serving.auth.api_keys import encode_keys, new_key
from batchyield.serving.deployment.model_store import Deployment, ModelStore

KEY = "k" * 32
READS, PREDICTS = b"r" * 32, b"p" * 32
PATHS = openapi_document()["paths"]
COOKIE = f"{SESSION_COOKIE}={KEY}".encode()
OF_CONNECTIONS = 431
"""Sent before there is a request: tests/api/test_limits.py provokes it."""

DOCUMENTED = {
    (method, path, int(status))
    for path, methods in PATHS.items()
    for method, operation in methods.items()
    for status in operation["responses"]
    if int(status) != OF_CONNECTIONS
}
POSTS = {
    "/v1/predictions": (b"application/json", json.dumps(INPUTS).encode(), b"{}"),
    "/v1/predictions/csv": (b"text/csv", sheet(INPUTS["inputs"]).encode(), b"a"),
    "/v1/outcomes": (b"application/json", json.dumps(OUTCOMES).encode(), b"{}"),
    "/v1/sheets/csv": (XLSX, csv_to_workbook(b"a,b\n1,2\n"), b"a"),
    "/v1/sheets/xlsx": (b"text/csv", b"a,b\n1,2\n", b"\xff"),
}
ADMIN_POST = "/v1/admin/rollback"
OUTCOME, OUTCOME_TEMPLATE = "/v1/outcomes/a", "/v1/outcomes/{id}"
LISTS = ("/v1/predictions", "/v1/outcomes")
SESSION, REPORT = "/v1/session", "/v1/monitoring/report"
EVALUATION = "/v1/model/evaluation"
OF_MODEL = ("/v1/model", EVALUATION, "/v1/models", "/v1/monitoring", REPORT, "/v1/readings")
GETS = sorted(path for path, methods in PATHS.items() if "get" in methods and path != SESSION)


def read_deployment_of(root):
    """The deployment of the model of a checkout."""
    return Deployment(str(root / "data/model"), read_pins(root / "dvc.lock", root / "data/model"), REVISION, "1.0.0")


def unpacks_to(size):
    """A small zip archive of a large file."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("xl/workbook.xml", b"0" * size)
    return made.getvalue()


async def ask(app, method, path, body=b"", stops=False, query=b"", **headers):
    """Call the ASGI application and return (status, headers, body); with `stops` the body never ends."""
    sent, at = [], iter([{"type": "http.request", "body": body, "more_body": stops}])

    async def receive():
        message = next(at, None)
        return message or await asyncio.get_running_loop().create_future()

    async def send(message):
        sent.append(message)

    all_headers = {"content_length": str(len(body)).encode()} | headers
    raw = [(name.replace("_", "-").encode(), value) for name, value in all_headers.items() if value is not None]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method.upper(), "path": path}
    scope |= {"raw_path": path.encode(), "query_string": query, "root_path": "", "scheme": "http", "headers": raw}
    await app(scope | {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {}}, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory):
    """A model whose prediction for a large reading is not a number."""
    root = tmp_path_factory.mktemp("model")
    model = linear_onnx(per_kilogram=8e35)
    write_artifact(root / "data/model", model, card(), golden_rows(model, batches(20)), PROFILE)
    pin(root)
    return root


def service(root, **more):
    settings = Settings(lock=str(root / "dvc.lock"), revision=REVISION, **more)
    return create_app(settings, open_pinned(settings))


async def provoke_withdrawal(root, note, app, *others):
    """Provoke the refusals of `DELETE /v1/outcomes/{id}`, except those of a broken handler and of a busy service."""
    keyed, scoped, metered, unjournalled = others
    for service_, headers in ((app, {}), (keyed, {}), (scoped, {"x_api_key": READS}), (unjournalled, {})):
        await note(service_, "delete", OUTCOME, **headers)
    for _ in range(2):
        await note(metered, "delete", OUTCOME)
    await note(service(root, journal="off"), "delete", OUTCOME)
    await note(app, "put", OUTCOME)


async def provoked(root, overflowing, monkeypatch):
    """Provoke every refusal and return (method, path, status) -> responses."""
    app, keyed = service(root, max_body_bytes=4096), service(root, api_key=KEY)
    unready = create_app(Settings(lock=str(root / "dvc.lock")))
    hasty, full = service(root, body_seconds=0.01), service(root, bulk_slots=1)
    scoped, metered = service(root, api_keys_file=str(root / "keys")), service(root, rate_limit=0.001)
    unjournalled, crowded = service(root, journal=str(root)), service(root, max_in_flight=1)
    failing = service(overflowing)
    met = {}

    async def note(app, method, path, **more):
        answer = await ask(app, method, path, **more)
        if path == OUTCOME:
            method, path = "delete", OUTCOME_TEMPLATE
        met.setdefault((method, path, answer[0]), []).append(answer)
        return answer

    for path, (kind, body, wrong) in POSTS.items():
        sent = {"content_type": kind}
        await note(app, "post", path, body=body, **sent)
        for coding in (b"gzip", b"zstd"):
            await note(app, "post", path, body=b"\x1f\x8b", content_encoding=coding, **sent)
        await note(keyed, "post", path, body=body, **sent)
        await note(scoped, "post", path, body=body, x_api_key=READS, **sent)
        await note(keyed, "post", path, body=body, cookie=COOKIE, sec_fetch_site=b"cross-site", **sent)
        await note(metered, "post", path, body=body, **sent)
        await note(metered, "post", path, body=body, **sent)
        await note(unjournalled, "post", path, body=body, **sent)
        await note(app, "put", path)
        met["post", path, 405] = met.pop(("put", path, 405))
        await note(hasty, "post", path, stops=True, content_length=None, **sent)
        await note(app, "post", path, content_length=b"99999999", **sent)
        await note(app, "post", path, content_type=b"text/xml")
        await note(app, "post", path, body=wrong, **sent)
        slow = asyncio.create_task(ask(full, "post", path, stops=True, content_length=None, **sent))
        await asyncio.sleep(0)
        await note(full, "post", path, body=body, content_length=None, **sent)
        slow.cancel()
        if path == "/v1/outcomes":
            await note(service(root, journal="off"), "post", path, body=body, **sent)
        if path not in ("/v1/predictions", "/v1/predictions/csv"):
            continue
        await note(unready, "post", path, body=body, **sent)
        large = [INPUTS["inputs"][0] | {"A1": 330, "B14": 440}]
        failed = sheet(large).encode() if path.endswith("csv") else json.dumps({"inputs": large}).encode()
        await note(failing, "post", path, body=failed, **sent)
    await note(service(root), "post", "/v1/sheets/csv", body=unpacks_to(65 * 2**20), content_type=XLSX)
    await note(app, "post", "/v1/sheets/xlsx", body=b"," * 1001, content_type=b"text/csv")
    for method, body in (("get", b""), ("post", b'{"key": "none"}'), ("delete", b"")):
        await note(app, method, SESSION, body=body, content_type=b"application/json")
        await note(app, "put", SESSION)
        met[method, SESSION, 405] = met.pop(("put", SESSION, 405))
    await note(keyed, "post", SESSION, body=b'{"key": "none"}', content_type=b"application/json")
    await note(app, "post", SESSION, body=b"{", content_type=b"application/json")
    for one in (app, keyed, metered, metered):
        await note(one, "post", ADMIN_POST)
    await note(scoped, "post", ADMIN_POST, x_api_key=PREDICTS)
    await note(app, "put", ADMIN_POST)
    met["post", ADMIN_POST, 405] = met.pop(("put", ADMIN_POST, 405))
    models = root / "history"
    ModelStore(models).set_history((read_deployment_of(root),))
    await note(service(root, models=str(models)), "post", ADMIN_POST)
    (root / "broken").mkdir()
    (root / "broken/history.json").write_text("{")
    for path in ("/v1/admin/models", "/v1/models"):
        await note(service(root, models=str(root / "broken")), "get", path)
    explained = {"query": b"explain=true", "idempotency_key": b"a", "content_type": b"application/json"}
    other = make_checkout(root / "other", linear_onnx(constant=0.5000005))  # answers otherwise than the first model
    for one in (app, service(other, journal=str(root / ".journal/journal.sqlite"))):
        await note(one, "post", "/v1/predictions", body=POSTS["/v1/predictions"][1], **explained)
    await note(service(other), "get", EVALUATION)
    await provoke_withdrawal(root, note, app, keyed, scoped, metered, unjournalled)
    for path in (*LISTS, REPORT):
        await note(app, "get", path, query=b"since=x&limit=x")
        await note(service(root, journal="off"), "get", path)
        await note(unjournalled, "get", path)
    for path in GETS:
        _, headers, _ = await note(app, "get", path)
        if "etag" in headers:
            await note(app, "get", path, if_none_match=headers["etag"].encode())
        await note(app, "patch", path)
        met["get", path, 405] = met.pop(("patch", path, 405))
        if path.startswith("/v1/") or path == "/metrics":
            await note(keyed, "get", path)
            await note(scoped, "get", path, x_api_key=PREDICTS)
        if path in (*OF_MODEL, "/health/ready"):
            await note(unready, "get", path)
    await note(unjournalled, "get", "/v1/monitoring")
    for path in (*LISTS, *OF_MODEL, "/v1/admin/models"):
        await note(metered, "get", path)
    slow = asyncio.create_task(ask(crowded, "post", "/v1/predictions", stops=True, content_type=b"application/json"))
    await asyncio.sleep(0)
    for path in (*LISTS, *OF_MODEL, "/v1/admin/models"):
        await note(crowded, "get", path)
    await note(crowded, "post", ADMIN_POST)
    slow.cancel()
    with monkeypatch.context() as uninstalled:
        uninstalled.setitem(sys.modules, "batchyield.monitoring.report.html", None)
        await note(app, "get", REPORT)
    # No request makes these handlers fail, so they are broken.
    monkeypatch.setattr(api.monitoring.routes, "_draw_report", None)
    monkeypatch.setattr(api.routes.evaluation, "Evaluation", None)
    monkeypatch.setattr(api.routes.operations, "KnownModels", None)
    monkeypatch.setattr(api.routes.outcomes, "record_outcomes", None)
    monkeypatch.setattr(api.routes.outcomes, "withdraw_outcome", None)
    monkeypatch.setattr(api.routes.operations, "Health", None)
    monkeypatch.setattr(api.routes.operations, "_compressed", None)
    monkeypatch.setattr(api.monitoring.routes, "Monitoring", None)
    monkeypatch.setattr(Page, "respond", None)
    monkeypatch.setattr(api.routes.records, "PredictionPage", None)
    monkeypatch.setattr(api.routes.records, "OutcomePage", None)
    monkeypatch.setattr(api.routes.records, "Readings", None)
    monkeypatch.setattr(api.routes.session, "Session", None)
    monkeypatch.setattr(api.routes.admin, "ServedBefore", None)
    monkeypatch.setattr(api.routes.admin, "rollout", None)
    await note(app, "post", ADMIN_POST)
    for name in ("workbook_to_csv", "csv_to_workbook"):
        monkeypatch.setattr(api.routes.workbooks, name, None)
    await note(app, "delete", OUTCOME)
    for path in GETS:
        await note(app, "get", path)
    for path in ("/v1/outcomes", "/v1/sheets/csv", "/v1/sheets/xlsx"):
        kind, body, _ = POSTS[path]
        await note(full, "post", path, body=body, content_type=kind)
    for method in ("get", "post", "delete"):
        await note(app, method, SESSION, body=b'{"key": "none"}', content_type=b"application/json")
    return met


@pytest.fixture(scope="module")
def met(tmp_path_factory, overflowing):
    root = add_evaluation(make_checkout(tmp_path_factory.mktemp("model")))
    held = [new_key(name, [name], key.decode()) for name, key in (("read", READS), ("predict", PREDICTS))]
    (root / "keys").write_bytes(encode_keys(held))
    with pytest.MonkeyPatch.context() as monkeypatch:
        return asyncio.run(provoked(root, overflowing, monkeypatch))


def test_documented_statuses(met):
    """Every documented status of every route occurs, and no other."""
    assert set(met) == DOCUMENTED


def test_headers_and_problem_types(met):
    """Responses have the documented headers, and problems the documented types."""
    components = openapi_document()["components"]["headers"]
    for (method, path, status), answers in met.items():
        described = PATHS[path][method]["responses"][str(status)]
        names = {name for name in described["headers"] if components[name]["required"]}
        for _, headers, body in answers:
            assert {name.lower() for name in names} <= set(headers)
            if status >= 400:
                problem = json.loads(body)
                kind = problem["type"].rpartition(":")[2]
                assert kind in described["content"]["application/problem+json"]["examples"]
                assert set(problem) <= {"type", "title", "status", "detail", "instance", "violations"}


def test_all_problem_types(met):
    """Every problem type of a route occurs."""
    kinds = {json.loads(body)["type"] for key, answers in met.items() if key[2] >= 400 for *_, body in answers}
    elsewhere = {"urn:batchyield:not-found", "urn:batchyield:head-too-large"}  # of no route, and of no request
    assert kinds == {kind.urn for kind in KINDS} - elsewhere
