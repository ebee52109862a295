"""Who may ask."""

import pytest
from api_fixtures import client_of, make_checkout

from api.examples import INPUTS
from batchyield.errors import SetupError

KEY = "k" * 32


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("model"))


@pytest.fixture
def guarded(checkout, tmp_path):
    (tmp_path / "keys").write_text(f"# of the plant\n{KEY}  # line 1\n\n{'z' * 40}\n")
    with client_of(checkout, api_keys_file=str(tmp_path / "keys")) as client:
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


def test_a_key_may_come_from_the_environment_alone(checkout):
    with client_of(checkout, api_key=KEY) as client:
        assert client.get("/v1/model").status_code == 401
        assert client.get("/v1/model", headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.parametrize(("text", "said"), [("", "holds no key"), ("# none\n", "holds no key"), ("short\n", "has 5")])
def test_keys_that_are_none_are_refused(checkout, tmp_path, text, said):
    (tmp_path / "keys").write_text(text)
    with pytest.raises(SetupError, match=said) as caught:
        client_of(checkout, api_keys_file=str(tmp_path / "keys"))
    assert "short" not in str(caught.value)


def test_a_key_file_that_is_missing_is_refused(checkout, tmp_path):
    with pytest.raises(SetupError, match="cannot be read"):
        client_of(checkout, api_keys_file=str(tmp_path / "none"))
