"""API keys: authentication, scopes, and changes while the service runs."""

import os
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from support.service import Running, client_of, refusal

from api.app import create_app
from api.middleware.authorization import REQUIRED_SCOPES, Keyring, is_public
from api.openapi.examples import INPUTS
from api.settings import Settings
from batchyield.errors import ConfigError
from batchyield.serving.auth import api_keys
from batchyield.serving.auth.api_keys import ADMIN, SCOPES, hash_key, new_key

KEY = "k" * 32
OTHER = "z" * 40


def entry(token, name="line-1", scopes=SCOPES, **more):
    return new_key(name, scopes, token, **more)


def text(*entries):
    return api_keys.encode_keys(entries).decode()


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def guarded(checkout, tmp_path):
    (tmp_path / "keys").write_text(text(entry(KEY), entry(OTHER, "other")))
    with client_of(checkout, api_keys_file=str(tmp_path / "keys")) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/nowhere", "//v1/model", "/v1//model", "/v1/model/",
                                  "/console/../v1/model", "/health/live/../../v1/model"])  # fmt: skip
def test_missing_key(guarded, path):
    """A request without a key gets 401, however the path is written."""
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
        {"authorization": "Bearer wrong", "x-api-key": KEY}, {"x-api-key": hash_key(KEY.encode())},
    ],
)  # fmt: skip
def test_wrong_key(guarded, headers):
    """A wrong or malformed key gets 401."""
    assert guarded.post("/v1/predictions", json=INPUTS, headers=headers).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"x-api-key": KEY}, {"x-api-key": OTHER}, bearer(KEY), {"authorization": f"bearer  {KEY}"}],
)
def test_valid_key(guarded, headers):
    """A valid key is accepted in either header."""
    assert guarded.post("/v1/predictions", json=INPUTS, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/schema", "/schema/openapi.json", "/console/console.css", "/health/live", "/health/ready"]
)
def test_public_paths(guarded, path):
    """Pages, schema and health checks need no key."""
    assert guarded.get(path).status_code == 200


def test_key_from_environment(checkout):
    """A key can come from the environment, without a key file."""
    with client_of(checkout, api_key=KEY) as client:
        assert client.get("/v1/model").status_code == 401
        assert client.get("/v1/model", headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ({"predict"}, {"/v1/predictions"}),
        ({"read"}, {"/v1/model", "/metrics"}),
        ({"predict", "read"}, {"/v1/predictions", "/v1/model", "/metrics"}),
        ({"admin"}, {"/v1/predictions", "/v1/model", "/metrics"}),
    ],
)
def test_scopes(checkout, tmp_path, scopes, may):
    """A key can call the routes of its scopes and gets 403 elsewhere."""
    (tmp_path / "keys").write_text(text(entry(KEY, scopes=scopes)))
    with client_of(checkout, api_keys_file=str(tmp_path / "keys")) as client:
        for path in ("/v1/predictions", "/v1/model", "/metrics"):
            method, body = ("POST", INPUTS) if path == "/v1/predictions" else ("GET", None)
            answer = client.request(method, path, json=body, headers=bearer(KEY))
            if path in may:
                assert answer.status_code == 200
            else:
                problem = refusal(answer, 403, "forbidden")
                assert "line-1 lacks the scope" in problem["detail"]
        if ADMIN not in scopes:  # the router folds `//`, so only exact paths pass
            for path in ("/nowhere", "//v1/model", "/v1//predictions"):
                refusal(client.get(path, headers=bearer(KEY)), 404, "not-found")
            refusal(client.get("/v1/admin/models", headers=bearer(KEY)), 403, "forbidden")


def test_required_scopes(checkout):
    """A new route goes into `api.middleware.authorization.REQUIRED_SCOPES`, or only `admin` may ask it."""
    app = create_app(Settings(lock=str(checkout / "dvc.lock"), revision="1"))
    paths = {route.path for route in app._app._app.routes}
    assert {path for path in paths if not is_public(path.replace("{name:path}", "a"))} <= REQUIRED_SCOPES.keys()


def test_expired_key(checkout, tmp_path):
    """An expired key gets 401."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    (tmp_path / "keys").write_text(text(entry(KEY, expires=now - hour), entry(OTHER, "other", expires=now + hour)))
    with client_of(checkout, api_keys_file=str(tmp_path / "keys")) as client:
        assert client.get("/v1/model", headers=bearer(KEY)).status_code == 401
        assert client.get("/v1/model", headers=bearer(OTHER)).status_code == 200


def settings_of(path):
    return Settings(api_keys_file=str(path), revision="1")


def admits(keyring, token):
    return keyring.find({b"x-api-key": token.encode()}) is not None


def test_refresh(tmp_path):
    """The keyring reads the file again after a rotation and a revocation."""
    path = tmp_path / "keys"
    first = api_keys.add_key(path, "a", ["predict"])
    keyring = Keyring(settings_of(path))
    assert not keyring.refresh()
    second, _ = api_keys.rotate_key(path, "a")
    assert keyring.refresh()
    assert admits(keyring, first)
    assert admits(keyring, second)
    api_keys.revoke_key(path, "a", hash_key(first.encode())[:8])
    assert keyring.refresh()
    assert not admits(keyring, first)
    assert admits(keyring, second)


def test_refresh_same_size_and_time(tmp_path):
    """A change that keeps the file's size and modification time is detected."""
    path = tmp_path / "keys"
    path.write_text(text(entry(KEY)))
    keyring = Keyring(settings_of(path))
    before = path.stat()
    path.write_text(text(entry("x" * 32)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert keyring.refresh()
    assert not admits(keyring, KEY)


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("half a line"), lambda path: path.unlink()])
def test_refresh_of_bad_file(tmp_path, spoil):
    """A missing or malformed file is reported once, and the previous keys stay valid."""
    path = tmp_path / "keys"
    path.write_text(text(entry(KEY)))
    keyring = Keyring(settings_of(path))
    spoil(path)
    with pytest.raises(ConfigError):
        keyring.refresh()
    assert admits(keyring, KEY)
    assert not keyring.refresh()  # reported once
    path.write_text(text(entry(OTHER)))
    assert keyring.refresh()
    assert not admits(keyring, KEY)
    assert admits(keyring, OTHER)


def test_last_key_revoked(tmp_path):
    """After the last key is revoked, every key is rejected."""
    path = tmp_path / "keys"
    token = api_keys.add_key(path, "a", ["read"])
    keyring = Keyring(settings_of(path))
    api_keys.revoke_key(path, "a")
    assert keyring.refresh()
    assert keyring.guarded
    assert not admits(keyring, token)
    assert not admits(keyring, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(), "no key that is still valid"),
        (text(entry(KEY, expires=datetime(2020, 1, 1, tzinfo=UTC))), "no key that is still valid"),
        (
            "",
            "keys: line 1: Input data was truncated\n  correct it there, or remove the file and create its keys again",
        ),
        (f"{KEY}\n", "line 1: JSON is malformed"),
        (text(entry(KEY)).replace('"sha256"', "sha256"), "line 11: JSON is malformed"),
        (
            text(entry(KEY)).replace("admin", KEY),
            "keys[0]: scopes: expected one or more of predict, outcomes",
        ),
        (text(entry(OTHER), entry(KEY)).replace(hash_key(KEY.encode()), KEY), "keys[1]: sha256: expected 64"),
        (text(entry(KEY)).replace("line-1", f"{KEY} "), "keys[0]: name: expected 1 to 64 letters"),
        (text(entry(KEY)).replace('Z"', '"'), "keys[0].created: Expected `datetime` with a timezone"),
        (text(entry(KEY)).replace("created", "expire"), "keys[0]: Object contains unknown field `expire`"),
        (
            text(entry(KEY), entry(OTHER)).replace(hash_key(OTHER.encode()), hash_key(KEY.encode())),
            "keys[1] repeats the key of keys[0]",
        ),
        (text(entry(KEY)).replace("line-1", "environment"), "is the name of the key in BATCHYIELD_API_KEY"),
    ],
)
def test_malformed_file(checkout, tmp_path, content, message):
    """A malformed key file stops the start; the error names the line or field, and no key."""
    (tmp_path / "keys").write_text(content)
    with pytest.raises(ConfigError) as caught:
        client_of(checkout, api_keys_file=str(tmp_path / "keys"))
    assert message in str(caught.value)
    assert KEY not in str(caught.value)


def test_short_key(checkout):
    """A short key in the environment stops the start; the error does not show it."""
    with pytest.raises(ConfigError, match="has 5 characters") as caught:
        client_of(checkout, api_key="short")
    assert "short" not in str(caught.value)


def test_missing_file(checkout, tmp_path):
    """A missing key file stops the start."""
    with pytest.raises(ConfigError, match="cannot be read"):
        client_of(checkout, api_keys_file=str(tmp_path / "none"))


def test_watching(checkout, tmp_path):
    """A running service applies changes of the key file and logs a malformed one."""

    path = tmp_path / "keys"
    first = api_keys.add_key(path, "a", ["predict", "read"])

    def wait_for(status, token):
        deadline = time.monotonic() + 15
        while running.get("/v1/model", headers=bearer(token)).status_code != status:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    with Running(checkout, "--workers", "1", BATCHYIELD_API_KEYS_FILE=str(path)) as running:
        second, _ = api_keys.rotate_key(path, "a")
        wait_for(200, second)
        api_keys.revoke_key(path, "a", api_keys.read_keys(path)[0].id)
        wait_for(401, first)
        path.write_text("half")
        deadline = time.monotonic() + 15
        counted = 'batchyield_key_reads_total{outcome="refused"} 1.0'
        while counted not in running.get("/metrics", headers=bearer(second)).text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    lines = [msgspec.json.decode(text) for text in running.output.splitlines()]
    assert any("the API keys stay as they were" in line.get("message", "") for line in lines)
    assert not {first, second} & {*running.output.split('"')}
