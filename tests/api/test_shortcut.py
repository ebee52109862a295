"""The prediction routes are reached past the router: a slash at the end goes through it, and both answer alike."""

import pytest
from support.service import client_of, make_checkout

JSON = {"content-type": "application/json", "x-request-id": "same"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with client_of(make_checkout(tmp_path_factory.mktemp("model"))) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "content", "status"),
    [
        ("POST", b'{"inputs": [{"B14": 400}]}', 200),
        ("POST", b'{"inputs": [{"B14": "x"}]}', 422),
        ("POST", b"{", 400),
        ("GET", b"", 405),
    ],
)
def test_both_ways_answer_alike(client, method, content, status):
    ways = ("/v1/predictions", "/v1/predictions/")
    straight, routed = (client.request(method, path, content=content, headers=JSON) for path in ways)
    assert straight.status_code == routed.status_code == status
    assert dict(straight.headers) | {"content-length": ""} == dict(routed.headers) | {"content-length": ""}
    assert {**straight.json(), "instance": ""} == {**routed.json(), "instance": ""}


def test_a_sheet_that_cannot_be_read_is_refused_alike(client):
    ways = ("/v1/predictions/csv", "/v1/predictions/csv/")
    straight, routed = (client.post(path, content=b"\xff\xff", headers={"content-type": "text/csv"}) for path in ways)
    assert straight.status_code == routed.status_code == 422
    assert straight.json()["violations"] == routed.json()["violations"]
