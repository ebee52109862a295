"""Headers of every response, and the routes for operators."""

import json
import re

import pytest
from support.service import NAMES, REVISION, batches, card, client_of, linear_onnx, make_checkout

from api.inference.hot_swap import open_pinned
from api.openapi.examples import BATCH, INPUTS
from api.settings import Settings
from batchyield.errors import ArtifactError
from batchyield.serving.artifact import FILES
from batchyield.serving.predictor import Predictor

EVERYWHERE = [
    ("GET", "/"), ("GET", "/schema"), ("GET", "/schema/openapi.json"), ("GET", "/console/console.js"),
    ("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/metrics"), ("GET", "/v1/model"),
    ("GET", "/v1/predictions"), ("POST", "/v1/model"), ("GET", "/nowhere"), ("GET", "/console/nowhere.js"),
]  # fmt: skip


@pytest.fixture
def client(checkout):
    with client_of(checkout) as client:
        yield client


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
def test_headers(client, method, path):
    """Every response has a request id and the security headers."""
    headers = client.request(method, path).headers
    assert re.fullmatch("[0-9a-f]{16}", headers["x-request-id"])
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe-eval" not in headers["content-security-policy"]
    assert "server" not in headers
    assert headers["cache-control"]


@pytest.mark.parametrize("sent", ["a1-B2_c3.d4:e5", "7" * 64])
def test_request_id(client, sent):
    """A valid request id is returned."""
    assert client.get("/health/live", headers={"x-request-id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "7" * 65, "<script>", "a\tb", "é"])
def test_invalid_request_id(client, sent):
    """An invalid request id is replaced."""
    request_id = client.get("/health/live", headers={"x-request-id": sent.encode()}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", request_id)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1", "/v2/predictions", "/console/../settings.py", "/console/vendor", "/%ff", "/%00"]
)
def test_unknown_path(client, path):
    """An unknown path gets 404 as a problem."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:batchyield:not-found"


@pytest.mark.parametrize("path", ["/v1/model", "/health/live", "/metrics", "/schema", "/"])
def test_other_method(client, path):
    """Another method gets 405 with the allowed ones."""
    answer = client.post(path)
    assert answer.status_code == 405
    assert answer.json()["type"] == "urn:batchyield:method-not-allowed"
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_invalid_host(client):
    """An invalid Host header gets 400 as a problem."""
    answer = client.get("/health/live", headers={"host": "a b"})
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:batchyield:malformed"


def test_internal_error(client, monkeypatch, caplog):
    """An internal error gets 500 without its cause."""
    monkeypatch.setattr(Predictor, "predict", lambda *_: 1 / 0)
    answer = client.post("/v1/predictions", json=INPUTS, headers={"x-request-id": "find-me"})
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "urn:batchyield:internal",
        "title": "The service failed",
        "status": 500,
        "detail": "the service failed; the operator finds the cause in its log under find-me",
        "instance": "/v1/predictions",
    }
    assert "find-me" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_model(client, checkout):
    """/v1/model has the card and the pin of each file."""
    model = client.get("/v1/model").json()
    lock = (checkout / "dvc.lock").read_text()
    assert list(model["artifacts"]) == list(FILES)
    assert all(f"md5: {md5}" in lock for md5 in model["artifacts"].values())
    assert model["md5"] == model["artifacts"]["model.onnx"]
    assert (model["name"], model["version"], model["revision"]) == ("line", "unreleased", REVISION)
    assert model["card"]["features"] == NAMES
    assert model["card"]["level"] == card().level


def test_model_version(checkout):
    """Responses have the released version."""
    with client_of(checkout, model_version="v1.4.0") as client:
        assert client.get("/v1/model").json()["version"] == "v1.4.0"
        assert client.post("/v1/predictions", json=INPUTS).json()["model"]["version"] == "v1.4.0"


def test_not_ready(checkout):
    """Without a model the service is alive and not ready."""
    client = client_of(checkout)  # not entered, so its start-up has not run
    assert client.get("/health/live").json() == {"status": "alive"}
    for answer in (client.get("/health/ready"), client.get("/v1/model"), client.post("/v1/predictions", json=INPUTS)):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["type"] == "urn:batchyield:not-ready"


def test_ready(client):
    """With a model the service is ready."""
    md5 = client.get("/v1/model").json()["md5"]
    assert client.get("/health/ready").json() == {"status": "ready", "md5": md5}


def test_changed_model(tmp_path):
    """A model with other bytes than pinned is not opened."""
    root = make_checkout(tmp_path)
    (root / "data/model/model.onnx").write_bytes(linear_onnx(0.4))
    with pytest.raises(ArtifactError, match="expected md5"):
        open_pinned(Settings(lock=str(root / "dvc.lock")))


def test_bulk_slots(checkout):
    """Slots of large bodies are released after success and refusal."""
    large = json.dumps({"inputs": [BATCH] * 300})
    headers = {"content-type": "application/json"}
    with client_of(checkout, bulk_slots=1) as client:
        for _ in range(3):
            assert client.post("/v1/predictions", content=large, headers=headers).status_code == 200
            assert client.post("/v1/predictions", content=large + "x", headers=headers).status_code == 400


def test_body_limit(checkout):
    """A body at the limit is accepted, and one above it gets 413."""
    headers = {"content-type": "application/json"}
    with client_of(checkout, max_body_bytes=1024) as client:
        at_limit = b'{"inputs":[{}]}'.ljust(1024)
        assert client.post("/v1/predictions", content=at_limit, headers=headers).status_code == 200
        for content in (at_limit + b" ", (part for part in [at_limit, b" "])):
            answer = client.post("/v1/predictions", content=content, headers=headers)
            assert answer.status_code == 413
            assert answer.json()["type"] == "urn:batchyield:too-large"
            assert "1024 bytes" in answer.json()["detail"]


def test_golden_rows(client):
    """/v1/model does not contain golden rows."""
    assert batches(1)[0].id not in client.get("/v1/model").text
