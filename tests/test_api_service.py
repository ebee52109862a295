"""What every answer carries, who may ask, and the routes for operators and people."""

import json
import re
from pathlib import Path

import pytest
from api_fixtures import NAMES, ROOT, batches, card, linear_onnx, make_checkout
from litestar.testing import TestClient
from prometheus_client import CONTENT_TYPE_LATEST

from api.app import create_app
from api.examples import BATCH, INPUTS, MISTYPED, sheet
from api.service import open_pinned
from api.settings import Settings
from batchyield.artifact import FILES
from batchyield.errors import ArtifactError, SetupError
from batchyield.predictor import Predictor

KEY = "k" * 32
EVERYWHERE = [
    ("GET", "/"), ("GET", "/schema"), ("GET", "/schema/openapi.json"), ("GET", "/console/console.js"),
    ("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/metrics"), ("GET", "/v1/model"),
    ("GET", "/v1/predictions"), ("POST", "/v1/model"), ("GET", "/nowhere"), ("GET", "/console/nowhere.js"),
]  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("model"))


@pytest.fixture
def serve(checkout):
    def serve(**more):
        given = {"lock": str(checkout / "dvc.lock"), "revision": "1" * 40} | more
        return TestClient(create_app(Settings(**given)), raise_server_exceptions=False)

    return serve


@pytest.fixture
def client(serve):
    with serve() as client:
        yield client


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
def test_every_answer_carries_an_id_and_the_security_headers(client, method, path):
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
def test_a_sane_request_id_is_kept(client, sent):
    assert client.get("/health/live", headers={"x-request-id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "7" * 65, "<script>", "a\tb", "é"])
def test_another_request_id_is_replaced(client, sent):
    found = client.get("/health/live", headers={"x-request-id": sent.encode()}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", found)


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v2/predictions", "/console/../settings.py", "/console/vendor"])
def test_an_unknown_path_is_a_problem(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:batchyield:not-found"


@pytest.mark.parametrize("path", ["/v1/model", "/health/live", "/metrics", "/schema", "/"])
def test_another_method_is_a_problem_that_names_the_possible_ones(client, path):
    answer = client.post(path)
    assert answer.status_code == 405
    assert answer.json()["type"] == "urn:batchyield:method-not-allowed"
    assert answer.headers["allow"] == "GET, OPTIONS"


def test_an_impossible_host_is_a_problem(client):
    answer = client.get("/health/live", headers={"host": "a b"})
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:batchyield:malformed"


def test_a_bug_is_a_problem_without_its_cause(client, monkeypatch, caplog):
    monkeypatch.setattr(Predictor, "predict", lambda *_: 1 / 0)
    answer = client.post("/v1/predictions", json=INPUTS, headers={"x-request-id": "find-me"})
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "urn:batchyield:internal",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "the service failed; the operator finds the cause in its log under find-me",
        "instance": "/v1/predictions",
    }
    assert "find-me" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_model_tells_the_card_and_the_pin_of_each_file(client, checkout):
    model = client.get("/v1/model").json()
    lock = (checkout / "dvc.lock").read_text()
    assert list(model["artifacts"]) == list(FILES)
    assert all(f"md5: {md5}" in lock for md5 in model["artifacts"].values())
    assert model["md5"] == model["artifacts"]["model.onnx"]
    assert (model["name"], model["version"], model["revision"]) == ("line", "unreleased", "1" * 40)
    assert model["card"]["features"] == NAMES
    assert model["card"]["level"] == card().level


def test_released_version_is_told(serve):
    with serve(model_version="v1.4.0") as client:
        assert client.get("/v1/model").json()["version"] == "v1.4.0"
        assert client.post("/v1/predictions", json=INPUTS).json()["model"]["version"] == "v1.4.0"


def test_without_a_model_it_is_alive_but_not_ready(serve):
    client = serve()  # not entered, so its start-up has not run
    assert client.get("/health/live").json() == {"status": "alive"}
    for answer in (client.get("/health/ready"), client.get("/v1/model"), client.post("/v1/predictions", json=INPUTS)):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["type"] == "urn:batchyield:not-ready"


def test_with_a_model_it_is_ready(client):
    md5 = client.get("/v1/model").json()["md5"]
    assert client.get("/health/ready").json() == {"status": "ready", "md5": md5}


def test_a_model_that_is_not_the_pinned_one_does_not_start(tmp_path):
    root = make_checkout(tmp_path)
    (root / "data/model/model.onnx").write_bytes(linear_onnx(0.4))
    with pytest.raises(ArtifactError, match="expected md5"):
        open_pinned(Settings(lock=str(root / "dvc.lock")))


def counted(client, series, **labels):
    """The value of one series, 0 where it is not there."""
    said = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    series = f"{series}{{{said}}} "
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(series)]
    return float(lines[0].split(" ")[-1]) if lines else 0.0


def test_metrics_count_requests_by_route_and_status(client):
    for _ in range(3):
        client.post("/v1/predictions", json=INPUTS)
    client.post("/v1/predictions", json={})
    client.get("/made-up-by-a-scanner")
    requests = "batchyield_http_requests_total"
    assert counted(client, requests, method="POST", route="/v1/predictions", status=200) == 3
    assert counted(client, requests, method="POST", route="/v1/predictions", status=422) == 1
    assert counted(client, requests, method="GET", route="unmatched", status=404) == 1
    assert counted(client, "batchyield_http_request_seconds_count", route="/v1/predictions") == 4
    assert "made-up" not in client.get("/metrics").text


def test_metrics_do_not_grow_with_made_up_methods(client):
    for method in ("BREW", "WHEN"):
        client.request(method, "/v1/model")
    assert counted(client, "batchyield_http_requests_total", method="other", route="unmatched", status=405) >= 1
    assert "BREW" not in client.get("/metrics").text


def test_metrics_count_predictions_and_warnings(client):
    client.post("/v1/predictions", json=INPUTS)
    client.post("/v1/predictions/csv", content=sheet([BATCH, MISTYPED]), headers={"content-type": "text/csv"})
    assert counted(client, "batchyield_predictions_total", format="json") == 2
    assert counted(client, "batchyield_predictions_total", format="csv") == 2
    assert counted(client, "batchyield_warnings_total", kind="full_width") == 2


def test_metrics_name_the_model(client):
    model = client.get("/v1/model").json()
    facts = {name: model[name] for name in ("name", "version", "revision", "md5")}
    assert counted(client, "batchyield_model_info", **facts) == 1
    assert client.get("/metrics").headers["content-type"] == CONTENT_TYPE_LATEST


@pytest.fixture
def guarded(serve, tmp_path):
    (tmp_path / "keys").write_text(f"# of the plant\n{KEY}  # line 1\n\n{'z' * 40}\n")
    with serve(api_keys_file=str(tmp_path / "keys")) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/nowhere", "//v1/model", "/v1//model", "/v1/model/",
                                  "/console/../v1/model", "/health/live/../../v1/model"])  # fmt: skip
def test_without_a_key_there_is_no_answer(guarded, path):
    answer = guarded.get(path)
    if path.startswith("/console/.."):
        path = answer.url.path  # the client may fold it before it is sent
    assert answer.status_code == 401, path
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:batchyield:unauthorized"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "wrong" * 8}, {"x-api-key": ""}, {"authorization": f"Basic {KEY}"}, {"authorization": KEY},
        {"authorization": "Bearer"}, {"authorization": f"Bearer {KEY}x"}, {"x-api-key": KEY[:-1]},
        {"x-api-key": "# of the plant"}, {"authorization": "Bearer wrong", "x-api-key": KEY},
    ],
)  # fmt: skip
def test_a_wrong_key_is_refused(guarded, headers):
    assert guarded.post("/v1/predictions", json=INPUTS, headers=headers).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY},
        {"x-api-key": "z" * 40},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
    ],
)  # fmt: skip
def test_a_right_key_is_let_in(guarded, headers):
    assert guarded.post("/v1/predictions", json=INPUTS, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/schema", "/schema/openapi.json", "/console/console.css", "/health/live", "/health/ready"]
)
def test_pages_and_health_need_no_key(guarded, path):
    assert guarded.get(path).status_code == 200


def test_a_key_may_come_from_the_environment_alone(serve):
    with serve(api_key=KEY) as client:
        assert client.get("/v1/model").status_code == 401
        assert client.get("/v1/model", headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.parametrize(("text", "said"), [("", "holds no key"), ("# none\n", "holds no key"), ("short\n", "has 5")])
def test_keys_that_are_none_are_refused(serve, tmp_path, text, said):
    (tmp_path / "keys").write_text(text)
    with pytest.raises(SetupError, match=said) as caught:
        serve(api_keys_file=str(tmp_path / "keys"))
    assert "short" not in str(caught.value)


def test_a_key_file_that_is_missing_is_refused(serve, tmp_path):
    with pytest.raises(SetupError, match="cannot be read"):
        serve(api_keys_file=str(tmp_path / "none"))


def test_bulk_places_are_given_back_and_refused_when_taken(serve):
    large = json.dumps({"inputs": [BATCH] * 300})
    headers = {"content-type": "application/json"}
    with serve(bulk_slots=1) as client:
        for _ in range(3):
            assert client.post("/v1/predictions", content=large, headers=headers).status_code == 200
            assert client.post("/v1/predictions", content=large + "x", headers=headers).status_code == 400


def test_a_body_above_the_limit_is_refused_and_one_at_it_is_not(serve):
    headers = {"content-type": "application/json"}
    with serve(max_body_bytes=1024) as client:
        at_limit = b'{"inputs":[{}]}'.ljust(1024)
        assert client.post("/v1/predictions", content=at_limit, headers=headers).status_code == 200
        for content in (at_limit + b" ", (part for part in [at_limit, b" "])):
            answer = client.post("/v1/predictions", content=content, headers=headers)
            assert answer.status_code == 413
            assert answer.json()["type"] == "urn:batchyield:too-large"
            assert "1024 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/schema"])
def test_pages_fetch_nothing_from_elsewhere(client, path):
    page = client.get(path, headers={"accept": "text/html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href|spec-url)="([^"#]+)"', page.text)
    assert named
    for address in named:
        assert client.get(f"/{address.lstrip('.')}").status_code == 200, address
    policy = page.headers["content-security-policy"]
    assert "http" not in policy
    assert "script-src 'self';" in policy


def test_files_of_the_console_name_no_other_host():
    for file in (ROOT / "api/console").iterdir():
        if file.is_file():
            assert set(re.findall(r"https?://[^\s\"'<)]+", file.read_text())) <= {"http://www.w3.org/2000/svg"}, file


def test_modules_of_the_console_are_all_served(client):
    for file in (ROOT / "api/console").glob("*.js"):
        for module in re.findall(r'from "\./([^"]+)"', file.read_text()):
            answer = client.get(f"/console/{module}")
            assert answer.headers["content-type"].startswith("text/javascript")


def test_pages_are_asked_again_and_vendored_files_are_not(client):
    page = client.get("/console/console.css")
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/console/console.css", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    vendored = next(Path(ROOT / "api/console/vendor").glob("*.js")).name
    assert "immutable" in client.get(f"/console/vendor/{vendored}").headers["cache-control"]


def test_vendored_files_name_their_version_and_come_with_their_licence():
    vendor = ROOT / "api/console/vendor"
    for script in vendor.glob("*.js"):
        version = re.search(r"\d+\.\d+\.\d+", script.name)
        assert version, script.name
        assert version[0] in (vendor / "README.md").read_text()
        assert version[0] in script.read_text()[:200]
        assert (vendor / f"{script.name.removesuffix('.min.js')}.LICENSE.txt").exists()


def test_golden_rows_are_not_served(client):
    assert batches(1)[0].id not in client.get("/v1/model").text
