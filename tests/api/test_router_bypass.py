"""The prediction routes bypass the router; with a slash at the end they go through it, and both respond alike."""

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
        ("PUT", b"", 405),
    ],
)
def test_same_response(client, method, content, status):
    """The direct path and the router give equal responses."""
    paths = ("/v1/predictions", "/v1/predictions/")
    direct, routed = (client.request(method, path, content=content, headers=JSON) for path in paths)
    assert direct.status_code == routed.status_code == status
    assert dict(direct.headers) | {"content-length": ""} == dict(routed.headers) | {"content-length": ""}
    assert {**direct.json(), "instance": ""} == {**routed.json(), "instance": ""}


def test_same_csv_refusal(client):
    """The direct path and the router refuse a CSV file equally."""
    paths = ("/v1/predictions/csv", "/v1/predictions/csv/")
    direct, routed = (client.post(path, content=b"\xff\xff", headers={"content-type": "text/csv"}) for path in paths)
    assert direct.status_code == routed.status_code == 422
    assert direct.json()["violations"] == routed.json()["violations"]
