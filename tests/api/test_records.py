"""Routes that read the journal, describe the readings, and sign in to the console."""

import msgspec
import pytest
from support.deployments import A, B, store_model, until
from support.service import client_of, make_checkout, refusal

from api.middleware.authorization import SESSION_COOKIE
from batchyield.plant.batch import READING_NAMES
from batchyield.serving.auth import api_keys
from batchyield.serving.auth.api_keys import new_key
from batchyield.serving.deployment.model_store import DesiredState, ModelStore

KEY, READER = "k" * 32, "r" * 32
OWN_PAGE = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("model"))


@pytest.fixture
def client(checkout, tmp_path):
    with client_of(checkout, journal=str(tmp_path / "journal.sqlite")) as client:
        yield client


@pytest.fixture
def guarded(checkout, tmp_path):
    keys = [new_key("line-1", ["predict"], KEY), new_key("lab", ["read"], READER)]
    (tmp_path / "keys").write_bytes(api_keys.encode_keys(keys))
    with client_of(checkout, api_keys_file=str(tmp_path / "keys")) as client:
        yield client


def predict(client, *ids, **options):
    batches = [{"id": name, "B14": 400 + place} for place, name in enumerate(ids)]
    answer = client.post("/v1/predictions", json={"inputs": batches}, **options)
    assert answer.status_code == 200
    return answer


def walk(client, path, name, **query):
    """Return all rows of a list, and how many pages they came in."""
    rows, pages, further = [], 0, {}
    while True:
        page = client.get(path, params=query | further).json()
        rows += page[name]
        pages += 1
        if page["next"] is None:
            return rows, pages
        further = {"before": page["next"]}


class TestPredictions:
    """`GET /v1/predictions`."""

    def test_pages(self, client):
        """Pages of any size hold every prediction once, the newest first, with what was answered and measured."""
        answered = [predict(client, *(f"run {n}-{k}" for k in range(3))).json() for n in range(3)]
        client.post("/v1/outcomes", json={"outcomes": [{"id": "run 1-2", "yield": 0.91}]})
        for limit in (1, 2, 4, 100):
            rows, pages = walk(client, "/v1/predictions", "predictions", limit=limit)
            assert [row["prediction"] for row in reversed(rows)] == [
                p for answer in answered for p in answer["predictions"]
            ]
            assert pages == 9 // limit + 1
        assert [row["measured"] for row in rows if row["batch"]["id"] == "run 1-2"] == [0.91]
        assert {row["model"]["md5"] for row in rows} == {answered[0]["model"]["md5"]}
        assert len({row["key"] for row in rows}) == len(rows)

    def test_ids(self, client):
        """A prefix finds the ids that begin with it, as written: case and signs count."""
        predict(client, "a%1", "A%1", "a_1", "b", None)
        for prefix, found in (("a", ["a_1", "a%1"]), ("a%", ["a%1"]), ("A", ["A%1"]), ("x", [])):
            rows, _ = walk(client, "/v1/predictions", "predictions", id=prefix, limit=1)
            assert [row["batch"]["id"] for row in rows] == found, prefix

    def test_time(self, client):
        """A list is limited to a time; a text that is no time is refused by its parameter."""
        predict(client, "now")
        assert walk(client, "/v1/predictions", "predictions", until="2020-01-01")[0] == []
        assert len(walk(client, "/v1/predictions", "predictions", since="2020-01-01T08:00:00+08:00")[0]) == 1

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=x", "since=soon", "before=1~2", "before=x~1~1", "ids=a", "until=", "before="]
    )
    def test_wrong_query(self, client, query):
        """A wrong parameter is named."""
        problem = refusal(client.get(f"/v1/predictions?{query}"), 422, "invalid-input")
        assert query.partition("=")[0] in problem["detail"]

    def test_unrecorded(self, client):
        """A prediction that is only tried out has the same answer and is not journalled."""
        recorded = predict(client, "tried")
        assert predict(client, "tried", params={"record": "false"}).content == recorded.content
        explained = predict(client, "tried", params={"record": "false", "explain": "true"}).json()
        assert explained["predictions"][0]["explanation"]
        assert len(walk(client, "/v1/predictions", "predictions")[0]) == 1
        assert refusal(client.post("/v1/predictions?record=no", json={"inputs": [{}]}), 422, "invalid-input")

    def test_no_journal(self, checkout):
        """A service without a journal says so."""
        with client_of(checkout, journal="off") as client:
            assert refusal(client.get("/v1/predictions"), 409, "journal-off")
            assert predict(client, "tried", params={"record": "false"})


def test_outcomes(client):
    """Outcomes are listed a page at a time, those reported last first, with corrections and predictions counted."""
    predict(client, "a")
    for reported in ([("a", 0.9), ("b", 0.8)], [("c", 0.7)], [("a", 0.95)]):
        client.post("/v1/outcomes", json={"outcomes": [{"id": name, "yield": y} for name, y in reported]})
    for limit in (1, 2, 5):
        rows, _ = walk(client, "/v1/outcomes", "outcomes", limit=limit)
        found = [(row["id"], row["yield"], row["predictions"], row["corrections"]) for row in rows]
        assert found == [("a", 0.95, 1, 1), ("c", 0.7, 0, 0), ("b", 0.8, 0, 0)]
    assert [row["id"] for row in walk(client, "/v1/outcomes", "outcomes", id="b")[0]] == ["b"]
    assert refusal(client.get("/v1/outcomes?before=yesterday"), 422, "invalid-input")


def test_readings(client):
    """Every reading has its meaning in both languages, and numbers the range they were trained on."""
    rows = client.get("/v1/readings").json()["readings"]
    assert tuple(row["name"] for row in rows) == READING_NAMES
    assert all(row["meaning"] and row["meaning_zh"] for row in rows)
    trained = {row["name"]: row["trained"] for row in rows}
    assert trained["B14"]["median"] == 409
    assert [row["trained"] for row in rows if row["kind"] != "number"] == [None] * sum(
        row["kind"] != "number" for row in rows
    )


def test_models(tmp_path):
    """The models in service, in the shadow and that served before, with their metrics where the card can be read."""
    root = make_checkout(tmp_path)
    first, second = (store_model(root, constant, metrics={"rmse": constant}) for constant in (A, B))
    lost = msgspec.structs.replace(first, directory="lost", version="v0")
    store = ModelStore(root / ".serving")
    store.set_desired(DesiredState(1, serving=second, shadow=first))
    store.set_history((lost, first))
    with client_of(root) as client:
        until(lambda: client.get("/v1/model").json()["shadow"] or (), count=3)
        models = client.get("/v1/models").json()["models"]
    assert [(one["role"], one["model"]["version"], one["rows"], one["metrics"]) for one in models] == [
        ("serving", second.version, 20, {"rmse": B}),
        ("shadow", first.version, 20, {"rmse": A}),
        ("before", first.version, 20, {"rmse": A}),
        ("before", "v0", None, {}),
    ]


class TestSession:
    """`/v1/session`."""

    def test_without_keys(self, client):
        """A service without keys lets everybody do everything."""
        assert client.get("/v1/session").json() == {
            "guarded": False,
            "name": None,
            "scopes": ["admin"],
            "expires": None,
        }

    def test_cookie(self, guarded):
        """The cookie of a signed-in key is as good as the key; scripts and other sites cannot use it."""
        assert guarded.get("/v1/session").json()["name"] is None
        assert refusal(guarded.post("/v1/session", json={"key": "w" * 32}), 401, "unauthorized")["detail"]
        answer = guarded.post("/v1/session", json={"key": KEY})
        assert answer.json() == {"guarded": True, "name": "line-1", "scopes": ["predict"], "expires": None}
        attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
        assert {"httponly", "samesite=strict", "path=/", "secure"} <= attributes
        cookie = {"cookie": f"{SESSION_COOKIE}={KEY}"}
        assert guarded.get("/v1/session", headers=cookie).json()["name"] == "line-1"
        body = {"inputs": [{"B14": 400}]}
        assert guarded.post("/v1/predictions", json=body, headers=cookie | OWN_PAGE).status_code == 200
        foreign = guarded.post("/v1/predictions", json=body, headers=cookie | {"sec-fetch-site": "cross-site"})
        assert "another site" in refusal(foreign, 403, "forbidden")["detail"]
        assert refusal(
            guarded.post("/v1/predictions", json=body, headers=cookie | {"origin": "http://evil"}), 403, "forbidden"
        )
        own = {"origin": "http://testserver.local", "host": "testserver.local"}
        assert guarded.post("/v1/predictions", json=body, headers=cookie | own).status_code == 200
        ended = guarded.delete("/v1/session", headers=cookie)
        assert "max-age=0" in ended.headers["set-cookie"].lower()

    def test_loopback(self, guarded):
        """On a loopback address, which browsers call without TLS, the cookie is not marked Secure."""
        answer = guarded.post("/v1/session", json={"key": KEY}, headers={"host": "127.0.0.1:8000"})
        assert "secure" not in answer.headers["set-cookie"].lower()

    def test_scopes(self, guarded):
        """To read what was predicted and measured needs another scope than to predict."""
        for path in ("/v1/predictions", "/v1/outcomes"):
            assert refusal(guarded.get(path, headers={"x-api-key": KEY}), 403, "forbidden")
            assert guarded.get(path, headers={"x-api-key": READER}).status_code == 200
        assert refusal(
            guarded.post("/v1/predictions", json={"inputs": [{}]}, headers={"x-api-key": READER}), 403, "forbidden"
        )
