"""POST /v1/predictions."""

import json

import pytest
from support.service import HALF_WIDTH, REVISION, client_of, make_checkout, places, refusal

from api.openapi.examples import BATCH, INPUTS
from api.settings import Settings
from batchyield.plant.batch import READINGS

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with client_of(make_checkout(tmp_path_factory.mktemp("model"))) as client:
        yield client


def post(client, content, **headers):
    return client.post("/v1/predictions", content=content, headers=JSON | headers)


def test_predictions(client):
    """Every input gets a prediction, in order, with the model's pin."""
    answer = client.post("/v1/predictions", json=INPUTS)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["model"] == {
        "version": "unreleased",
        "revision": REVISION,
        "md5": client.get("/v1/model").json()["md5"],
    }
    clean, mistyped = body["predictions"]
    expected = {"yield": 0.9, "lower": 0.9 - HALF_WIDTH, "upper": 0.9 + HALF_WIDTH}
    assert clean == {"id": "sample_1", **expected, "warnings": []}
    assert mistyped["id"] == "sample_2"
    assert mistyped["yield"] == 0.92
    assert [(w["field"], w["kind"]) for w in mistyped["warnings"]] == [("B9", "full_width")]
    assert "17；00-18:30" in mistyped["warnings"][0]["message"]


def test_missing_readings(client):
    """A reading can be null or absent."""
    nulls = {reading.name: None for reading in READINGS}
    empty, null = post(client, json.dumps({"inputs": [{}, nulls]})).json()["predictions"]
    assert empty == null
    assert empty["id"] is None


def test_batch_limit(client):
    """10,000 batches are predicted, and one more is refused."""
    answer = post(client, b'{"inputs":[' + b",".join([b"{}"] * 10_000) + b"]}")
    assert len(answer.json()["predictions"]) == 10_000
    problem = refusal(post(client, b'{"inputs":[' + b",".join([b"{}"] * 10_001) + b"]}"), 422, "invalid-input")
    assert problem["violations"] == [{"where": "$.inputs", "problem": "expected a list of length <= 10000"}]


def test_large_body(client):
    """A large body gets the same predictions as a small one."""
    many = {"inputs": [BATCH | {"id": str(n)} for n in range(500)]}
    text = json.dumps(many)
    assert len(text) > Settings().inline_body_bytes
    large = post(client, text).json()["predictions"]
    small = post(client, json.dumps({"inputs": many["inputs"][:1]})).json()["predictions"]
    assert large[0] == small[0]
    assert [p["id"] for p in large] == [str(n) for n in range(500)]


@pytest.mark.parametrize(
    ("inputs", "where"),
    [
        ([BATCH, BATCH, BATCH, {"A6": "29"}], "$.inputs[3].A6"),
        ([{"A5": 600}], "$.inputs[0].A5"),
        ([{"A1": True}], "$.inputs[0].A1"),
        ([{"A1": 1e7}], "$.inputs[0].A1"),
        ([{"A5": "x" * 65}], "$.inputs[0].A5"),
        ([{"id": 7}], "$.inputs[0].id"),
        ([BATCH, {"A99": 1}], "$.inputs[1].A99"),
        ([{"a`b - at `$": 1}], "$.inputs[0].a`b - at `$"),
        ([None], "$.inputs[0]"),
        ([[]], "$.inputs[0]"),
        ([], "$.inputs"),
        ({}, "$.inputs"),
        (None, "$.inputs"),
    ],
)
def test_invalid_value(client, inputs, where):
    """An invalid value is refused with its index and field."""
    problem = refusal(post(client, json.dumps({"inputs": inputs})), 422, "invalid-input")
    assert places(problem) == [where]
    assert problem["violations"][0]["problem"]


@pytest.mark.parametrize("body", ["[]", "7", "null", '"text"', "{}", '{"input": []}', '{"inputs": [{}], "more": 1}'])
def test_invalid_structure(client, body):
    """A body with another structure is refused."""
    assert places(refusal(post(client, body), 422, "invalid-input"))[0].startswith("$")


def test_many_violations(client):
    """Up to twenty invalid batches are listed."""
    inputs = [{"A6": "bad"} if n % 2 else BATCH for n in range(100)]
    problem = refusal(post(client, json.dumps({"inputs": inputs})), 422, "invalid-input")
    assert places(problem) == [f"$.inputs[{n}].A6" for n in range(1, 41, 2)]
    assert problem["detail"].startswith("$.inputs[1].A6: expected a number or null, got text; and 19 more")


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b'{"inputs":[{"A1":1}', b'{"inputs":[{}]} trailing', b'{"inputs":[{"A1":NaN}]}',
        b'{"inputs":[{"A1":Infinity}]}', b'{"inputs":[{"A1":-Infinity}]}', b'{"inputs":[{"A1":01}]}',
        b'{"inputs":[{"id":"\xff"}]}', b'{"inputs":[{"\xc3":1}]}', b'{"inputs":[{"id":"\\ud800"}]}',
        b'{"inputs":[{"\\udc00":1}]}', b'\xef\xbb\xbf{"inputs":[{}]}', b'{"inputs":[{},]}', b"id,A1\n1,2\n",
        "{}".encode("utf-16"), b"\x00" * 100,
    ],
)  # fmt: skip
def test_not_json(client, body):
    """A body that is not JSON is refused."""
    refusal(post(client, body), 400, "malformed")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"inputs":' * 200_000,
        b'{"inputs":[' + b'{"A1":' * 100_000,
        b'{"inputs":[{"A1":' + b"[" * 300_000 + b"]" * 300_000 + b"}]}",
        b'{"inputs":[{"A1":' + b"9" * 100_000 + b"}]}",
        b'{"inputs":[{"A1":1e999999}]}',
        b'{"inputs":[{"A1":-1e400}]}',
        b'{"inputs":[{"id":"' + b"x" * 100_000 + b'"}]}',
        b'{"inputs":[{"' + b"x" * 100_000 + b'":1}]}',
    ],
    ids=range(9),
)
def test_extreme_json(client, body):
    """Deeply nested, long and huge JSON is refused."""
    assert post(client, body).status_code in (400, 422)


def test_repeated_key(client):
    """The last value of a repeated key is used."""
    answer = post(client, b'{"inputs":[{"B14":1,"B14":400}]}')
    assert answer.json()["predictions"][0]["yield"] == 0.9


@pytest.mark.parametrize("sent", ["text/plain", "text/csv", "application/x-www-form-urlencoded", "", "json"])
def test_other_content_type(client, sent):
    """Another content type gets 415."""
    problem = refusal(post(client, json.dumps(INPUTS), **{"content-type": sent}), 415, "unsupported-media-type")
    assert "application/json" in problem["detail"]


def test_content_type_parameters(client):
    """Parameters and case of the content type are ignored."""
    assert post(client, json.dumps(INPUTS), **{"content-type": "Application/JSON; charset=utf-8"}).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(("path", "allowed"), [("/v1/predictions", "GET, HEAD, POST"), ("/v1/predictions/csv", "POST")])
def test_other_method(client, method, path, allowed):
    """Another method gets 405."""
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed


def test_every_violation(client):
    """Each wrong field of a batch is named, with the closest name of an unknown one."""
    problem = refusal(post(client, '{"inputs": [{}, {"a1": 3, "A2": "x", "B9": 4}]}'), 422, "invalid-input")
    assert places(problem) == ["$.inputs[1].a1", "$.inputs[1].A2", "$.inputs[1].B9"]
    assert "did you mean A1?" in problem["violations"][0]["problem"]
