"""Behind proxies and beside web pages: HEAD, idle connections, sub-paths, CORS, and foreign pages."""

import re
from urllib.parse import urljoin

import pytest
from support.service import ROOT, client_of, openapi_document, refusal

from api.openapi.examples import BATCH, INPUTS, sheet
from api.server import _config
from api.settings import Settings, read_settings
from batchyield.errors import ConfigError

KEY = {"authorization": f"Bearer {'k' * 32}"}
PAGE = "https://plant.example.org"
GETS = sorted(path for path, methods in openapi_document()["paths"].items() if "get" in methods)


@pytest.fixture(scope="module")
def client(checkout):
    with client_of(checkout) as client:
        yield client


@pytest.fixture(scope="module")
def cors(checkout):
    with client_of(checkout, cors_origins=f"{PAGE}, https://b.example", api_key="k" * 32) as client:
        yield client


@pytest.mark.parametrize("path", [*GETS, "/console/icon.svg", "/nowhere"])
def test_head(client, path):
    """HEAD gets the status and the headers of GET, without a body."""
    full, head = client.get(path), client.head(path)
    changing = {"x-request-id", "ratelimit", *({"content-length"} if path in ("/metrics", "/v1/monitoring") else ())}
    assert head.status_code == full.status_code
    assert {name: value for name, value in head.headers.items() if name not in changing} == {
        name: value for name, value in full.headers.items() if name not in changing
    }
    assert head.content == b""
    assert int(head.headers["content-length"]) > 0


def test_allowed_methods(client):
    """A refused method names HEAD beside GET, and HEAD of a POST route is refused."""
    assert client.delete("/v1/model").headers["allow"] == "GET, HEAD, OPTIONS"
    assert client.head("/v1/predictions/csv").status_code == 405


def test_head_is_counted(client):
    """Metrics count HEAD as a method of its own, under the route's template."""
    client.head("/console/icon.svg")
    text = client.get("/metrics").text
    assert 'batchyield_http_requests_total{method="HEAD",route="/console/{name}",status="200"}' in text


def test_idle_time():
    """Connections stay open longer than the load balancer of deploy/aws and nginx keep them."""
    balancer = re.search(
        r'idle_timeout\.timeout_seconds, Value: "(\d+)"', (ROOT / "deploy/aws/platform.yaml").read_text()
    )
    assert Settings().idle_seconds > max(int(balancer[1]), 60)
    assert _config(None, read_settings({"BATCHYIELD_IDLE_SECONDS": "200"})).timeout_keep_alive == 200


@pytest.mark.parametrize("path", ["schema", "schema/openapi.json"])
def test_servers(client, path):
    """The OpenAPI document names the service by an address relative to its own, so it is right below any path."""
    document = client.get(f"/{path}").json()
    (server,) = document["servers"]
    assert urljoin(f"https://proxy/yield/{path}", server["url"]) == "https://proxy/yield/"


def test_root_path(checkout):
    """With a root path, the service answers below it and without it."""
    with client_of(checkout, root_path="/plant/yield") as client:
        for prefix in ("/plant/yield", ""):
            assert client.post(f"{prefix}/v1/predictions", json=INPUTS).status_code == 200
            assert client.get(f"{prefix}/console/icon.svg").status_code == 200
        refusal(client.get("/plant/yieldx/v1/model"), 404, "not-found")


@pytest.mark.parametrize("value", ["yield", "/yield/", "/a b"])
def test_invalid_root_path(value):
    """A root path that is no path is refused."""
    with pytest.raises(ConfigError, match="BATCHYIELD_ROOT_PATH"):
        read_settings({"BATCHYIELD_ROOT_PATH": value})


def test_cors(cors):
    """A page of a configured origin may send requests and read responses, refusals too; another page may not."""
    for origin in (PAGE, "https://b.example"):
        for answer in (
            cors.post("/v1/predictions", json=INPUTS, headers=KEY | {"origin": origin}),
            cors.post("/v1/predictions", json=INPUTS, headers={"origin": origin}),
        ):
            assert answer.headers["access-control-allow-origin"] == origin
            assert "x-request-id" in answer.headers["access-control-expose-headers"]
    foreign = cors.get("/v1/model", headers=KEY | {"origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in foreign.headers
    assert "origin" in foreign.headers["vary"]


def test_preflight(cors, client):
    """A browser's question before a request needs no key; without CORS it is refused."""
    asked = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    answer = cors.options("/v1/predictions", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, PAGE)
    assert "x-api-key" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-methods" not in client.options("/v1/predictions", headers=asked).headers


def test_any_origin(checkout):
    """With `*`, each page may read responses."""
    with client_of(checkout, cors_origins="*") as client:
        answer = client.get("/health/live", headers={"origin": "https://any.example"})
        assert answer.headers["access-control-allow-origin"] == "https://any.example"


@pytest.mark.parametrize("value", ["plant.example.org", "https://a/b", "ftp://a"])
def test_invalid_origin(value):
    """A setting that is no list of origins is refused."""
    with pytest.raises(ConfigError, match="BATCHYIELD_CORS_ORIGINS"):
        read_settings({"BATCHYIELD_CORS_ORIGINS": value})


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "rebound.evil.example:8000", "origin": "http://rebound.evil.example:8000"},
        {"host": "rebound.evil.example:8000"},
    ],
    ids=["form", "sandbox", "rebinding", "rebinding-get"],
)
def test_foreign_page(client, headers):
    """Without keys, no foreign page can make a browser fill the journal or read the model."""
    form = client.post("/v1/predictions/csv", files={"file": ("a.csv", "x")}, headers=headers)
    assert "BATCHYIELD_CORS_ORIGINS" in refusal(form, 403, "forbidden")["detail"]
    assert client.get("/v1/model", headers=headers).status_code == 403
    assert client.get("/health/live", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"},
        {"host": "[::1]:8000", "origin": "http://[::1]:8000"},
        {"host": "api", "origin": PAGE, "sec-fetch-site": "same-origin"},
        {"host": "plant.local"},
    ],
    ids=["own", "ipv6", "proxy", "private"],
)
def test_own_page(client, headers):
    """Without keys, the console works on this machine, behind a proxy, and under private names."""
    assert client.post("/v1/predictions", json=INPUTS, headers=headers).status_code == 200


def test_pages_with_keys(cors):
    """With keys, any page and any name may be used: a foreign page does not know a key."""
    headers = KEY | {"host": "plant.example.org", "origin": "https://elsewhere.example"}
    assert cors.post("/v1/predictions", json=INPUTS, headers=headers).status_code == 200


@pytest.mark.parametrize("known", ["W/{tag}", '"other", {tag}', "*"])
def test_known_page(client, known):
    """A page that the client has is not sent again: weak tags, lists and `*` too."""
    tag = client.get("/").headers["etag"]
    assert client.get("/", headers={"if-none-match": known.format(tag=tag)}).status_code == 304
    assert client.get("/", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("application/json", True),
        ("text/csv, application/json", True),
        ("text/csv, application/json;q=0", False),
        ("text/csv, application/json;q=0.5", False),
        ("text/csv;q=0.5, application/json", True),
        ("*/*", False),
    ],
)
def test_csv_accept(client, accept, json):
    """The weights of `Accept` choose between CSV and JSON."""
    answer = client.post(
        "/v1/predictions/csv", content=sheet([BATCH]), headers={"content-type": "text/csv", "accept": accept}
    )
    assert answer.headers["content-type"].startswith("application/json") == json
